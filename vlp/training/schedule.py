"""Learning rate and optimiser groups."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from vlp.config.training import Plan, Samples
from vlp.errors import VlpError
from vlp.training.base import Group, Grouped


def samples_seen(o: Samples, rows: int) -> float:
    """Samples of the whole run; `rows`: those of the train split."""
    return o.epochs * (o.epoch_size or rows)


def steps(o: Samples, rows: int) -> int:
    """Optimiser steps of the whole run."""
    return max(1, round(samples_seen(o, rows) / o.batch_size))


def learning_rate(o: Plan, step: int, total: int) -> float:
    """Linear warm-up from 0 over the first `warmup` of the steps, then as `schedule` says: by default linear decay to 0
    (paper 4.1)."""
    warm = round(total * o.warmup)
    if step < warm:
        return o.learning_rate * (step + 1) / warm
    if o.schedule == "linear":
        return o.learning_rate * (total - step) / max(1, total - warm)
    if o.schedule == "milestones":
        passed = sum(step >= round(share * total) for share in o.milestones)
        return o.learning_rate * o.milestone_factor**passed
    epoch = math.floor(step * o.epochs / total)
    gone = epoch / o.epochs if o.schedule == "cosine_epochs" else (step - warm) / max(1, total - warm)
    return o.learning_rate * (o.final_rate + (1 - o.final_rate) * (1 + math.cos(math.pi * gone)) / 2)


def by_shape(parameters: Mapping[str, Tensor], rate: float = 1.0) -> list[Group]:
    """Matrices are decayed; biases, norms, temperatures and all that has one dimension are not."""
    decayed = [name for name, p in parameters.items() if p.ndim >= 2]
    plain = [name for name, p in parameters.items() if p.ndim < 2]
    return [Group(decayed, rate=rate), Group(plain, decay=0.0, rate=rate)]


def groups(module: nn.Module) -> list[Group]:
    """The step module's own, else `by_shape`; of the parameters that are trained, and none is empty.

    Raises:
        VlpError: a parameter is in no group, in several, or there is none of this name.
    """
    every = dict(module.named_parameters())
    trained = {name: p for name, p in every.items() if p.requires_grad}
    if not isinstance(module, Grouped):
        found = by_shape(trained)
    else:
        found = list(module.groups())
        times = Counter(name for g in found for name in g.names)
        wrong = {
            "there is no parameter": times.keys() - every.keys(),
            "in several groups is": {name for name, n in times.items() if n > 1},
            "in no group is": trained.keys() - times.keys(),
        }
        for problem, names in wrong.items():
            if names:
                raise VlpError(f"groups() of {type(module).__name__}: {problem} {', '.join(sorted(names))}")
    kept = [Group([n for n in g.names if n in trained], g.decay, g.rate, g.betas) for g in found]
    return [g for g in kept if g.names]


def parameter_groups(module: nn.Module, o: Plan) -> list[dict[str, Any]]:
    """In the form that torch's optimisers read."""
    every = dict(module.named_parameters())
    return [
        {
            "params": [every[name] for name in g.names],
            "weight_decay": o.weight_decay * g.decay,
            "lr": o.learning_rate * g.rate,
            "betas": g.betas or o.betas,
        }
        for g in groups(module)
    ]


def optimiser(module: nn.Module, o: Plan, kind: type[torch.optim.AdamW] = torch.optim.AdamW) -> torch.optim.AdamW:
    return kind(parameter_groups(module, o), lr=o.learning_rate, eps=o.eps, fused=True)
