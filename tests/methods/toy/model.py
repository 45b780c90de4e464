"""Two small towers: 16 squares of a picture, the mean of a text's words; on top at most one head."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from tests.methods.toy.batch import Batch
from tests.methods.toy.config import SQUARES

Head = Literal["retrieval", "vqa", "grounding"]


class Architecture(BaseModel):
    """`config.json` of a model directory."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int
    pixels: int
    words: int
    """Of a text at most."""
    rows: int
    """Word pieces of the vocabulary."""
    head: Head | None = None
    head_size: int = 0

    def with_head(self, head: Head, size: int) -> Architecture:
        return self.model_copy(update={"head": head, "head_size": size})


class Toy(nn.Module):
    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = a = architecture
        self.squares = nn.Linear(3 * (a.pixels // SQUARES) ** 2, a.size)
        self.places = nn.Parameter(torch.randn(SQUARES**2, a.size) * 0.02)
        self.image = _two_layers(a.size, a.size, a.size)
        self.words = nn.Embedding(a.rows, a.size)
        self.text = _two_layers(a.size, a.size, a.size)
        self.scale = nn.Parameter(torch.tensor([math.log(10.0)]))
        self.head = None if a.head is None else _two_layers(3 * a.size, a.size, a.head_size)

    @property
    def device(self) -> torch.device:
        return self.places.device

    @property
    def word_rows(self) -> int:
        return self.architecture.rows

    @property
    def phrase_rows(self) -> int:
        return 0

    def seen(self, batch: Batch) -> Tensor:
        """States [B,C,D] of the squares."""
        n = self.architecture.pixels // SQUARES
        pixels = (batch.pixels_B3SS.float() / 127.5 - 1).to(self.places.dtype)
        squares = pixels.unflatten(3, (SQUARES, n)).unflatten(2, (SQUARES, n)).permute(0, 2, 4, 1, 3, 5)
        return F.gelu(self.squares(squares.flatten(3).flatten(1, 2)) + self.places)

    def read(self, batch: Batch, mask_BGL: Tensor) -> Tensor:
        """Vectors [B,G,D] of the words that each of G masks leaves; L2-normalised."""
        share = mask_BGL / mask_BGL.sum(-1, keepdim=True).clamp(min=1)
        return F.normalize(self.text(share.to(self.places.dtype) @ self.words(batch.words_BL)), dim=-1)

    def vectors(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Of images and texts, [B,D]; L2-normalised."""
        image_BD = F.normalize(self.image(self.seen(batch).mean(1)), dim=-1)
        return image_BD, self.read(batch, batch.mask_BL[:, None])[:, 0]

    def judge(self, image_ND: Tensor, text_ND: Tensor) -> Tensor:
        """What the head says of each image with its text."""
        assert self.head is not None
        return self.head(torch.cat([image_ND, text_ND, image_ND * text_ND], -1))

    def boxes(self, batch: Batch) -> Tensor:
        """[B,G,4] of the phrases, in shares of the picture: looked for among the squares, no candidates."""
        assert batch.phrases_BGL is not None
        seen_BCD, phrase_BGD = self.seen(batch), self.read(batch, batch.phrases_BGL)
        where_BGC = (phrase_BGD @ self.image(seen_BCD).transpose(1, 2)).softmax(-1)
        x, y, w, h = self.judge(where_BGC @ seen_BCD, phrase_BGD).sigmoid().unbind(-1)
        return torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], -1).clamp(0, 1)


def _two_layers(size: int, inner: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(size, inner), nn.GELU(), nn.Linear(inner, out))
