"""The smoke chain as a user runs it: `snakemake` on configs/smoke.yaml, in a folder of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
VLP = Path(sys.executable).parent


def snakemake(results: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    override = results.parent / "override.yaml"
    override.write_text(f"results: {results}\n")
    command = [str(VLP / "snakemake"), "--profile", "workflow/profiles/default", "--cores", "2", *arguments]
    command += ["--configfile", "configs/smoke.yaml", str(override)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert not check or done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return done


def planned(done: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """Rules of a dry run and how often each would run."""
    text = done.stdout + done.stderr
    if "Job stats:" not in text:
        return {}
    table = text.split("Job stats:")[1].split("total")[0]
    return {m[1]: int(m[2]) for m in re.finditer(r"^(\w+) +(\d+)$", table, re.M) if m[1] != "all"}
