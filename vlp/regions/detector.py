"""A Faster R-CNN of torchvision's parts with a small backbone, and the pooled feature of a region."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import MultiScaleRoIAlign, clip_boxes_to_image, nms

from vlp.config.regions import Detector as DetectorConfig
from vlp.errors import ConfigError, InputError
from vlp.files import atomic, read_json, sha256, write_json
from vlp.finite import demand, demand_tensors
from vlp.regions.appearance import COLOUR, TEXTURE, appearance

FORMAT = "vlp-detector/1"
PROPOSALS = 64
"""Proposals of an image after the region proposal network's suppression."""
POOLED = 5
"""Cells of a side of a pooled box for the box head."""
HIDDEN = 128
"""Width of the box head's first layer."""
MEAN, STD = 0.5, 0.25
_CLAMP = 8.0

Kept = tuple[Tensor, Tensor, Tensor]  # an image's boxes [K,4], classes [K], scores [K]


class Backbone(nn.Module):
    """Seven convolutions with batch norm, stride 8: `width`, 2 and 4 x `width` channels.

    Three of them at stride 4: what tells small shapes apart is gone at stride 8.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width, self.out_channels = width, 4 * width
        self.low = nn.Sequential(*_conv(3, width, stride=2))
        self.high = nn.Sequential(
            *_conv(width, 2 * width, stride=2),
            *_conv(2 * width, 2 * width),
            *_conv(2 * width, 2 * width),
            *_conv(2 * width, 4 * width, stride=2),
            *_conv(4 * width, 4 * width),
            *_conv(4 * width, 4 * width, dilation=2),
        )

    def forward(self, images_B3HW: Tensor) -> Tensor:
        """-> [B, 4*width, H/8, W/8]"""
        return self.high(self.low(images_B3HW))


@dataclass(frozen=True)
class Found:
    """An image's regions, best first, in pixels of the image as it was given."""

    boxes: Tensor
    """[K,4] xyxy"""
    classes: Tensor
    """[K] index of the class name"""
    scores: Tensor
    """[K]"""
    features: Tensor
    """[K,D]"""


