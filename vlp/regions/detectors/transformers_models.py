"""Every object-detection model of transformers (DETR's family, YOLOS) as a detector of regions.

A region is an object query: its box, its best class, and as feature the decoder's last state.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torchvision.ops import box_convert

from vlp.config.regions import Selection
from vlp.errors import InputError
from vlp.files import sha256
from vlp.finite import demand_tensors
from vlp.images.modes import widened
from vlp.local import UNREADABLE, first_line, on_disk
from vlp.regions.detectors.base import Found, demand_outputs, without_attributes
from vlp.regions.detectors.selection import select

if TYPE_CHECKING:
    from PIL import Image

MASKED = ("conditional_detr", "dab-detr", "deformable_detr", "detr", "table-transformer")
"""Model types that leave padding out of what they see and measure; others get images of one size together."""


class Prepare:
    """The directory's image processor, without padding, which is the batch's matter."""

    def __init__(self, processor: Any) -> None:
        self._processor = processor
        if hasattr(processor, "do_pad"):
            processor.do_pad = False

    def __call__(self, image: Image.Image) -> Tensor:
        """-> [3,H,W] float32"""
        return self._processor(images=widened(image), return_tensors="pt")["pixel_values"][0]


class Transformers:
    """An `AutoModelForObjectDetection` in evaluation mode."""

    attribute_names: tuple[str, ...] = ()

    def __init__(
        self,
        model: Any,
        processor: Any,
        name: str,
        weights_sha256: str,
        selection: Selection | None = None,
        device: str = "cpu",
    ) -> None:
        self.name, self.weights_sha256, self.device = name, weights_sha256, device
        self._model, self._rule = model.eval().requires_grad_(False).to(device), selection or Selection()
        self.prepare = Prepare(processor)
        config = model.config
        self.class_names = tuple(str(config.id2label[i]) for i in sorted(config.id2label))
        self._masked = config.model_type in MASKED
        self.feature_size = int(getattr(config, "d_model", None) or config.hidden_size)
        # queries do not overlap by their training: no suppression
        self.settings: dict[str, Any] = self._rule.model_dump(exclude={"nms_threshold"})
        self.settings["model_type"] = config.model_type

    @torch.inference_mode()
    def __call__(self, images: list[Tensor], sizes: list[tuple[int, int]]) -> list[Found]:
        found: list[Found | None] = [None] * len(images)
        for group in self._groups(images):
            rows = self._detect([images[i] for i in group], [sizes[i] for i in group])
            for i, regions in zip(group, rows, strict=True):
                found[i] = regions
        return [regions for regions in found if regions is not None]

    def _groups(self, images: Sequence[Tensor]) -> list[list[int]]:
        """Images that may share a batch."""
        groups: dict[Any, list[int]] = {}
        for i, image in enumerate(images):
            groups.setdefault(None if self._masked else tuple(image.shape), []).append(i)
        return list(groups.values())

    def _detect(self, images: list[Tensor], sizes: list[tuple[int, int]]) -> list[Found]:
        pixels_B3HW, mask_BHW = _padded(images)
        masked = {"pixel_mask": mask_BHW.to(self.device)} if self._masked else {}
        output = self._model(pixel_values=pixels_B3HW.to(self.device), **masked)
        logits_BQC, boxes_BQ4 = output.logits.float(), output.pred_boxes.float()
        demand_outputs(self.name, logits_BQC, boxes_BQ4)
        states_BQD = output.last_hidden_state[:, -logits_BQC.shape[1] :].float()  # YOLOS: the queries stand last
        if logits_BQC.shape[-1] == len(self.class_names) + 1:  # the last class is "no object"
            chances_BQC = logits_BQC.softmax(-1)[..., :-1]
        else:
            chances_BQC = logits_BQC.sigmoid()
        scores_BQ, classes_BQ = chances_BQC[..., : len(self.class_names)].max(-1)
        found = []
        for states, scores, classes, boxes, size in zip(
            states_BQD, scores_BQ, classes_BQ, boxes_BQ4, sizes, strict=True
        ):
            limits = boxes.new_tensor([*size, *size])
            boxes = (box_convert(boxes, "cxcywh", "xyxy") * limits).clamp(min=0).minimum(limits)
            rows, classes = select(boxes, classes, scores, self._rule, suppress=False)
            parts = (boxes[rows], classes, scores[rows], states[rows])
            found.append(without_attributes(*(part.cpu().numpy() for part in parts)))
        return found


def build(directory: Path | str, device: str = "cpu", selection: Selection | None = None) -> Transformers:
    """The model of a directory, or of a name that transformers' cache on this disk holds.

    Raises:
        InputError: neither is there, or it holds no object-detection model that this installation can run.
    """
    from transformers import AutoImageProcessor, AutoModelForObjectDetection

    folder = on_disk(directory, "detector")
    try:
        processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
        model = AutoModelForObjectDetection.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    except UNREADABLE as error:
        remedy = "Give a whole directory: config.json, preprocessor_config.json, model.safetensors."
        raise InputError(
            folder, f"no object-detection model can be read from it ({first_line(error)}).", remedy
        ) from error
    demand_tensors(model.state_dict(), folder, "Fetch or train the model again.")
    return Transformers(model, processor, str(directory), sha256(folder), selection, device)


def _padded(images: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """-> pixels [B,3,H,W], zero where there is no image, and mask [B,H,W], 1 where there is."""
    height, width = (max(image.shape[axis] for image in images) for axis in (-2, -1))
    pixels = images[0].new_zeros(len(images), 3, height, width)
    mask = torch.zeros(len(images), height, width, dtype=torch.long)
    for i, image in enumerate(images):
        pixels[i, :, : image.shape[-2], : image.shape[-1]] = image
        mask[i, : image.shape[-2], : image.shape[-1]] = 1
    return pixels, mask
