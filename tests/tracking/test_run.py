import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tracking.conftest import Make
from vlp.config import Experiment
from vlp.files import sha256
from vlp.tracking import journal as journals
from vlp.tracking import track
from vlp.tracking.digests import relative
from vlp.tracking.run import flatten


def _events(path: Path, kind: str) -> list[journals.Event]:
    """But for what the host did in the meantime."""
    found = [e for e in journals.read(path) if e["event"] == kind]
    return [e for e in found if not e.get("key", "").startswith("system/")]


def test_a_run_tells_what_went_in_and_came_out(make: Make, tmp_path: Path) -> None:
    experiment = make()
    source, made = tmp_path / "source.txt", experiment.folder / "out" / "made.txt"
    source.write_text("abc")
    params, tags = {"a": {"b": 1}, "c": None}, {"task": "vqa"}
    with track(experiment, "regions", {"data": source}, {"store": made.parent}, params, tags) as run:
        made.parent.mkdir(parents=True)
        made.write_text("12345")
        run.metric("recall", 0.91)
        run.series("loss", 10, 2.3)
    path = experiment.folder / "journals" / "regions.jsonl"
    (start,), (end,) = _events(path, "run_start"), _events(path, "run_end")
    assert start["params"] == {"a.b": 1, "c": None}
    assert start["tags"] == {"method": "mvptr", "seed": "0", "rule": "regions", "task": "vqa"}
    assert len(start["run"]) == 32 and start["threads"] == 1 and start["code_version"]
    assert [(m["key"], m["value"], m["step"]) for m in _events(path, "metric")] == [
        ("recall", 0.91, None),
        ("loss", 2.3, 10),
    ]
    (inside,), (outside,) = _events(path, "output"), _events(path, "input")
    assert inside["path"] == "out" and inside["size"] == 5 and inside["sha256"] == sha256(made.parent)
    assert outside["path"] == str(source.resolve()) and outside["sha256"] == sha256(source)
    assert end["status"] == "FINISHED" and end["peak_memory_bytes"] > 1_000_000


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("no"), "FAILED"),
        (KeyboardInterrupt(), "KILLED"),
        (SystemExit(3), "FAILED"),
        (SystemExit(0), "FINISHED"),
    ],
)
def test_the_end_is_recorded_and_the_exception_passes(make: Make, error: BaseException, status: str) -> None:
    experiment = make()
    with pytest.raises(type(error)), track(experiment, "x"):
        raise error
    assert _events(experiment.folder / "journals" / "x.jsonl", "run_end")[0]["status"] == status


def test_sigterm_ends_as_killed(make: Make) -> None:
    experiment = make()
    with pytest.raises(SystemExit) as caught, track(experiment, "x"):
        os.kill(os.getpid(), signal.SIGTERM)
        signal.sigtimedwait([], 1)
    assert caught.value.code == 128 + signal.SIGTERM
    assert _events(experiment.folder / "journals" / "x.jsonl", "run_end")[0]["status"] == "KILLED"
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def _fails(experiment: Experiment, resume: bool = False) -> str:
    key = ""
    with pytest.raises(ValueError), track(experiment, "stage1", resume=resume) as run:
        key = run.key
        raise ValueError("no")
    return key


def test_a_new_run_replaces_the_journal_and_a_resumed_one_keeps_its_key(make: Make) -> None:
    experiment = make()
    keys = [_fails(experiment), _fails(experiment), _fails(experiment, resume=True)]
    assert keys[0] != keys[1] == keys[2]
    starts = _events(experiment.folder / "journals" / "stage1.jsonl", "run_start")
    assert [s["run"] for s in starts] == keys[1:]


def test_nothing_is_resumed_that_is_finished_or_was_another_config(make: Make) -> None:
    first = _fails(make())
    assert _fails(make(seed=1), resume=True) != first
    with track(make(seed=1), "stage1", resume=True) as second:
        pass
    with track(make(seed=1), "stage1", resume=True) as third:
        assert third.key != second.key


def test_adopted_points_count_once(make: Make, tmp_path: Path) -> None:
    experiment, path = make(), tmp_path / "journal.jsonl"
    training = journals.Journal(path)
    for step, value in ((1, 0.5), (2, 0.4), (3, 0.3), (3, 0.25), (4, 0.2)):  # killed after 3, back to 2
        training.write("metric", key="loss", step=step, value=value, time=100.0 + step)
    training.write("checkpoint", step=4)
    with pytest.raises(KeyboardInterrupt), track(experiment, "stage1") as run:
        assert run.adopt(path) == 4
        assert run.adopt(path) == 0
        assert run.adopt(tmp_path / "absent.jsonl") == 0
        raise KeyboardInterrupt
    training.write("metric", key="loss", step=5, value=0.1, time=105.0)
    with track(experiment, "stage1", resume=True) as run:
        assert run.adopt(path) == 1
    points = _events(experiment.folder / "journals" / "stage1.jsonl", "metric")
    assert [(p["step"], p["value"]) for p in points] == [(1, 0.5), (2, 0.4), (3, 0.25), (4, 0.2), (5, 0.1)]
    assert points[0]["time"] == 101.0


def test_flatten_and_relative(tmp_path: Path) -> None:
    assert flatten({"a": {"b": {"c": 1.5}}, "d": [1, 2]}) == {"a.b.c": 1.5, "d": "[1, 2]"}
    assert relative(tmp_path / "a" / "b", tmp_path) == "a/b"
    assert relative(tmp_path, tmp_path / "a") == str(tmp_path.resolve())


@pytest.mark.slow
def test_tracking_does_not_import_mlflow() -> None:
    code = "import sys, vlp.tracking, vlp.cli.tracking, vlp.cli.report; print([m for m in sys.modules if m in " + (
        "('mlflow', 'torch', 'pyarrow', 'matplotlib')])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
