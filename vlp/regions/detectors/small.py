"""The small Faster R-CNN that the chain trains itself (`vlp regions train`), behind the interface of all detectors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vlp.images.decode import to_float, to_pixels
from vlp.images.modes import widened
from vlp.regions import detector as trained
from vlp.regions.detectors.base import Found, without_attributes

if TYPE_CHECKING:
    from PIL import Image


class Small:
    """Runs on the CPU, where it was trained."""

    name = "small"
    attribute_names: tuple[str, ...] = ()

    def __init__(self, model: trained.Detector, weights_sha256: str) -> None:
        self._model, self.weights_sha256 = model, weights_sha256
        self.class_names = tuple(model.class_names)
        self.feature_size = model.config.feature_size
        keys = ("score_threshold", "nms_threshold", "min_regions", "max_regions")
        self.settings: dict[str, Any] = {key: getattr(model.config, key) for key in keys}

    def prepare(self, image: Image.Image) -> Tensor:
        """-> [3,H,W] float32 in [0,1]"""
        return to_float(to_pixels(widened(image)))

    def __call__(self, images: list[Tensor], sizes: list[tuple[int, int]]) -> list[Found]:
        """A class only for regions that reach the score threshold; the whole image, class -1, score 0, where nothing
        was found."""
        found = self._model.detect(images)
        return [self._rows(*each) for each in zip(images, sizes, found, strict=True)]

    def _rows(self, image: Tensor, size: tuple[int, int], found: trained.Found) -> Found:
        height, width = image.shape[-2:]
        scale = torch.tensor([size[0] / width, size[1] / height] * 2)
        limits = torch.tensor([*size, *size], dtype=torch.float32)
        boxes, scores, features = found.boxes * scale, found.scores, found.features
        classes = torch.where(scores >= self._model.config.score_threshold, found.classes, -1)
        if not len(scores):
            features = self._model.describe([image], [torch.tensor([[0.0, 0.0, width, height]])])[0]
            boxes, classes, scores = limits[None] * torch.tensor([0.0, 0, 1, 1]), torch.tensor([-1]), torch.zeros(1)
        boxes = boxes.clamp(min=0).minimum(limits)  # rounding in the scale may step over the edge
        return without_attributes(boxes.numpy(), classes.numpy(), scores.numpy(), features.numpy())


def build(weights: Path) -> Small:
    """Raises InputError: the weights or the .json beside them are missing or damaged."""
    model, facts = trained.load(weights)
    return Small(model, facts["sha256"])
