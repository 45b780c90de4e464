"""What every detector is to the extraction: an image in, its regions out, as NumPy arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from vlp.finite import demand

if TYPE_CHECKING:
    import torch
    from PIL import Image


class Found(NamedTuple):
    """An image's N regions, best score first; at least one: the whole image, where nothing was found."""

    boxes: NDArray[np.float32]
    """[N,4] xyxy, pixels of the original image"""
    classes: NDArray[np.int64]
    """[N] index of the class name, -1: none"""
    scores: NDArray[np.float32]
    """[N]"""
    features: NDArray[np.float32]
    """[N,D]"""
    attributes: NDArray[np.int64]
    """[N] index of the best attribute's name, -1: none"""
    attribute_scores: NDArray[np.float32]
    """[N], NaN: none"""


class Detector(Protocol):
    """One detector with its weights, on one device. Workers are forked or spawned with it and call only `prepare`,
    which must not use the weights."""

    name: str
    """As in `vlp regions extract --detector NAME`."""
    class_names: tuple[str, ...]
    attribute_names: tuple[str, ...]
    """Empty: it names no attributes."""
    feature_size: int
    """D"""
    weights_sha256: str
    settings: dict[str, Any]
    """Thresholds, sizes, recipe: what the regions depend on besides the weights. Plain values, for JSON."""

    def prepare(self, image: Image.Image) -> torch.Tensor:
        """One image, resized and normalised -> [C,H,W] on the CPU. Runs in a worker process."""
        ...

    def __call__(self, images: list[torch.Tensor], sizes: list[tuple[int, int]]) -> list[Found]:
        """The regions of a batch of prepared images.

        Args:
            sizes: (width, height) of the original images, in whose pixels the boxes are told.
        """
        ...


def demand_outputs(name: str, *outputs: torch.Tensor) -> None:
    """Raises InputError: the detector's numbers of a batch are not finite.

    Every comparison with NaN is false: such an image would seem to have nothing in it.
    """
    for output in outputs:
        demand(output, f"detector {name}", "its outputs for a batch of images", "Look at its weights and the images.")


def without_attributes(
    boxes: NDArray[Any], classes: NDArray[Any], scores: NDArray[Any], features: NDArray[Any]
) -> Found:
    """The regions of a detector that names no attributes, sorted best first (equal scores keep their order)."""
    order = np.argsort(-np.asarray(scores, np.float32), kind="stable")
    count, features = len(order), np.asarray(features, np.float32)
    return Found(
        boxes=np.asarray(boxes, np.float32).reshape(count, 4)[order],
        classes=np.asarray(classes, np.int64)[order],
        scores=np.asarray(scores, np.float32)[order],
        features=(features if features.ndim == 2 else features.reshape(count, -1))[order],
        attributes=np.full(count, -1, np.int64),
        attribute_scores=np.full(count, np.nan, np.float32),
    )


def names_or_numbers(names: Sequence[str] | None, count: int) -> tuple[str, ...]:
    """`names`, or `class 0`, `class 1`, ... where the weights carry none."""
    return tuple(names) if names else tuple(f"class {i}" for i in range(count))
