"""The network of VinVL: Faster R-CNN on ResNeXt-152 (C4), with an attribute head, of torchvision's parts.

Modules are named so that `state_dict()` has the names of the public checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.resnet import Bottleneck
from torchvision.ops import FrozenBatchNorm2d, roi_align

from vlp.regions.detectors.inclusive import cell_anchors, clip, decode, grid_anchors, nms

STRIDE = 16
POOLED = 14
ANCHORS = 15
PROPOSALS_BEFORE, PROPOSALS, PROPOSAL_NMS = 6000, 300, 0.7
RPN_WEIGHTS = (1.0, 1.0, 1.0, 1.0)
BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
POOL_CHUNK = 100
"""Boxes that go through the last stage at once: 100 take about 0.4 GB."""


@dataclass(frozen=True)
class Sizes:
    """What the network is made of; the default is VinVL's."""

    blocks: tuple[int, int, int, int] = (3, 8, 36, 3)
    stem: int = 64
    planes: int = 64
    """A quarter of the first stage's channels; they double with each stage."""
    groups: int = 32
    group_width: int = 8
    classes: int = 1595
    """With the background, 0."""
    attributes: int = 525
    """With "none", 0."""
    class_embedding: int = 256
    attribute_hidden: int = 512

    @property
    def map_channels(self) -> int:
        return 16 * self.planes

    @property
    def feature_size(self) -> int:
        return 32 * self.planes


class Stem(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, sizes.stem, 7, stride=2, padding=3, bias=False)
        self.bn1 = _norm(sizes.stem)

    def forward(self, images_B3HW: Tensor) -> Tensor:
        return F.max_pool2d(F.relu(self.bn1(self.conv1(images_B3HW))), 3, stride=2, padding=1)


class Body(nn.Module):
    """Stem and three stages: stride 16."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.stem = Stem(sizes)
        self.layer1 = _stage(sizes, 0, sizes.stem)
        self.layer2 = _stage(sizes, 1, 4 * sizes.planes)
        self.layer3 = _stage(sizes, 2, 8 * sizes.planes)

    def forward(self, images_B3HW: Tensor) -> Tensor:
        return self.layer3(self.layer2(self.layer1(self.stem(images_B3HW))))


class Backbone(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.body = Body(sizes)

    def forward(self, images_B3HW: Tensor) -> Tensor:
        return self.body(images_B3HW)


class CellAnchors(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("0", torch.from_numpy(cell_anchors(STRIDE)))


class AnchorGenerator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell_anchors = CellAnchors()

    def forward(self, height: int, width: int) -> Tensor:
        return grid_anchors(self.cell_anchors.get_buffer("0"), height, width, STRIDE)


class RPNHead(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.cls_logits = nn.Conv2d(channels, ANCHORS, 1)
        self.bbox_pred = nn.Conv2d(channels, 4 * ANCHORS, 1)

    def forward(self, maps_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """-> objectness [B,HWA], deltas [B,HWA,4], in the order of the anchors"""
        hidden = F.relu(self.conv(maps_BCHW))
        batch = len(hidden)
        objectness = self.cls_logits(hidden).permute(0, 2, 3, 1).reshape(batch, -1)
        return objectness, self.bbox_pred(hidden).permute(0, 2, 3, 1).reshape(batch, -1, 4)


class RPN(nn.Module):
    """Region proposal network."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.anchor_generator = AnchorGenerator()
        self.head = RPNHead(channels)

    def forward(self, maps_BCHW: Tensor, size: tuple[int, int]) -> list[Tensor]:
        """Proposals of each image [P,4], best first; `size` = (width, height) of the images."""
        anchors = self.anchor_generator(*maps_BCHW.shape[-2:])
        objectness, deltas = self.head(maps_BCHW)
        return [propose(anchors, o, d, size) for o, d in zip(objectness, deltas, strict=True)]


def propose(anchors_K4: Tensor, objectness_K: Tensor, deltas_K4: Tensor, size: tuple[int, int]) -> Tensor:
    """The best anchors, moved, cut to the image (width, height), suppressed -> [P,4], best first."""
    # the sigmoid first, as in the public code: far from 0 it makes ties
    scores, best = objectness_K.sigmoid().topk(min(PROPOSALS_BEFORE, len(objectness_K)))
    boxes = clip(decode(deltas_K4[best], anchors_K4[best], RPN_WEIGHTS)[:, 0], *size)
    return boxes[nms(boxes, scores, PROPOSAL_NMS)[:PROPOSALS]]


