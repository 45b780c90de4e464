"""Downstream tasks by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vlp.config.tasks import known
from vlp.errors import VlpError

if TYPE_CHECKING:
    from vlp.batching.inputs import Inputs
    from vlp.tasks.base import Task

NAMES = tuple(known())


def make(name: str, inputs: Inputs, variant: str) -> Task:
    """The task of an experiment, in a variant (full, blind, scratch, pretrained)."""
    from vlp.tasks.classification import Entailment, Vqa
    from vlp.tasks.grounding import Grounding
    from vlp.tasks.referring import Referring
    from vlp.tasks.retrieval import Retrieval

    kinds = {k.name: k for k in (Retrieval, Vqa, Entailment, Grounding, Referring)}
    config = getattr(inputs.experiment.tasks, name, None)
    if config is None:
        raise VlpError(f"tasks.{name}: not in this experiment's config")
    return kinds[name](inputs, config, blind=variant == "blind")