class Detector(nn.Module):
    """The detector and its feature of D numbers: the box head's last layer, then the region's appearance.

    All numbers are standardised by the mean and deviation over regions of train images.
    """

    feature_mean: Tensor
    feature_std: Tensor

    def __init__(self, config: DetectorConfig, class_names: Sequence[str]) -> None:
        """Raises ConfigError: feature_size leaves the box head fewer than 8 numbers."""
        super().__init__()
        self.config, self.class_names = config, list(class_names)
        backbone = Backbone(config.width)
        read_off = COLOUR + TEXTURE + config.width
        hidden = config.feature_size - read_off
        if hidden < 8:
            raise ConfigError(
                f"regions.detector.feature_size: {config.feature_size} is too small for width {config.width}; "
                f"at least {read_off + 8} is wanted"
            )
        sides = [config.image_size * part for part in (0.12, 0.2, 0.36, 0.6)]
        self.rcnn = FasterRCNN(
            backbone,
            min_size=config.image_size,
            max_size=2 * config.image_size,
            image_mean=[MEAN] * 3,
            image_std=[STD] * 3,
            rpn_anchor_generator=AnchorGenerator((tuple(sides),), ((0.5, 1.0, 2.0),)),
            rpn_pre_nms_top_n_train=400,
            rpn_pre_nms_top_n_test=200,
            rpn_post_nms_top_n_train=2 * PROPOSALS,
            rpn_post_nms_top_n_test=PROPOSALS,
            rpn_batch_size_per_image=128,
            box_batch_size_per_image=32,
            box_positive_fraction=0.5,
            box_roi_pool=MultiScaleRoIAlign(["0"], POOLED, 1),
            box_head=nn.Sequential(
                nn.Flatten(), *_dense(backbone.out_channels * POOLED**2, HIDDEN), *_dense(HIDDEN, hidden)
            ),
            box_predictor=FastRCNNPredictor(hidden, len(self.class_names) + 1),
        )
        self.register_buffer("feature_mean", torch.zeros(config.feature_size))
        self.register_buffer("feature_std", torch.ones(config.feature_size))

    @property
    def backbone(self) -> Backbone:
        backbone = self.rcnn.backbone
        assert isinstance(backbone, Backbone)
        return backbone

    @torch.inference_mode()
    def detect(self, images: Sequence[Tensor]) -> list[Found]:
        """Regions of `images` ([3,H,W], float32 in [0,1]): after suppression those that reach the score threshold, and
        the next best up to `min_regions`; at most `max_regions`; none where the proposals give none.

        A proposal has one class, its best; suppression looks at boxes only, so a region comes once, not once a class.
        """
        sizes = [(image.shape[-2], image.shape[-1]) for image in images]
        batch, low, high, kept = self._regions(images)
        features = self._features(batch, low, high, [boxes for boxes, _, _ in kept])
        found = []
        for (boxes, classes, scores), rows, size, inner in zip(kept, features, sizes, batch.image_sizes, strict=True):
            scale = torch.tensor([size[1] / inner[1], size[0] / inner[0]] * 2)
            found.append(Found(boxes * scale, classes, scores, rows))
        return found

    @torch.inference_mode()
    def describe(self, images: Sequence[Tensor], boxes: Sequence[Tensor]) -> list[Tensor]:
        """Features [K,D] of given boxes ([K,4] xyxy, pixels of each of `images`)."""
        batch, _ = self.rcnn.transform(list(images))
        low, high = self._maps(batch)
        inner = []
        for image, box, (height, width) in zip(images, boxes, batch.image_sizes, strict=True):
            inner.append(box * torch.tensor([width / image.shape[-1], height / image.shape[-2]] * 2))
        return self._features(batch, low, high, inner)

    @torch.inference_mode()
    def raw_features(self, images: Sequence[Tensor]) -> Tensor:
        """Features [N,D] of all regions of `images` before they are scaled."""
        batch, low, high, kept = self._regions(images)
        return self._raw(batch, low, high, [boxes for boxes, _, _ in kept])

    def _regions(self, images: Sequence[Tensor]) -> tuple[ImageList, Tensor, dict[str, Tensor], list[Kept]]:
        batch, _ = self.rcnn.transform(list(images))
        low, high = self._maps(batch)
        proposals, _ = self.rcnn.rpn(batch, high)
        return batch, low, high, self._classify(high, proposals, batch.image_sizes)

    def _maps(self, batch: ImageList) -> tuple[Tensor, dict[str, Tensor]]:
        low = self.backbone.low(batch.tensors)
        high = self.backbone.high(low)
        # Every comparison with NaN is false: such an image would seem to have nothing in it.
        demand(high, "detector small", "its map of a batch of images", "Look at its weights and the images.")
        return low, {"0": high}

    def _classify(self, high: dict[str, Tensor], proposals: list[Tensor], sizes: list[tuple[int, int]]) -> list[Kept]:
        heads: Any = self.rcnn.roi_heads
        logits, deltas = heads.box_predictor(heads.box_head(heads.box_roi_pool(high, proposals, sizes)))
        every_NC4 = heads.box_coder.decode(deltas, proposals)
        scores_N, classes_N = logits.softmax(-1)[:, 1:].max(-1)
        boxes_N4 = every_NC4[torch.arange(len(every_NC4)), classes_N + 1]
        kept, counts = [], [len(p) for p in proposals]
        parts = (t.split(counts) for t in (boxes_N4, classes_N, scores_N))
        for boxes, classes, scores, size in zip(*parts, sizes, strict=True):
            boxes = clip_boxes_to_image(boxes, size)
            large = ((boxes[:, 2:] - boxes[:, :2]) >= 2).all(dim=1).nonzero().flatten()
            best = nms(boxes[large], scores[large], self.config.nms_threshold)
            sure = int((scores[large] >= self.config.score_threshold)[best].sum())
            rows = large[best[: min(max(sure, self.config.min_regions), self.config.max_regions)]]
            kept.append((boxes[rows], classes[rows], scores[rows]))
        return kept

    def _features(self, batch: ImageList, low: Tensor, high: dict[str, Tensor], boxes: list[Tensor]) -> list[Tensor]:
        rows = (self._raw(batch, low, high, boxes) - self.feature_mean) / self.feature_std
        return list(rows.clamp(-_CLAMP, _CLAMP).split([len(b) for b in boxes]))

    def _raw(self, batch: ImageList, low: Tensor, high: dict[str, Tensor], boxes: list[Tensor]) -> Tensor:
        heads: Any = self.rcnn.roi_heads
        hidden = heads.box_head(heads.box_roi_pool(high, boxes, batch.image_sizes))
        return torch.cat([hidden, appearance((batch.tensors * STD + MEAN).clamp(0, 1), low, boxes)], dim=1)


