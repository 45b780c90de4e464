"""JSON without bare NaN, in both directions; files that others may read."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from vlp.errors import InputError
from vlp.files import atomic, open_to_others, read_json, to_json, write_json, write_text

ROOT = Path(__file__).parents[1]
NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (NAN, r"it would be nan, which is no number\."),
        ({"hits": [{"match": 0.5}, {"match": NAN}]}, r"hits\[1\]\.match would be nan"),
        ({"box": (0.0, -INF)}, r"box\[1\] would be -inf"),
    ],
)
def test_a_number_that_is_none_is_not_written(value: Any, told: str, tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"old": 1})
    with pytest.raises(InputError, match=r"a\.json: " + told):
        write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == {"old": 1}
    with pytest.raises(InputError, match="JSON: "):
        to_json(value)


def test_other_faults_of_a_value_stay_what_they_are() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises((ValueError, RecursionError)):
        to_json(value)
    assert to_json({"b": 1, "a": "é"}, sort_keys=True) == '{"a": "\\u00e9", "b": 1}'


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_a_bare_nan_is_not_read(word: str, tmp_path: Path) -> None:
    write_text(tmp_path / "a.json", f'{{"a": {word}}}')
    with pytest.raises(InputError, match=rf"a\.json: not valid JSON \({word} is no number of JSON\)"):
        read_json(tmp_path / "a.json")


def test_all_json_is_written_by_one_function() -> None:
    found = []
    for path in sorted((ROOT / "vlp").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr in ("dump", "dumps") and ast.unparse(node.value) == "json":
                found.append(path.relative_to(ROOT).as_posix())
    assert found == ["vlp/files.py"]


@pytest.fixture(params=[0o022, 0o027, 0o002, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    old = os.umask(request.param)
    yield request.param
    os.umask(old)


def test_whatever_wrote_a_file_its_mode_is_that_of_a_new_one(umask: int, tmp_path: Path) -> None:
    """safetensors makes its files for their owner alone."""
    with atomic(tmp_path / "model.safetensors") as temporary:
        save_file({"a": torch.ones(2)}, temporary)
    write_json(tmp_path / "a.json", {})
    for name in ("model.safetensors", "a.json"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o666 & ~umask, name
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o700)
    open_to_others(folder)
    assert folder.stat().st_mode & 0o777 == 0o777 & ~umask
