"""Readings of the divergence ledger (docs/divergences.md) that are of regions."""

from pathlib import Path

import numpy as np

from vlp.regions.store import RegionStore, RegionWriter


def test_tags_are_the_classes_best_first_each_once(tmp_path: Path) -> None:
    boxes = [[0.0, 0.0, 4.0, 4.0 + i] for i in range(5)]
    with RegionWriter(tmp_path / "r.h5", 3, ("dog", "cat", "sky"), {"detector": "none"}) as writer:
        writer.add("a", (9, 9), np.zeros((5, 3)), boxes, [2, 0, 2, -1, 1], [0.3, 0.5, 0.9, 0.8, 0.7])
    assert RegionStore(tmp_path / "r.h5").tags("a") == ["sky", "cat", "dog"]