def save(path: str | Path, detector: Detector, training: dict[str, Any]) -> dict[str, Any]:
    """Write the weights (safetensors) and, beside them, PATH.json: names, sizes, thresholds, facts -> what it holds.

    Raises InputError: a weight is not finite.
    """
    path, state = Path(path), detector.state_dict()
    demand_tensors(state, path, "It is not written. Lower regions.detector.learning_rate and train again.")
    with atomic(path) as temporary:
        safetensors.torch.save_file({k: v.contiguous() for k, v in state.items()}, temporary)
    value = {
        "format": FORMAT,
        "sha256": sha256(path),
        "class_names": detector.class_names,
        "config": detector.config.model_dump(mode="json"),
        "training": training,
    }
    write_json(path.with_suffix(".json"), value)
    return value


def files(weights: Path) -> dict[str, Path]:
    """The weights of a detector, and the facts beside them where there are some."""
    facts = weights.with_suffix(".json")
    return {"detector": weights} | ({"detector facts": facts} if facts.exists() else {})


def load(path: str | Path) -> tuple[Detector, dict[str, Any]]:
    """The detector at `path`, ready to detect, and what its .json says.

    Raises InputError: one of the two files is missing, damaged, or the weights are not those the .json tells of, or
    not finite.
    """
    path = Path(path)
    remedy = "Train the detector again: vlp regions train."
    facts = read_json(path.with_suffix(".json"))
    if not path.exists():
        raise InputError(path, "the detector's weights are missing.", remedy)
    if facts.get("format") != FORMAT:
        raise InputError(path.with_suffix(".json"), f"not a detector of the format {FORMAT}.", remedy)
    if sha256(path) != facts["sha256"]:
        raise InputError(path, "the weights are not those that the .json beside them tells of.", remedy)
    detector = Detector(DetectorConfig.model_validate(facts["config"]), facts["class_names"])
    try:
        state = safetensors.torch.load_file(path)
        demand_tensors(state, path, remedy)
        detector.load_state_dict(state)
    except (RuntimeError, safetensors.SafetensorError) as error:
        raise InputError(path, f"the weights do not fit ({str(error).splitlines()[0]}).", remedy) from error
    return detector.eval().to(memory_format=torch.channels_last), facts


def _conv(inner: int, outer: int, stride: int = 1, dilation: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(inner, outer, 3, stride, padding=dilation, dilation=dilation, bias=False)
    return [conv, nn.BatchNorm2d(outer), nn.ReLU(inplace=True)]


def _dense(inner: int, outer: int) -> list[nn.Module]:
    # layer norm: torchvision's head without it needs about three times the steps
    return [nn.Linear(inner, outer, bias=False), nn.LayerNorm(outer), nn.ReLU(inplace=True)]
