"""VinVL's public checkpoint and label map -> the network and the names, or an error that names what does not fit."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vlp.errors import InputError
from vlp.finite import demand_tensors
from vlp.regions.detectors.inclusive import cell_anchors
from vlp.regions.detectors.x152c4 import STRIDE, X152C4, Sizes

LABEL_MAP = "VG-SGG-dicts-vgoi6-clipped.json"
"""Name of the label map as published; it stands beside the weights."""
_ANCHORS = "rpn.anchor_generator.cell_anchors.0"
_BOX, _ATTRIBUTE = "roi_heads.box.feature_extractor.", "attribute.feature_extractor."
_REMEDY = "Take the file vinvl_vg_x152c4.pth as published (docs/vinvl.md says where)."
_SHOWN = 5


class Names(NamedTuple):
    classes: tuple[str, ...]
    """Without the background: label k is number k - 1."""
    attributes: tuple[str, ...]


def load_network(path: Path, sizes: Sizes | None = None) -> X152C4:
    """The network with the checkpoint's weights, float32, on the CPU, ready to detect.

    Takes the state dict alone or under `model`, its names with or without `module.` in front.

    Raises:
        InputError: the file is missing or no checkpoint; a tensor is missing, unknown or of another shape; the two
            names of a shared tensor hold different numbers; the anchors are not ours.
    """
    given = _read(path)
    with torch.device("meta"):  # the weights come from the file: nothing to initialise
        network = X152C4(sizes)
    wanted = network.state_dict()
    _compare_names(path, given, wanted)
    ours = torch.from_numpy(cell_anchors(STRIDE))
    if not torch.equal(given[_ANCHORS].float(), ours):
        row = int((given[_ANCHORS].float() != ours).any(dim=1).nonzero()[0])
        problem = f"{_ANCHORS}: anchor {row} is {given[_ANCHORS][row].tolist()}, ours {ours[row].tolist()}."
        raise InputError(path, problem, "These weights were trained with other anchors; they would give wrong boxes.")
    for name in given:
        if name.startswith(_BOX):
            other = _ATTRIBUTE + name.removeprefix(_BOX)
            if not torch.equal(given[name], given[other]):
                raise InputError(path, f"{name} and {other} are one tensor, but hold different numbers.", _REMEDY)
    network.load_state_dict({name: tensor.float() for name, tensor in given.items()}, strict=True, assign=True)
    return network.eval().requires_grad_(False)


def load_names(path: Path, sizes: Sizes | None = None) -> Names:
    """Class and attribute names of a label map: JSON with `label_to_idx` and `attribute_to_idx`, numbered from 1.

    Raises InputError: the file is missing or damaged; names and numbers do not fit the network.
    """
    sizes = sizes or Sizes()
    remedy = f"Put {LABEL_MAP} beside the weights; it is published with them (docs/vinvl.md)."
    if not path.exists():
        raise InputError(path, "the label map is missing.", remedy)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        tables: list[dict[str, int]] = [dict(value[key]) for key in ("label_to_idx", "attribute_to_idx")]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(path, f"not a label map ({type(error).__name__}: {error}).", remedy) from error
    names = []
    for key, table, places in zip(("label", "attribute"), tables, (sizes.classes, sizes.attributes), strict=True):
        by_number = {number: name for name, number in table.items() if number}  # 0, if there, is the background
        if sorted(by_number) != list(range(1, places)):
            problem = f"{key}_to_idx has {len(by_number)} numbers, the weights want 1 to {places - 1}, each once."
            raise InputError(path, problem, remedy)
        names.append(tuple(by_number[number] for number in range(1, places)))
    return Names(*names)


def _read(path: Path) -> dict[str, Tensor]:
    if not path.exists():
        raise InputError(path, "the weights are missing.", _REMEDY)
    try:
        value: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        problem = f"not a checkpoint of tensors ({reason})."
        raise InputError(path, problem, _REMEDY) from error
    if isinstance(value, Mapping) and isinstance(value.get("model"), Mapping):
        value = value["model"]
    if not isinstance(value, Mapping) or not all(isinstance(v, Tensor) for v in value.values()):
        raise InputError(path, "neither a state dict nor a checkpoint with one under `model`.", _REMEDY)
    demand_tensors(value, path, _REMEDY)
    return {str(name).removeprefix("module."): tensor for name, tensor in value.items()}


def _compare_names(path: Path, given: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    missing = [name for name in wanted if name not in given]
    extra = [name for name in given if name not in wanted]
    shapes = [
        f"{name} is {list(given[name].shape)}, wanted {list(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in given and given[name].shape != tensor.shape
    ]
    problems = []
    for what, names in (("missing", missing), ("unknown", extra), ("of another shape", shapes)):
        if names:
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            problems.append(f"{len(names)} {what}: {', '.join(names[:_SHOWN])}{more}")
    if problems:
        raise InputError(path, f"the tensors are not those of VinVL X152-C4; {'; '.join(problems)}.", _REMEDY)
