"""Detection models of torchvision and transformers with random weights, small enough for a test."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.models.detection import FCOS, FasterRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.ssd import SSD, SSDHead

NAMES = ["cat", "dog", "cow"]


class Pyramid(nn.Module):
    """Two maps, at strides 8 and 16."""

    def __init__(self, depths: tuple[int, int]) -> None:
        super().__init__()
        self.out_channels = depths[0]
        self.first, self.second = nn.Conv2d(3, depths[0], 8, 8), nn.Conv2d(depths[0], depths[1], 2, 2)

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        first = self.first(images)
        return OrderedDict({"0": first.relu(), "1": self.second(first).relu()})


def torchvision_model(kind: str) -> Any:
    """`rcnn`, `retinanet` (8 channels at both levels), `fcos` (32), `ssd` (8 and 12): three classes, background."""
    torch.manual_seed(0)
    ratios = (0.5, 1.0, 2.0)
    size: dict[str, Any] = {"min_size": 64, "max_size": 96}
    if kind == "rcnn":
        anchors = AnchorGenerator(((16,), (32,)), (ratios,) * 2)
        return FasterRCNN(Pyramid((8, 8)), 4, rpn_anchor_generator=anchors, rpn_post_nms_top_n_test=40, **size)
    if kind == "retinanet":
        return RetinaNet(Pyramid((8, 8)), 4, anchor_generator=AnchorGenerator(((16,), (32,)), (ratios,) * 2), **size)
    if kind == "fcos":
        return FCOS(Pyramid((32, 32)), 4, anchor_generator=AnchorGenerator(((8,), (16,)), ((1.0,),) * 2), **size)
    boxes = DefaultBoxGenerator([[2], [2]], scales=[0.2, 0.4, 0.6])
    head = SSDHead([8, 12], boxes.num_anchors_per_location(), 4)
    return SSD(Pyramid((8, 12)), boxes, (64, 64), 4, head=head)


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    return coarse.resize((width, height), Image.Resampling.BILINEAR)


def transformers_directory(kind: str, folder: Path) -> Path:
    """A saved model `detr` (softmax, "no object" last), `rt_detr` (sigmoid, one size) or `yolos`, with processor."""
    import transformers

    tf: Any = transformers  # its signatures are made at run time
    torch.manual_seed(0)
    names = {"id2label": dict(enumerate(NAMES)), "label2id": {name: i for i, name in enumerate(NAMES)}}
    small: dict[str, Any] = {
        "d_model": 16,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_ffn_dim": 16,
        "decoder_ffn_dim": 16,
    }
    small |= {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "num_queries": 12}
    if kind == "detr":
        backbone = tf.ResNetConfig(
            embedding_size=8, hidden_sizes=[8, 8, 8, 16], depths=[1, 1, 1, 1], out_features=["stage4"]
        )
        own: dict[str, Any] = {
            "use_timm_backbone": False,
            "use_pretrained_backbone": False,
            "backbone_config": backbone,
        }
        model = tf.DetrForObjectDetection(tf.DetrConfig(**small, **own, **names))
        processor = tf.DetrImageProcessor(size={"shortest_edge": 64, "longest_edge": 96})
    elif kind == "rt_detr":
        backbone = tf.RTDetrResNetConfig(
            embedding_size=8,
            hidden_sizes=[8, 8, 16, 16],
            depths=[1, 1, 1, 1],
            layer_type="basic",
            out_features=["stage2", "stage3", "stage4"],
        )
        own = {"backbone_config": backbone, "encoder_in_channels": [8, 16, 16], "encoder_hidden_dim": 16}
        own |= {"decoder_in_channels": [16, 16, 16], "num_denoising": 0, "decoder_n_points": 2}
        model = tf.RTDetrForObjectDetection(tf.RTDetrConfig(**small, **own, **names))
        processor = tf.RTDetrImageProcessor(size={"height": 64, "width": 64})
    else:
        config = tf.YolosConfig(
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            image_size=[64, 96],
            num_detection_tokens=12,
            **names,
        )
        model = tf.YolosForObjectDetection(config)
        processor = tf.YolosImageProcessor(size={"shortest_edge": 64, "longest_edge": 96})
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
