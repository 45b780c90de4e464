"""What a training can not be done with, told before its first step."""

from __future__ import annotations

from torch import nn

from vlp.batching.order import Layout, demand_batch
from vlp.config.training import Contrast, Plan
from vlp.errors import ConfigError, VlpError
from vlp.training.base import beyond_of
from vlp.training.contrast import Contrasting


def check(layout: Layout, o: Plan, module: nn.Module, samples: int) -> None:
    """Raises VlpError, ConfigError: the batch can not be shared so, or is more than all samples; the step module has
    what would be lost."""
    demand_batch(samples, o.batch_size, "training")
    try:
        o.shared_by(layout.world)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    _nothing_is_lost(o, module)
    if isinstance(o, Contrast) and o.embedding_cache and not (isinstance(module, Contrasting) and module.contrasts):
        raise ConfigError("embedding_cache: no loss contrasts texts with images here; leave it out")


def _nothing_is_lost(o: Plan, module: nn.Module) -> None:
    if beyond_of(module) is not None and o.zero_stage == 3:
        raise ConfigError("zero_stage: with 3 no rank has the whole parameters that `beyond` follows; use 2 at most")
    state = module.state_dict(keep_vars=True)
    buffers = sorted(name for name, _ in module.named_buffers(remove_duplicate=False) if name in state)
    if buffers:
        raise VlpError(
            f"the step module {type(module).__name__} has persistent buffers: {', '.join(buffers)}. They would be lost "
            "when the number of ranks changes. Register what is constant with register_buffer(..., persistent=False), "
            "and keep what moves in `beyond` (vlp/training/beyond.py)."
        )
    if scalars := sorted(name for name, p in module.named_parameters() if not p.ndim):
        raise VlpError(
            f"the step module {type(module).__name__} has parameters without dimensions: {', '.join(scalars)}. "
            "DeepSpeed can not broadcast them; give them one, as in torch.zeros(1)."
        )
