"""Upper bounds of grounding, counted by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.training.tiny_run import experiment
from vlp.data.tables import write_table
from vlp.errors import InputError
from vlp.regions.store import RegionStore, RegionWriter
from vlp.report.bounds import ranks, upper_bounds
from vlp.report.results import read, write

A, B, FAR = [0.0, 0.0, 10.0, 10.0], [20.0, 20.0, 40.0, 40.0], [60.0, 60.0, 70.0, 70.0]


@pytest.fixture
def store(tmp_path: Path) -> RegionStore:
    with RegionWriter(tmp_path / "r.h5", 1, ["disc"], {}) as writer:
        writer.add("t/0", (80, 80), np.zeros((6, 1)), [A, FAR, FAR, FAR, B, FAR], [0] * 6, np.arange(6, 0, -1))
        writer.add("t/1", (80, 80), np.zeros((0, 1)), np.zeros((0, 4)), [], [])
    return RegionStore(tmp_path / "r.h5")


def _phrase(number: int, image: str, boxes: list[list[float]], split: str = "test") -> dict:
    names = {"phrase_id": f"p{number}", "caption_id": f"{image}#0", "image_id": image, "text": "it", "split": split}
    return {**names, "start": 0, "end": 2, "phrase_type": "other", "boxes": boxes}


PHRASES = [
    _phrase(0, "t/0", [A]),
    _phrase(1, "t/0", [B]),  # only the fifth region reaches it
    _phrase(2, "t/0", [A, B]),  # the box around both is reached by none
    _phrase(3, "t/0", [[0.0, 0.0, 10.0, 20.0]]),  # IoU 0.5 is not enough (strict, paper 4.2.3)
    _phrase(4, "t/1", [A]),
    _phrase(5, "t/9", [A]),  # not in the store: reaches nothing
    _phrase(6, "t/0", []),  # no box: left out
]


def test_the_place_of_the_best_right_region(store: RegionStore) -> None:
    none = float("inf")
    places, images = ranks(store, PHRASES, "any")
    assert places.tolist() == [0, 4, 0, none, none, none] and images == ["t/0"] * 4 + ["t/1", "t/9"]
    assert ranks(store, PHRASES, "merged")[0].tolist() == [0, 4, none, none, none, none]


def test_rows_of_results(store: RegionStore, tmp_path: Path) -> None:
    write_table(tmp_path / "tables", "phrase_boxes", PHRASES)
    rows = upper_bounds(experiment(), store, tmp_path / "tables")
    got = {row.protocol: (row.value, row.n, row.split) for row in rows}
    wanted = {"any": (100 * 2 / 6, 50.0), "merged": (100 / 6, 100 * 2 / 6)}
    assert got == {
        f"IoU > 0.5, {rule} box, {shown}": (pytest.approx(four if "4" in shown else every), 6, "test")
        for rule, (four, every) in wanted.items()
        for shown in ("best 4 regions", "best 50 regions", "best 100 regions", "all regions")
    }
    assert all(row.ci_low <= row.value <= row.ci_high for row in rows)  # type: ignore[operator]
    write(tmp_path / "bounds.csv", rows)
    assert [row.key for row in read(tmp_path / "bounds.csv")] == sorted(row.key for row in rows)


def test_no_phrase_with_a_box_is_an_error(store: RegionStore, tmp_path: Path) -> None:
    write_table(tmp_path / "tables", "phrase_boxes", [_phrase(0, "t/0", [A], "train")])
    with pytest.raises(InputError, match="no phrase with a box in val or test"):
        upper_bounds(experiment(), store, tmp_path / "tables")
