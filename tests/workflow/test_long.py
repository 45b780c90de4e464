"""What takes too long for every day (`make test-long`): the chain killed again and again, the demo made twice."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from tests.workflow.chain import ROOT, VLP

pytestmark = pytest.mark.long


def start(config: str, results: Path) -> subprocess.Popen[bytes]:
    """The chain as `make demo` runs it, in a session of its own, its output in a file beside the results."""
    results.parent.mkdir(parents=True, exist_ok=True)
    override = results.parent / "override.yaml"
    override.write_text(f"results: {results}\n")
    command = [str(VLP / "snakemake"), "--profile", "workflow/profiles/default", "--nolock", "--cores", "2"]
    command += ["--configfile", f"configs/{config}.yaml", str(override)]
    with (results.parent / "log").open("ab") as log:
        return subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)


def finish(config: str, results: Path) -> bytes:
    assert start(config, results).wait() == 0, (results.parent / "log").read_text()[-3000:]
    return (results / config / "results.csv").read_bytes()


def test_killed_anywhere_and_started_again_it_finishes_with_the_same_numbers(tmp_path: Path) -> None:
    """SIGKILL of snakemake alone (its jobs must notice) or of the whole session, at random moments."""
    began = time.monotonic()
    wanted = finish("smoke", tmp_path / "calm" / "results")
    whole = time.monotonic() - began
    rng, results, kills = np.random.Generator(np.random.PCG64(11)), tmp_path / "killed" / "results", 0
    for i in range(40):
        run = start("smoke", results)
        try:
            # A fresh start alone takes some seconds; up to a third of the calm run is done between two kills.
            assert run.wait(timeout=float(rng.uniform(2, 8 + whole / 3))) == 0
            break
        except subprocess.TimeoutExpired:
            if i % 2:
                os.killpg(run.pid, signal.SIGKILL)
            else:
                run.kill()
            run.wait()
            kills += 1
    assert kills >= 3, "the chain was too fast to be killed"
    finish("smoke", results)
    assert (results / "smoke" / "results.csv").read_bytes() == wanted
    for _ in range(30):  # the mirror looks every ten seconds whether its workflow is gone
        left = subprocess.run(["pgrep", "-f", str(results)], capture_output=True, text=True).stdout.split()
        if not left:
            break
        time.sleep(1)
    assert not left, "a job outlived its workflow"


def test_two_demo_runs_give_the_same_bytes(tmp_path: Path) -> None:
    assert finish("demo", tmp_path / "one" / "results") == finish("demo", tmp_path / "two" / "results")
