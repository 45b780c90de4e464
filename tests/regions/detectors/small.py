"""A network of VinVL's form that a test can run, its checkpoint and its label map; the names of the public one."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import torch
from torch import Tensor

from vlp.regions.detectors.vinvl_weights import LABEL_MAP
from vlp.regions.detectors.x152c4 import X152C4, Sizes

SMALL = Sizes(
    blocks=(1, 1, 2, 2),
    stem=4,
    planes=4,
    groups=2,
    group_width=4,
    classes=7,
    attributes=6,
    class_embedding=5,
    attribute_hidden=8,
)


def public_shapes() -> dict[str, list[int]]:
    """Names and shapes of the public checkpoint; the file folds numbers as [0-2] and names as {a,b}."""
    folded = json.loads((Path(__file__).parent / "vinvl_keys.json").read_text())
    shapes: dict[str, list[int]] = {}
    for pattern, shape in folded.items():
        parts = re.split(r"(\[\d+-\d+\]|\{[^}]*\})", pattern)
        for chosen in itertools.product(*(_choices(part) for part in parts)):
            shapes["".join(chosen)] = shape
    return shapes


def _choices(part: str) -> list[str]:
    if part.startswith("["):
        first, last = map(int, part[1:-1].split("-"))
        return [str(number) for number in range(first, last + 1)]
    return part[1:-1].split(",") if part.startswith("{") else [part]


def network(seed: int = 0, sizes: Sizes = SMALL) -> X152C4:
    """Random weights that keep the numbers' size from layer to layer and give peaked scores."""
    torch.manual_seed(seed)
    made = X152C4(sizes).eval()
    for name, tensor in made.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
        elif re.search(r"(bn\d|downsample\.1)\.weight$", name):
            tensor.uniform_(0.5, 1.0)
        elif re.search(r"(bn\d|downsample\.1)\.(bias|running_mean)$", name):
            tensor.normal_(0, 0.1)
        elif tensor.dim() == 4 and not name.startswith("rpn"):
            tensor.normal_(0, (2 / tensor[0].numel()) ** 0.5)
    state = made.state_dict()
    state["backbone.body.stem.conv1.weight"].mul_(1 / 60)  # pixels are up to 150
    state["rpn.head.conv.weight"].normal_(0, 0.1)
    state["rpn.head.cls_logits.weight"].normal_(0, 0.5)
    state["rpn.head.bbox_pred.weight"].normal_(0, 0.1)
    state["roi_heads.box.predictor.cls_score.weight"].normal_(0, 2.0)
    state["roi_heads.box.predictor.bbox_pred.weight"].normal_(0, 0.5)
    return made.requires_grad_(False)


def save(folder: Path, state: dict[str, Tensor], prefix: str = "", under_model: bool = True) -> Path:
    """The checkpoint `folder`/w.pth."""
    renamed = {prefix + name: tensor for name, tensor in state.items()}
    path = folder / "w.pth"
    torch.save({"model": renamed, "iteration": 3, "optimizer": {}} if under_model else renamed, path)
    return path


def save_labels(folder: Path, sizes: Sizes = SMALL) -> Path:
    path = folder / LABEL_MAP
    tables = {"label_to_idx": ("thing", sizes.classes), "attribute_to_idx": ("look", sizes.attributes)}
    path.write_text(json.dumps({key: {f"{n} {i}": i for i in range(1, c)} for key, (n, c) in tables.items()}))
    return path
