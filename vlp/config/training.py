"""Optimisation: the same fields for both stages and all fine-tuning."""

from typing import Literal

from pydantic import Field

from vlp.config.base import Part

Loss = Literal["mcr_visual", "mcr_text", "vsc", "mlm", "itm", "wpg"]


class Optimisation(Part):
    epochs: float = Field(gt=0)
    batch_size: int = Field(ge=1)
    """Global: over all ranks and accumulation steps."""
    learning_rate: float = Field(gt=0)
    warmup: float = Field(default=0.2, ge=0, le=1)
    """Share of the steps with a rising rate (paper 4.1: one fifth)."""
    weight_decay: float = Field(default=0.01, ge=0)
    gradient_clipping: float = Field(default=1.0, gt=0)
    accumulation: int = Field(default=1, ge=1)
    precision: Literal["bf16", "fp16", "fp32"] = "fp32"
    zero_stage: int = Field(default=2, ge=0, le=3)
    dropout: float | None = None
    """Overrides the model's hidden dropout (fine-tuning of VQA uses 0.3)."""
    checkpoint_minutes: float = Field(default=10, gt=0)
    keep_checkpoints: int = Field(default=2, ge=1)
    log_every: int = Field(default=10, ge=1)
    negative_warmup: float = Field(default=0.0, ge=0, le=1)
    """Share of the steps over which the draw of hard negatives goes from uniform to p(v2s), p(s2v): they are drawn
    from p to the power h, h rising from 0 to 1. 0: from p at once, as in the paper; ITM of a model this small and
    short-trained as the demo's does not get started on them (docs/log.md)."""


class Stage(Optimisation):
    losses: list[Loss]


class Pretraining(Part):
    stage1: Stage
    stage2: Stage
