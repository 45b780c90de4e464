"""Detectors by name. Each is imported when it is asked for."""

from __future__ import annotations

import difflib
import importlib
from pathlib import Path

from vlp.config.regions import Selection
from vlp.errors import ConfigError, InputError
from vlp.regions.detectors.base import Detector

OWN_RULE = ("small", "vinvl")
"""Their weights or recipe say which boxes become regions."""


def build(name: str, weights: Path | None, device: str = "cpu", selection: Selection | None = None) -> Detector:
    """The detector `name` with its weights.

    Args:
        name: `small` (trained by `vlp regions train`), `vinvl` or one of its recipes (`vinvl_readme`), a
            detection model of torchvision, or the directory of a transformers model or its name in the cache on this
            disk. Nothing is fetched.
        weights: the file; not for transformers directories.
        selection: which boxes become regions; None: the detector's default.

    Raises:
        InputError: no such detector or weights; the message says how to get them.
        ConfigError: `selection` for a detector with a rule of its own.
    """
    is_vinvl = name.split("_")[0] == "vinvl"
    if selection is not None and (is_vinvl or name in OWN_RULE):
        raise ConfigError(f"regions.pretrained.selection: the detector {name} has a rule of its own")
    if device != "cpu":
        _check_cuda(device)
    if name == "small":
        from vlp.regions.detectors import small

        if device != "cpu":
            raise ConfigError(f"regions.extraction.device: the detector small runs on the cpu, not on {device}")
        return small.build(_wanted(name, weights))
    if is_vinvl:
        file = _wanted(name, weights)
        return importlib.import_module("vlp.regions.detectors.vinvl").build(file, device, name)
    from vlp.regions.detectors import torchvision_models

    known = torchvision_models.names()
    if name in known:
        return torchvision_models.build(name, weights, device, selection)
    if weights is not None and not weights.is_dir():
        close = difflib.get_close_matches(name, [*OWN_RULE, *known], n=1)
        hint = f"Did you mean {close[0]}?" if close else f"Known are: {', '.join([*OWN_RULE, *known])}."
        raise InputError(name, "no detector of this name reads a file of weights.", hint)
    from vlp.regions.detectors import transformers_models

    return transformers_models.build(weights or name, device, selection)


def _wanted(name: str, weights: Path | None) -> Path:
    if weights is None:
        raise ConfigError(f"--weights: the detector {name} needs a file of weights")
    return weights


def _check_cuda(device: str) -> None:
    import torch

    if not torch.cuda.is_available():
        raise ConfigError(f"--device {device}: this machine has no CUDA device, or torch was built without CUDA")
