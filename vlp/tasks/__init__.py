"""Downstream tasks by name."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from vlp.config.tasks import facts
from vlp.errors import VlpError

if TYPE_CHECKING:
    from vlp.batching.inputs import Inputs
    from vlp.tasks.base import Task


def make(name: str, inputs: Inputs, variant: str) -> Task:
    """The task of an experiment, in a variant (full, blind, scratch, pretrained)."""
    config = getattr(inputs.experiment.tasks, name, None)
    if config is None:
        raise VlpError(f"tasks.{name}: not in this experiment's config")
    module, _, kind = facts(name).samples.partition(":")
    return getattr(importlib.import_module(module), kind)(inputs, config, blind=variant == "blind")