class LastStage(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.layer4 = _stage(sizes, 3, sizes.map_channels)

    def forward(self, pooled_NCHW: Tensor) -> Tensor:
        return self.layer4(pooled_NCHW)


class FeatureExtractor(nn.Module):
    """Box -> feature: RoIAlign, the last stage, mean over the cells."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.head = LastStage(sizes)

    def forward(self, map_1CHW: Tensor, boxes_N4: Tensor) -> Tensor:
        """Features [N,D] of boxes of one image."""
        if not len(boxes_N4):
            return map_1CHW.new_zeros(0, 2 * map_1CHW.shape[1])
        return torch.cat(
            [self.head(align(map_1CHW, boxes)).mean(dim=(2, 3)) for boxes in boxes_N4.split(POOL_CHUNK)],
        )


def align(map_1CHW: Tensor, boxes_N4: Tensor) -> Tensor:
    """RoIAlign as of 2018, not shifted by half a pixel (`aligned=False`), x2 and y2 taken as they are."""
    return roi_align(map_1CHW, [boxes_N4], POOLED, spatial_scale=1 / STRIDE, sampling_ratio=0, aligned=False)


class BoxPredictor(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.cls_score = nn.Linear(sizes.feature_size, sizes.classes)
        self.bbox_pred = nn.Linear(sizes.feature_size, 4 * sizes.classes)


class Box(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.feature_extractor = FeatureExtractor(sizes)
        self.predictor = BoxPredictor(sizes)


class RoIHeads(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.box = Box(sizes)


class AttributePredictor(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.cls_embedding = nn.Embedding(sizes.classes, sizes.class_embedding)
        self.fc_attr = nn.Linear(sizes.feature_size + sizes.class_embedding, sizes.attribute_hidden)
        self.attr_score = nn.Linear(sizes.attribute_hidden, sizes.attributes)

    def forward(self, features_ND: Tensor, labels_N: Tensor) -> Tensor:
        """-> logits [N, attributes]"""
        joined = torch.cat([features_ND, self.cls_embedding(labels_N)], dim=1)
        return self.attr_score(F.relu(self.fc_attr(joined)))


class Attribute(nn.Module):
    def __init__(self, sizes: Sizes, shared: FeatureExtractor) -> None:
        super().__init__()
        self.feature_extractor = shared
        self.predictor = AttributePredictor(sizes)


class Described(NamedTuple):
    """The proposals of an image."""

    boxes: Tensor
    """[P,4]"""
    features: Tensor
    """[P,D]"""
    probabilities: Tensor
    """[P,C]"""


class X152C4(nn.Module):
    """The whole network; boxes are in pixels of the images it is given, x2 and y2 the last pixel inside."""

    def __init__(self, sizes: Sizes | None = None) -> None:
        super().__init__()
        self.sizes = sizes or Sizes()
        self.backbone = Backbone(self.sizes)
        self.rpn = RPN(self.sizes.map_channels)
        self.roi_heads = RoIHeads(self.sizes)
        self.attribute = Attribute(self.sizes, self.roi_heads.box.feature_extractor)

    def forward(self, images_B3HW: Tensor) -> tuple[Tensor, list[Described]]:
        """Maps [B,C,H/16,W/16] of images of one size, and the proposals of each."""
        maps = self.backbone(images_B3HW)
        size = (images_B3HW.shape[-1], images_B3HW.shape[-2])
        box, described = self.roi_heads.box, []
        for at, boxes in enumerate(self.rpn(maps, size)):
            features = box.feature_extractor(maps[at : at + 1], boxes)
            described.append(Described(boxes, features, box.predictor.cls_score(features).softmax(dim=1)))
        return maps, described

    def regress(self, described: Described, size: tuple[int, int]) -> Tensor:
        """Boxes of the proposals for each class [P,C,4], cut to the image (width, height)."""
        deltas = self.roi_heads.box.predictor.bbox_pred(described.features)
        return clip(decode(deltas, described.boxes, BOX_WEIGHTS), *size)


def fold_norms(network: X152C4) -> None:
    """Put every frozen norm into the convolution before it: the same numbers in about an eighth less time.

    Afterwards the state dict is no longer that of the checkpoint.
    """
    for module in network.modules():
        if isinstance(module, Bottleneck | Stem):
            for number in (1, 2, 3) if isinstance(module, Bottleneck) else (1,):
                conv, norm = getattr(module, f"conv{number}"), getattr(module, f"bn{number}")
                setattr(module, f"conv{number}", _folded(conv, norm))
                setattr(module, f"bn{number}", nn.Identity())
        if isinstance(module, Bottleneck) and isinstance(module.downsample, nn.Sequential):
            conv, norm = module.downsample
            assert isinstance(conv, nn.Conv2d) and isinstance(norm, FrozenBatchNorm2d)
            module.downsample = _folded(conv, norm)


def _folded(conv: nn.Conv2d, norm: FrozenBatchNorm2d) -> nn.Conv2d:
    weight, bias, mean, var = (norm.get_buffer(n) for n in ("weight", "bias", "running_mean", "running_var"))
    scale = weight * (var + norm.eps).rsqrt()
    # on the meta device: no numbers are drawn only to be replaced
    made = nn.Conv2d(
        *(conv.in_channels, conv.out_channels, conv.kernel_size[0]),
        *(conv.stride[0], int(conv.padding[0])),
        groups=conv.groups,
        device="meta",
    )
    made.weight = nn.Parameter(conv.weight * scale[:, None, None, None], requires_grad=False)
    made.bias = nn.Parameter(bias - mean * scale, requires_grad=False)
    return made


def stack_by_size(images: Sequence[Tensor]) -> list[list[int]]:
    """Numbers of the images, those of one size together: nothing is padded, so no image changes another's features."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for at, image in enumerate(images):
        groups.setdefault(tuple(image.shape), []).append(at)
    return list(groups.values())


def _norm(channels: int) -> nn.Module:
    # the public code divides by sqrt(running_var) alone
    return FrozenBatchNorm2d(channels, eps=0.0)


def _stage(sizes: Sizes, number: int, inner: int) -> nn.Sequential:
    """Stage `number` (0-3); all but the first halve the sides, in the 3 x 3 convolution of their first block."""
    planes, stride = sizes.planes * 2**number, 1 if number == 0 else 2
    outer = planes * Bottleneck.expansion
    block = partial(Bottleneck, planes=planes, groups=sizes.groups, norm_layer=_norm)
    # torchvision counts a group's width at 64 planes
    block = partial(block, base_width=sizes.group_width * 64 // sizes.planes)
    downsample = nn.Sequential(nn.Conv2d(inner, outer, 1, stride=stride, bias=False), _norm(outer))
    first = block(inner, stride=stride, downsample=downsample)
    return nn.Sequential(first, *(block(outer) for _ in range(sizes.blocks[number] - 1)))
