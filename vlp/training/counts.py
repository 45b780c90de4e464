"""Targets of a micro-batch, counted on the host before its forward pass: what the losses are divided by."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from vlp.batching.batch import Batch
from vlp.objectives import LossSum
from vlp.training.base import StepModule


def own(module: StepModule, batches: Sequence[Batch]) -> dict[str, int]:
    """Targets of each loss over this rank's micro-batches."""
    total: dict[str, int] = {}
    for batch in batches:
        for name, n in module.counts(batch).items():
            total[name] = total.get(name, 0) + n
    return total


def over_ranks(found: dict[str, int], device: torch.device) -> dict[str, Tensor]:
    """The same over all ranks, on the device: the host does not wait for them."""
    table = on_device(list(found.values()), device)
    if dist.is_initialized() and dist.get_world_size() > 1:
        dist.all_reduce(table)
    return dict(zip(found, table.unbind(), strict=True))


def on_device(values: Sequence[float], device: torch.device) -> Tensor:
    """As float64. From page-locked memory: any other copy would wait for all that is queued on the device."""
    table = torch.tensor(values, dtype=torch.float64)
    return (table.pin_memory() if device.type == "cuda" else table).to(device, non_blocking=True)


def normalised(losses: dict[str, LossSum], counts: dict[str, Tensor], parts: int) -> Tensor:
    """The loss to go backward from: sum of the losses, each divided by its global number of targets.

    DeepSpeed divides the summed gradients by the number of ranks (all ZeRO stages: `gradient_average`, on by default)
    and each backward by the number of accumulation steps. Ranks and micro-batches hold different numbers of targets,
    so a mean of their means would weigh targets unequally: each sum is divided by the global count and multiplied by
    `parts` = ranks x accumulation steps, which the engine's divisions undo. What is left is the gradient of the global
    mean, however the global batch is shared.

    A loss that is not finite makes all gradients NaN, on every rank after their reduction: the engine then leaves out
    the step everywhere, and no rank has to ask the others first.
    """
    terms = [x.total * parts / counts[n].clamp(min=1.0).to(x.total.dtype) for n, x in losses.items()]
    loss = torch.stack(terms).sum()
    return loss * torch.where(loss.detach().isfinite(), 1.0, torch.nan)


def total_loss(losses: dict[str, LossSum]) -> tuple[Tensor, dict[str, float]]:
    """`normalised` and the global means for a global batch of one micro-batch a rank, counted by its forward pass."""
    world = dist.get_world_size() if dist.is_initialized() else 1
    table = torch.stack([torch.stack([x.total.detach().double(), x.count.double()]) for x in losses.values()])
    if world > 1:
        dist.all_reduce(table)
    targets = dict(zip(losses, table[:, 1], strict=True))
    means = (table[:, 0] / table[:, 1].clamp(min=1.0)).tolist()
    values = {"loss": sum(means), **{f"loss_{k}": v for k, v in zip(losses, means, strict=True)}}
    return normalised(losses, targets, world), values
