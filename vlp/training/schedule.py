"""Learning rate and optimiser groups."""

from __future__ import annotations

import torch
from torch import nn

from vlp.config.training import Optimisation


def samples_seen(o: Optimisation, rows: int) -> float:
    """Samples of the whole run; `rows`: those of the train split."""
    return o.epochs * (o.epoch_size or rows)


def steps(o: Optimisation, rows: int) -> int:
    """Optimiser steps of the whole run."""
    return max(1, round(samples_seen(o, rows) / o.batch_size))


def learning_rate(o: Optimisation, step: int, total: int) -> float:
    """Linear warm-up from 0 over the first `warmup` of the steps, then linear decay to 0 (paper 4.1)."""
    warm = round(total * o.warmup)
    if step < warm:
        return o.learning_rate * (step + 1) / warm
    return o.learning_rate * (total - step) / max(1, total - warm)


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict]:
    """Biases, norms and the temperature are not decayed."""
    decayed, plain = [], []
    for name, p in module.named_parameters():
        if p.requires_grad:
            (plain if p.ndim < 2 or name.endswith("logit_scale") else decayed).append(p)
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return [g for g in groups if g["params"]]


def optimiser(
    module: nn.Module, o: Optimisation, kind: type[torch.optim.AdamW] = torch.optim.AdamW
) -> torch.optim.AdamW:
    return kind(parameter_groups(module, o.weight_decay), lr=o.learning_rate, fused=True)
