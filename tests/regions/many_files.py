"""A region store of three files, six images and 77 regions."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vlp.regions.folder import write_manifest
from vlp.regions.store import RegionWriter

NAMES = ["circle", "square", "star"]
COUNTS = [[3, 0, 7], [2], [5, 60]]
"""Regions of each image of each shard."""


def write_file(path: Path, first: int, counts: list[int], names: list[str] = NAMES, attributes: bool = True) -> None:
    rng = np.random.default_rng(first)
    with RegionWriter(path, 4, names, {"detector": "test"}, ["red", "big"] if attributes else ()) as writer:
        for i, count in enumerate(counts, start=first):
            corners = np.sort(rng.uniform(0, 1, (count, 2, 2)), axis=1) * (60 + i, 48)
            writer.add(
                f"t/{10**i}",  # ids of several lengths
                (60 + i, 48),
                rng.normal(size=(count, 4)),
                corners.reshape(count, 4),
                rng.integers(-1, 3, count),
                rng.uniform(size=count),
                rng.integers(-1, 2, count) if attributes else None,
                rng.uniform(size=count) if attributes else None,
            )


def write_folder(folder: Path) -> Path:
    first = 0
    for number, counts in enumerate(COUNTS):
        write_file(folder / f"part-{number}.h5", first, counts)
        first += len(counts)
    write_manifest(folder)
    return folder
