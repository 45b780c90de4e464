"""Every experiment file of before gives the values it gave: `resolved/*.json` was written before methods had schemas of
their own. New keys may come beside them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vlp.config import build, load
from vlp.config.sweep import load as load_sweep
from vlp.config.sweep import resolved

CONFIGS = Path(__file__).parents[2] / "configs"
BEFORE = Path(__file__).parent / "resolved"
PATHS = ["data.root=raw", "regions.tsv=tsv"]
"""For files that leave to their user where the data lie."""


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Key path -> value; an empty mapping is a value."""
    if isinstance(value, dict) and value:
        for key, below in value.items():
            yield from leaves(below, (*path, key))
    else:
        yield ".".join(path), value


def compare(before: dict[str, Any], now: dict[str, Any]) -> None:
    """Raises AssertionError: a value is gone, or another."""
    there = dict(leaves(now))
    lost = {
        key: (value, there.get(key, "no such key")) for key, value in leaves(before) if there.get(key, ...) != value
    }
    assert not lost


@pytest.mark.parametrize("name", ["demo", "smoke", "coco", "coco_mini", "flickr_mini", "paper"])
def test_every_file_gives_the_values_it_gave(name: str) -> None:
    now = load(CONFIGS / f"{name}.yaml", [] if name in ("demo", "smoke") else PATHS)
    compare(json.loads((BEFORE / f"{name}.json").read_text()), now.model_dump(mode="json"))
    again = build(now.model_dump(mode="json"), name)
    assert again == now and type(again) is type(now)


def test_every_row_of_the_sweep_gives_the_values_it_gave() -> None:
    """Of rows but the control only what differs from it was written down."""
    before = json.loads((BEFORE / "table4.json").read_text())
    rows = resolved(load_sweep(CONFIGS / "sweeps" / "table4.yaml"), PATHS)
    assert list(rows) == list(before)
    control = dict(leaves(before["full"]))
    for name, value in rows.items():
        own = {} if name == "full" else before[name]
        now = dict(leaves(build(value | {"name": "table4"}, name).model_dump(mode="json")))
        gone = ("sources.", *(f"{key}." for key, of_row in own.items() if of_row is None))
        expected = {key: before for key, before in {**control, **own}.items() if not key.startswith(gone)}
        assert {key: now.get(key, "no such key") for key in expected} == expected
