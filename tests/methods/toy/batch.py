"""What the reader makes and the model reads."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from vlp.batching import batch as batching


@dataclass
class Batch(batching.Batch):
    """B samples; S pixels of a side, L words, G phrases, A answers."""

    pixels_B3SS: Tensor
    """uint8"""
    words_BL: Tensor
    mask_BL: Tensor
    """True at words."""
    phrases_BGL: Tensor | None = None
    """True at the words of each phrase."""
    boxes_BG4: Tensor | None = None
    """x1, y1, x2, y2 in shares of the picture that the model sees."""
    boxed_BG: Tensor | None = None
    """True for phrases that have a box."""
    scores_BA: Tensor | None = None
    """Soft score of each answer."""

    def __len__(self) -> int:
        return len(self.words_BL)
