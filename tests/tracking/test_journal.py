import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlp.tracking import journal as journals


@given(value=st.floats())
def test_every_float_comes_back(value: float, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("journal") / "j.jsonl"
    journal = journals.Journal(path)
    journal.write("metric", key="loss", value=value, step=1)
    journal.close()
    (event,) = journals.read(path)
    back = journals.number(event)
    assert back == value or (math.isnan(back) and math.isnan(value))
    json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_a_torn_last_line_is_left_out_and_cut_on_resume(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    path.write_text('{"event": "a", "time": 1}\n{"event": "b", "ti')
    assert [e["event"] for e in journals.read(path)] == ["a"]
    journal = journals.Journal(path, resume=True)
    journal.write("c")
    journal.close()
    assert [e["event"] for e in journals.read(path)] == ["a", "c"]


BAD = {
    "no JSON": b"nonsense",
    "two lines in one": b'{"event": "c", "time": 1}{"event": "d", "time": 1}',
    "zeros, as a power cut leaves them": b"\x00" * 40,
    "no UTF-8": b'{"event": "c", "time": 1, "text": "\xff"}',
    "no mapping": b"[1]",
    "no time": b'{"event": "c"}',
    "a time that is none": b'{"event": "c", "time": "now"}',
    "a metric without its value": b'{"event": "metric", "time": 1, "key": "loss", "step": 1}',
    "a file without its digest": b'{"event": "output", "time": 1, "name": "x", "path": "x"}',
    "a start of nothing": b'{"event": "run_start", "time": 1}',
    "nested too deeply": b"[" * 100_000,
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_a_damaged_line_is_set_aside_and_told_once(
    bad: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "j.jsonl"
    first, last = b'{"event": "a", "time": 1}\n', b'{"event": "b", "time": 2}\n'
    path.write_bytes(first + bad + b"\n" + last)
    writer = journals.Journal(path, resume=True)
    assert [e["event"] for e in journals.read(path)] == ["a", "b"]
    assert f"{path}: line 2 damaged, moved to j.jsonl.damaged" in capsys.readouterr().err
    assert (tmp_path / "j.jsonl.damaged").read_bytes() == bad + b"\n"
    writer.write("c")  # whoever writes it meanwhile is not disturbed
    writer.close()
    assert [e["event"] for e in journals.read(path)] == ["a", "b", "c"]
    assert capsys.readouterr().err == ""
    journals.Journal(path).close()  # a new run
    assert not (tmp_path / "j.jsonl.damaged").exists()


def test_a_damaged_line_that_cannot_be_moved_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "j.jsonl"
    path.write_text('{"event": "a", "time": 1}\nnonsense\n{"event": "b", "time": 2}\n')
    (tmp_path / "j.jsonl.damaged").mkdir()
    for _ in range(2):
        assert [e["event"] for e in journals.read(path)] == ["a", "b"]
    assert capsys.readouterr().err.count("line 2 damaged, left out (Is a directory)") == 1


def test_a_journal_that_cannot_be_opened_does_not_stop_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "journals").write_text("a file")
    journal = journals.Journal(tmp_path / "journals" / "j.jsonl")
    journal.write("a")
    journal.metrics(1, {"loss": 1.0})
    journal.close()
    assert capsys.readouterr().err.count("not recorded") == 1


def test_wall_seconds_add_up_over_attempts() -> None:
    events = [
        {"event": "run_start", "time": 10.0},
        {"event": "metric", "time": 14.0},
        {"event": "run_start", "time": 100.0},
        {"event": "run_end", "time": 101.5},
    ]
    assert [len(part) for part in journals.attempts(events)] == [2, 2]
    assert journals.wall_seconds(events) == 5.5


def test_a_full_disk_does_not_stop_the_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    path = tmp_path / "j.jsonl"
    path.symlink_to(full)
    journal = journals.Journal(path)
    journal.write("a")
    journal.write("b")
    assert capsys.readouterr().err.count("not recorded") == 1


def test_a_clock_that_is_set_back_changes_no_duration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, day = iter([100.0, 130.0, 7.0, 12.0]), iter([9000.0, 1800.0, 1000.0, 900.0])
    monkeypatch.setattr(journals.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(journals.time, "time", lambda: next(day))
    for resume in (False, True):  # two attempts, the second after the machine was started again
        made = journals.Journal(tmp_path / "j.jsonl", resume=resume)
        made.write(
            "run_start", run="r", rule="x", config_sha256="", code_version="", host="", tags={}, params={}, pid=1
        )
        made.write("run_end", status="FINISHED", peak_memory_bytes=1)
        made.close()
    events = journals.read(tmp_path / "j.jsonl")
    assert len(events) == 4 and journals.wall_seconds(events) == 30 + 5
    assert journals.wall_seconds([{k: v for k, v in e.items() if k != "clock"} for e in events]) == 0


def test_events_of_some_kinds_are_those_among_all(tmp_path: Path) -> None:
    made = journals.Journal(tmp_path / "j.jsonl")
    made.write("metric", key='"event": "output"', value=1.0, step=1)  # what only looks like one
    made.write("output", name="a", path="a", sha256=None, size=None)
    made.metrics(2, {"loss": 0.5})
    made.close()
    every = journals.read(tmp_path / "j.jsonl")
    assert journals.read(tmp_path / "j.jsonl", "output") == [e for e in every if e["event"] == "output"]
    assert len(every) == 3
