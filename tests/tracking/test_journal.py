import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlp.errors import InputError
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


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    path.write_text('{"event": "a", "time": 1}\nnonsense\n{"event": "b", "time": 2}\n')
    with pytest.raises(InputError, match="row 2") as caught:
        journals.read(path)
    assert str(path) in str(caught.value)


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
