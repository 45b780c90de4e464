"""Texts and pictures -> batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL.Image import Image, Resampling
from torch import Tensor

from tests.methods.toy.batch import Batch
from vlp.batching.draw import Draw
from vlp.images.decode import to_pixels
from vlp.images.pictures import Pictures

if TYPE_CHECKING:
    from vlp.phrases.corpus import TextSet

CROP = 100
"""Stream of the crops."""
MARGIN = 4
"""Pixels of a side that a crop leaves away."""


class Reader:
    def __init__(self, texts: TextSet, pictures: Pictures, words: int, pixels: int) -> None:
        """`words`: of a text at most; `pixels`: of a side of a picture."""
        self.texts, self.pictures, self.words, self.pixels = texts, pictures, words, pixels

    def sizes(self, rows: np.ndarray) -> np.ndarray:
        return np.minimum(self.texts.sizes()[0], self.words)[rows]

    def spans(self, row: int) -> np.ndarray:
        """[L,2] characters of the words that are read."""
        return self.texts.spans(row)[: self.words]

    def batch(self, rows: np.ndarray, images: Sequence[str], draw: Draw | None = None) -> Batch:
        """With `draw` each picture is cropped anew, else in the middle."""
        crops = [cropped(self.pictures.open(i), self.pixels, corner(draw, b)) for b, i in enumerate(images)]
        return batch_of(crops, [self.texts.tokens(int(r))[: self.words] for r in rows])

    def into(self, box_4: Tensor, image: str, corner: tuple[int, int]) -> Tensor:
        """A box in pixels of the image -> shares of its crop."""
        small_4 = box_4 * (self.pixels + MARGIN) / self._size(image)
        return ((small_4 - torch.tensor(corner * 2)) / self.pixels).clamp(0, 1)

    def back(self, boxes_N4: Tensor, image: str) -> Tensor:
        """Shares of the crop in the middle -> pixels of the image."""
        small_N4 = boxes_N4 * self.pixels + MARGIN // 2
        return small_N4 / (self.pixels + MARGIN) * self._size(image)

    def _size(self, image: str) -> Tensor:
        record = self.pictures.record(image)
        return torch.tensor([record.width, record.height] * 2)


def batch_of(crops: Sequence[Tensor], words: Sequence[np.ndarray]) -> Batch:
    words_BL = np.zeros((len(words), max(1, *map(len, words))), np.int64)
    for row, own in zip(words_BL, words, strict=True):
        row[: len(own)] = own
    mask_BL = np.arange(words_BL.shape[1]) < np.array([[len(own)] for own in words])
    return Batch(torch.stack(list(crops)), torch.from_numpy(words_BL), torch.from_numpy(mask_BL))


def cropped(picture: Image, pixels: int, corner: tuple[int, int]) -> Tensor:
    """[3,S,S] uint8: the crop whose upper left corner is given, of the picture made small."""
    (x, y), side = corner, pixels + MARGIN
    return to_pixels(picture.resize((side, side), Resampling.BILINEAR))[:, y : y + pixels, x : x + pixels]


def corner(draw: Draw | None, sample: int) -> tuple[int, int]:
    """x, y; without `draw` that of the middle."""
    if draw is None:
        return MARGIN // 2, MARGIN // 2
    x, y = draw.of(sample, CROP).integers(0, MARGIN + 1, 2).tolist()
    return x, y


def masks(spans: Sequence[np.ndarray], asked: Sequence[Sequence[tuple[int, int]]], length: int) -> Tensor:
    """[B,G,L]: the words of each text that share a character with each of the asked spans of characters."""
    found = torch.zeros(len(spans), max(1, *map(len, asked)), length, dtype=torch.bool)
    for mask_GL, words, own in zip(found, spans, asked, strict=True):
        for mask_L, (start, end) in zip(mask_GL, own, strict=False):
            mask_L[: len(words)] = torch.from_numpy((words[:, 0] < end) & (words[:, 1] > start))
    return found
