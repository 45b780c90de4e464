"""How the images of an extraction are cut into batches of like shape for the detector."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from vlp.images.decode import ImageRecord

SPREAD = 2**0.25
"""The widest image of a batch is at most so many times as wide, for its height, as the narrowest: little padding."""


def batches(images: Sequence[ImageRecord], size: int) -> list[list[ImageRecord]]:
    """Every image once, at most `size` a batch, in the order in which batches fill up.

    Images of one aspect ratio share a batch: a detector resizes them to one size, so nothing is padded, and one that
    pads nothing (VinVL) still gets a whole batch. What is left over goes together in the order of the ratio, as far
    as `SPREAD` allows. All of one shape: plain runs of `size`.
    """
    made: list[list[ImageRecord]] = []
    groups: dict[Fraction, list[ImageRecord]] = {}
    for image in images:
        ratio = Fraction(image.width, image.height)
        group = groups.setdefault(ratio, [])
        group.append(image)
        if len(group) == size:
            made.append(groups.pop(ratio))
    run: list[ImageRecord] = []
    first = Fraction(0)
    for ratio in sorted(groups):
        for image in groups[ratio]:
            if run and (len(run) == size or ratio > SPREAD * first):
                made.append(run)
                run = []
            if not run:
                first = ratio
            run.append(image)
    return [*made, run] if run else made
