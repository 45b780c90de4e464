"""Optimisation: the same fields for both stages and all fine-tuning."""

from typing import Literal

from pydantic import Field

from vlp.config.base import Part, stated

Loss = Literal["mcr_visual", "mcr_text", "vsc", "mlm", "itm", "wpg"]


class Optimisation(Part):
    epochs: float = Field(gt=0)
    batch_size: int = Field(ge=1)
    """Global: over all ranks and accumulation steps."""
    learning_rate: float = Field(gt=0)
    warmup: float = Field(default=0.2, ge=0, le=1, json_schema_extra=stated(pretraining="paper 4.1"))
    """Share of the steps with a rising rate (paper 4.1: one fifth)."""
    weight_decay: float = Field(default=0.01, ge=0, json_schema_extra=stated(pretraining="released"))
    gradient_clipping: float = Field(default=1.0, gt=0, json_schema_extra=stated(tasks="released"))
    accumulation: int = Field(default=1, ge=1, json_schema_extra=stated("released"))
    precision: Literal["bf16", "fp16", "fp32"] = Field(default="fp32", json_schema_extra=stated("ours"))
    zero_stage: int = Field(default=2, ge=0, le=3, json_schema_extra=stated(pretraining="paper A.2.2", tasks="local"))
    dropout: float | None = Field(default=None, json_schema_extra=stated(pretraining="ours"))
    """Overrides the model's hidden dropout (fine-tuning of VQA uses 0.3)."""
    checkpoint_minutes: float = Field(default=10, gt=0, json_schema_extra=stated("local"))
    keep_checkpoints: int = Field(default=2, ge=1, json_schema_extra=stated("local"))
    log_every: int = Field(default=10, ge=1, json_schema_extra=stated("local"))
    negative_warmup: float = Field(default=0.0, ge=0, le=1, json_schema_extra=stated("paper 3.3.3"))
    """Share of the steps over which the draw of hard negatives goes from uniform to p(v2s), p(s2v): they are drawn
    from p to the power h, h rising from 0 to 1. 0: from p at once, as in the paper; ITM of a model this small and
    short-trained as the demo's does not get started on them (docs/log.md)."""


class Stage(Optimisation):
    losses: list[Loss]


class Pretraining(Part):
    stage1: Stage
    stage2: Stage
