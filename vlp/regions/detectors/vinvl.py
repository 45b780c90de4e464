"""VinVL's X152-C4 as a detector: images in, regions with tags, attributes and 2048 numbers out. See docs/vinvl.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vlp.errors import InputError
from vlp.files import sha256
from vlp.regions.detectors import recipes, x152c4
from vlp.regions.detectors.base import Found, demand_outputs, without_attributes
from vlp.regions.detectors.recipes import NAMES
from vlp.regions.detectors.vinvl_weights import LABEL_MAP, Names, load_names, load_network
from vlp.regions.detectors.x152c4 import X152C4, Described, Sizes, fold_norms, stack_by_size

SHORT_SIDE, LONG_SIDE = 600, 1000
MEAN_BGR = (103.530, 116.280, 123.675)
ATTRIBUTE_SCORE = 0.05


def build(weights: Path, device: str | torch.device, name: str = "vinvl") -> VinVL:
    """The detector with the public weights `weights`, its label map beside them.

    Args:
        name: `vinvl`, or one of its recipes: `vinvl_released` (the same), `vinvl_readme`, `vinvl_demo`.

    Raises InputError: no such name; weights or label map are missing, damaged or not those of VinVL X152-C4.
    """
    weights = Path(weights)
    if name not in NAMES:
        raise InputError(weights, f"VinVL has no recipe {name!r}.", f"Choose one of {', '.join(NAMES)}.")
    sizes = Sizes()
    names = load_names(weights.with_name(LABEL_MAP), sizes)
    return VinVL(load_network(weights, sizes), names, sha256(weights), name, device)


class VinVL:
    """A network (which it takes over and changes), its names and a recipe, behind the interface `Detector`."""

    def __init__(
        self, network: X152C4, names: Names, weights_sha256: str, name: str, device: str | torch.device
    ) -> None:
        self.name, self.recipe = name, NAMES[name]
        recipe = self.recipe
        self.class_names, self.attribute_names = names
        self.feature_size = network.sizes.feature_size
        self.weights_sha256 = weights_sha256
        self.device = torch.device(device)
        fold_norms(network)
        self.network = network.to(self.device)
        self.settings: dict[str, Any] = {
            "recipe": recipe.name,
            "nms": "by class" if recipe.by_class else "class-agnostic",
            "nms_threshold": recipe.threshold,
            "box_regression": recipe.box_regression,
            "score_threshold": recipes.SCORE,
            "min_regions": recipes.LEAST,
            "max_regions": recipes.MOST,
            "attribute_threshold": ATTRIBUTE_SCORE,
            "short_side": SHORT_SIDE,
            "long_side": LONG_SIDE,
            "proposals": x152c4.PROPOSALS,
        }

    @staticmethod  # so that a worker process gets no copy of the network
    def prepare(image: Image.Image) -> Tensor:
        """-> [3,h,w] float32: resized (bilinear), BGR in 0-255 minus the mean of each channel."""
        resized = image.resize(resized_to(*image.size), Image.Resampling.BILINEAR)
        pixels_HW3 = np.asarray(resized, np.float32)[:, :, ::-1] - np.array(MEAN_BGR, np.float32)
        return torch.from_numpy(np.ascontiguousarray(pixels_HW3.transpose(2, 0, 1)))

    @torch.inference_mode()
    def __call__(self, images: list[Tensor], sizes: list[tuple[int, int]]) -> list[Found]:
        """Regions of prepared images; `sizes` = (width, height) of the originals.

        Of an image without a class above the lowest score the region is the whole image, class -1, score 0.
        """
        found: dict[int, Found] = {}
        # TF32 would change features in the third digit
        cudnn = torch.backends.cudnn
        with cudnn.flags(cudnn.enabled, cudnn.benchmark, deterministic=cudnn.deterministic, allow_tf32=False):
            for group in stack_by_size(images):
                maps, described = self.network(torch.stack([images[at] for at in group]).to(self.device))
                demand_outputs(self.name, maps)
                for row, at in enumerate(group):
                    found[at] = self._found(maps[row : row + 1], described[row], _size(images[at]), sizes[at])
        return [found[at] for at in range(len(images))]

    def _found(
        self, map_1CHW: Tensor, described: Described, inner: tuple[int, int], original: tuple[int, int]
    ) -> Found:
        boxes = self.network.regress(described, inner) if self.recipe.box_regression else described.boxes
        chosen = recipes.choose(self.recipe, boxes, described.probabilities)
        if not len(chosen.rows):
            return self._whole(map_1CHW, inner, original)
        features = described.features[chosen.rows]
        if self.recipe.box_regression:
            boxes = boxes[chosen.rows, chosen.labels]
            seen = self.network.roi_heads.box.feature_extractor(map_1CHW, boxes)
        else:
            # the attribute head would pool the very same boxes again
            boxes, seen = boxes[chosen.rows], features
        logits = self.network.attribute.predictor(seen, chosen.labels)
        attributes, attribute_scores = recipes.best_attribute(logits, ATTRIBUTE_SCORE)
        scale = np.array([original[0] / inner[0], original[1] / inner[1]] * 2, np.float32)
        told = boxes.cpu().numpy() * scale
        # with the last pixel inside, a box less than a pixel wide ends before it begins
        told[:, 2:] = np.maximum(told[:, 2:], told[:, :2])
        return Found(
            boxes=told,
            classes=chosen.labels.cpu().numpy() - 1,
            scores=chosen.scores.cpu().numpy(),
            features=features.cpu().numpy(),
            attributes=attributes.cpu().numpy(),
            attribute_scores=attribute_scores.cpu().numpy(),
        )

    def _whole(self, map_1CHW: Tensor, inner: tuple[int, int], original: tuple[int, int]) -> Found:
        # the public code gives no region, with which no model can train; other detectors here give the image too
        box = map_1CHW.new_tensor([[0, 0, inner[0] - 1, inner[1] - 1]])
        feature = self.network.roi_heads.box.feature_extractor(map_1CHW, box).cpu().numpy()
        return without_attributes(np.array([[0, 0, *original]]), np.array([-1]), np.array([0]), feature)


def resized_to(width: int, height: int) -> tuple[int, int]:
    """Width, height of what the detector sees: short side 600, unless the long side would exceed 1000.

    The short side is rounded (half to even), the long one cut to whole pixels; neither is below 1.
    """
    short, long = min(width, height), max(width, height)
    side = SHORT_SIDE
    if long / short * side > LONG_SIDE:
        side = max(1, round(LONG_SIDE * short / long))
    if short == side:
        return width, height
    return (side, int(side * height / width)) if width < height else (int(side * width / height), side)


def _size(image_3HW: Tensor) -> tuple[int, int]:
    return image_3HW.shape[-1], image_3HW.shape[-2]
