"""How the images of an extraction are cut into batches of like shape for the detector."""

from __future__ import annotations

import math
from collections.abc import Sequence

from vlp.regions.images import ImageRecord

BINS_PER_OCTAVE = 4
"""Images share a batch if their aspect ratios differ by less than a fourth of a factor of two: little padding."""


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
