"""A training that is asked to stop saves first, on every rank, and goes on as if nothing had been."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from pathlib import Path

import psutil
import pytest

from tests.training.tiny_run import driver, train, weights
from vlp.config.launch import Resources
from vlp.errors import Preempted, VlpError
from vlp.tracking.journal import points, read
from vlp.training.signals import StopRequest, first_of

SHORT = {"epochs": 6}


def test_a_signal_is_noted_and_the_former_handler_comes_back() -> None:
    former = signal.getsignal(signal.SIGUSR2)
    with StopRequest() as stop:
        assert stop.number == 0 and first_of(stop.flags()) == 0
        os.kill(os.getpid(), signal.SIGUSR2)
        assert stop.number == signal.SIGUSR2 == first_of(stop.flags())
    assert signal.getsignal(signal.SIGUSR2) is former


def test_what_any_rank_got_is_known_from_the_sum() -> None:
    ranks = StopRequest(), StopRequest(), StopRequest()
    ranks[1].number = ranks[2].number = signal.SIGTERM
    assert first_of([sum(f) for f in zip(*(r.flags() for r in ranks), strict=True)]) == signal.SIGTERM


def test_elsewhere_than_in_the_main_thread_no_handler_is_touched() -> None:
    former, seen = signal.getsignal(signal.SIGTERM), []

    def work() -> None:
        with StopRequest():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [former]


def test_the_command_line_says_that_it_may_be_run_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from vlp import cli

    def stopped(**_: object) -> None:
        raise Preempted("runs/stage1", 7, signal.SIGTERM)

    monkeypatch.setattr("typer.Typer.__call__", lambda *_, **settings: stopped(**settings))
    monkeypatch.setattr("sys.argv", ["vlp", "config"])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 75
    assert "runs/stage1: stopped by signal 15 after step 7, which is saved" in capsys.readouterr().err


@pytest.fixture(scope="module")
def undisturbed(tiny_inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("undisturbed")
    train(tiny_inputs, folder, "stage1", Resources(executor="inline"), **SHORT)
    return weights(folder).read_bytes()


@pytest.mark.slow
def test_a_terminated_training_is_saved_at_the_end_of_its_step(
    tiny_inputs: Path, undisturbed: bytes, tmp_path: Path
) -> None:
    first = driver(tiny_inputs, tmp_path, "stage1", "inline", 1, **SHORT)
    assert first.stdout is not None
    for line in first.stdout:
        if line.startswith("step 3/"):
            first.send_signal(signal.SIGTERM)
            break
    said, _ = first.communicate(timeout=600)
    found = re.search(r"stopped by signal 15 after step (\d+), which is saved", said)
    assert first.returncode == 1 and found is not None, said
    assert [p.name for p in (tmp_path / "run" / "checkpoints").glob("step-*")] == [f"step-{int(found[1]):09}"]
    train(tiny_inputs, tmp_path, "stage1", Resources(executor="inline"), **SHORT)
    assert weights(tmp_path).read_bytes() == undisturbed


@pytest.mark.slow
def test_a_signal_to_one_rank_stops_both_and_the_job_is_started_again(tiny_inputs: Path, tmp_path: Path) -> None:
    train(tiny_inputs, tmp_path / "whole", "stage1", Resources(tasks_per_node=2), **SHORT)
    run = driver(tiny_inputs, tmp_path / "cut", "stage1", "local", 2, log_every=1, **SHORT)
    journal = tmp_path / "cut" / "run" / "journal.jsonl"
    signalled = False
    while run.poll() is None and not signalled:
        time.sleep(0.02)
        if journal.exists() and any(p == ("loss", 3) for p in points(read(journal))):
            rank_1(run).send_signal(signal.SIGUSR2)
            signalled = True
    said, _ = run.communicate(timeout=600)
    assert signalled and run.returncode == 0, said
    logs = sorted((tmp_path / "cut").glob("run/jobs/*/*/*_0_log.out"), key=lambda p: p.stat().st_mtime_ns)
    starts = re.findall(r"^step (\d+)/30 ", "".join(p.read_text() for p in logs), re.M)
    assert len(logs) == 2 and starts == [str(s + 1) for s in range(30)]
    assert "It is sent again" in said
    assert weights(tmp_path / "cut").read_bytes() == weights(tmp_path / "whole").read_bytes()


def rank_1(run: subprocess.Popen[str]) -> psutil.Process:
    for child in psutil.Process(run.pid).children(recursive=True):
        if child.environ().get("SUBMITIT_LOCAL_GLOBALID") == "1":
            return child
    raise VlpError("no rank 1")
