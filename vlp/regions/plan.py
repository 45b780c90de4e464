"""How the images of an extraction are cut: shards for jobs, batches of like shape for the detector."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TypeVar

from vlp.errors import ConfigError
from vlp.regions.images import ImageRecord

BINS_PER_OCTAVE = 4
"""Images share a batch if their aspect ratios differ by less than a fourth of a factor of two: little padding."""

T = TypeVar("T")


def parse_shard(text: str) -> tuple[int, int]:
    """`2/4` -> (2, 4): the second of four. Raises ConfigError."""
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise ConfigError(f"--shard {text}: wanted I/N with I from 1 to N, such as 2/4")
    return int(found[1]), int(found[2])


def shard(items: Sequence[T], number: int, count: int) -> Sequence[T]:
    """The `number`-th (from 1) of `count` runs of neighbours, which differ in length by one at most."""
    return items[len(items) * (number - 1) // count : len(items) * number // count]


def batches(images: Sequence[ImageRecord], size: int) -> list[list[ImageRecord]]:
    """Every image once, at most `size` a batch, in the order in which batches fill up.

    Images of a batch have about the same aspect ratio, but for the last batches, which take what is left over in the
    order of the ratio. All of one shape: plain runs of `size`.
    """
    made: list[list[ImageRecord]] = []
    bins: dict[int, list[ImageRecord]] = {}
    for image in images:
        group = bins.setdefault(_bin(image), [])
        group.append(image)
        if len(group) == size:
            made.append(group)
            del bins[_bin(image)]
    left = [image for key in sorted(bins) for image in bins[key]]
    return made + [left[at : at + size] for at in range(0, len(left), size)]


def _bin(image: ImageRecord) -> int:
    return round(BINS_PER_OCTAVE * math.log2(image.width / image.height))
