"""A detector without weights whose regions are read off the pixels; it notes each image it is called with."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from vlp.regions.detectors.base import Found

SIZE = 5


class Fake:
    """One region, the whole image; the first feature is the mean of the pixels, the second the size of the batch."""

    name, class_names = "fake", ("thing",)
    feature_size, weights_sha256 = SIZE, "0" * 64

    def __init__(
        self,
        calls: Path,
        kill_after: int | None = None,
        settings: dict[str, Any] | None = None,
        attribute_names: tuple[str, ...] = ("bright", "dark"),
    ) -> None:
        """`kill_after`: SIGKILL to itself in the call after so many batches, before it gives anything back."""
        self.attribute_names = attribute_names
        self.calls, self.kill_after, self.batches = calls, kill_after, 0
        self.settings: dict[str, Any] = settings or {"threshold": 0.5}

    def prepare(self, image: Image.Image) -> torch.Tensor:
        return torch.from_numpy(np.asarray(image, np.float32).transpose(2, 0, 1) / 255)

    def __call__(self, images: list[torch.Tensor], sizes: list[tuple[int, int]]) -> list[Found]:
        if self.batches == self.kill_after:
            os.kill(os.getpid(), signal.SIGKILL)
        self.batches += 1
        with self.calls.open("a") as file:
            file.write(" ".join(f"{float(image.mean()):.4f}" for image in images) + "\n")
        return [self._one(image, size, len(images)) for image, size in zip(images, sizes, strict=True)]

    def _one(self, image: torch.Tensor, size: tuple[int, int], together: int) -> Found:
        features = np.zeros((1, SIZE), np.float32)
        features[0, :2] = float(image.mean()), together
        box = np.array([[0, 0, *size]], np.float32)
        scores = np.array([0.9], np.float32)
        return Found(box, np.array([0]), scores, features, np.array([1]), np.array([0.25], np.float32))
