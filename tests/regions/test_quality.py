"""Recall and precision: counted by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vlp.regions.geometry import iou_matrix
from vlp.regions.quality import Truth, by_split, detection_quality, match
from vlp.regions.store import RegionStore, RegionWriter

A, B, FAR = [0, 0, 10, 10], [20, 20, 40, 40], [60, 60, 70, 70]


@pytest.fixture
def store(tmp_path: Path) -> RegionStore:
    with RegionWriter(tmp_path / "r.h5", 1, ["disc", "square"], {}) as writer:
        # right; second disc on the same object; right box, wrong class; a region without a class
        boxes, classes = [A, [0, 0, 10, 9], B, FAR], [0, 0, 0, -1]
        writer.add("t/0", (80, 80), np.zeros((4, 1)), boxes, classes, [0.9, 0.8, 0.7, 0.1])
        writer.add("t/1", (80, 80), np.zeros((0, 1)), np.zeros((0, 4)), [], [])
    return RegionStore(tmp_path / "r.h5")


def test_detection_quality_counts(store: RegionStore) -> None:
    truths = [Truth("t/0", [A, B, FAR], ["disc", "square", "square"]), Truth("t/1", [A], ["disc"])]
    got = detection_quality(store, truths)
    assert (got["objects"], got["detections"], got["found"], got["reached"], got["regions"]) == (4, 3, 1, 3, 4)
    assert got["recall"] == 1 / 4 and got["precision"] == 1 / 3 and got["recall_any_class"] == 3 / 4
    assert got["mean_regions"] == 2 and got["images"] == 2


def test_an_object_is_found_once_and_by_the_best() -> None:
    assert match([A, A, B], ["disc"] * 3, [A, B], ["disc", "disc"], 0.5).tolist() == [0, -1, 1]


def test_a_detection_takes_the_object_it_overlaps_most() -> None:
    shifted = [2, 0, 12, 10]
    assert match([shifted], ["disc"], [A, shifted], ["disc", "disc"], 0.5).tolist() == [1]
    assert iou_matrix([shifted], [A])[0, 0] > 0.5


def test_by_split_leaves_out_images_that_are_not_in_the_store(store: RegionStore) -> None:
    objects = [
        {"image_id": "t/0", "class_name": "disc", "box": A},
        {"image_id": "t/9", "class_name": "disc", "box": A},
        {"image_id": "other/1", "class_name": "disc", "box": A},
    ]
    got = by_split(store.path, {"t/0": "train", "t/9": "train", "t/1": "test"}, objects)
    assert list(got) == ["train", "test"]
    assert got["train"]["recall"] == 1 and got["train"]["objects"] == 1
    assert got["test"]["recall"] is None and got["test"]["precision"] is None
