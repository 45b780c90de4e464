"""DeepSpeed: the engine (reference: infrastructure 1)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from vlp.config.training import Plan
from vlp.errors import VlpError
from vlp.training.base import Leaved
from vlp.training.schedule import optimiser

BUCKET = 5_000_000
OF_A_GROUP = ("lr", "betas", "eps", "weight_decay")
PERSISTENT = 100_000
"""With ZeRO 3 smaller parameters stay whole on every rank: gathering them would cost more than it saves."""


def deepspeed_config(o: Plan, world_size: int, universal: bool = False) -> dict[str, Any]:
    return {
        "checkpoint": {"load_universal": universal},
        "train_batch_size": o.batch_size,
        "train_micro_batch_size_per_gpu": o.batch_size // (world_size * o.accumulation),
        "gradient_accumulation_steps": o.accumulation,
        "gradient_clipping": o.gradient_clipping,
        "zero_optimization": {
            "stage": o.zero_stage,
            "overlap_comm": torch.cuda.is_available(),
            "contiguous_gradients": True,
            "reduce_bucket_size": BUCKET,
            "allgather_bucket_size": BUCKET,
            "stage3_param_persistence_threshold": PERSISTENT,
        },
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "bf16": {"enabled": o.precision == "bf16"},
        "fp16": {"enabled": o.precision == "fp16"},
        "steps_per_print": 1_000_000_000,
    }


class CheckedAdamW(torch.optim.AdamW):
    """Leaves out a step whose gradients are not finite, as DeepSpeed's own optimisers do.

    Where neither ZeRO nor half precision is in use the engine steps with torch's optimiser as it is. It has reduced and
    clipped the gradients before, so all ranks have the same ones and decide alike; it reads `overflow` afterwards.
    """

    overflow = False

    def step(self, closure: Any = None) -> Any:
        gradients = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        self.overflow = not bool(torch.nn.utils.get_total_norm(gradients).isfinite())
        return None if self.overflow else super().step(closure)


def initialise(module: nn.Module, o: Plan, universal: bool = False) -> Any:
    """A DeepSpeed engine around `module`; its optimiser is torch's AdamW, so nothing is compiled.

    Args:
        universal: what it loads first is a universal checkpoint.

    Raises:
        VlpError: this device can not do the precision.
    """
    os.environ.setdefault("DS_ACCELERATOR", "cuda" if torch.cuda.is_available() else "cpu")
    import logging

    import deepspeed
    from deepspeed.ops import __compatible_ops__
    from deepspeed.utils import logger

    logger.setLevel(logging.WARNING)
    # Its shared-memory op is built with g++ at the first start and not used in training; a kill in mid-build hangs
    # every later run.
    __compatible_ops__["deepspeed_shm_comm"] = False
    if o.zero_stage == 3 and isinstance(module, Leaved):
        deepspeed.utils.set_z3_leaf_modules(module, list(module.leaves), raise_if_not_found=False)
    plain = o.zero_stage == 0 and o.precision == "fp32"
    try:
        engine, *_ = deepspeed.initialize(
            model=module,
            optimizer=optimiser(module, o, CheckedAdamW if plain else torch.optim.AdamW),
            config=deepspeed_config(o, dist.get_world_size(), universal),
            dist_init_required=False,
        )
    except ValueError as error:
        if "not supported on your device" not in str(error):
            raise
        raise VlpError(
            f"precision {o.precision}: DeepSpeed does not do it on this device. Use bf16 or fp32."
        ) from error
    return engine


def gather(engine: Any, whole: nn.Module) -> None:
    """Copy all parameters to `whole`, a module of the same ones that DeepSpeed does not know. Every rank calls this.

    With ZeRO 3 a rank holds its share of each, and only the engine's own passes see them whole.
    """
    import deepspeed

    parameters = list(engine.module.parameters())
    whole.to(engine.device, parameters[0].dtype)
    with torch.no_grad(), deepspeed.zero.GatheredParameters(parameters):
        for ours, theirs in zip(whole.parameters(), parameters, strict=True):
            ours.copy_(theirs)


def load(engine: Any, folder: Path, tag: str) -> None:
    """Read weights and optimiser state from `folder`/`tag`; afterwards the engine reads ordinary checkpoints again."""
    own = [{k: group[k] for k in OF_A_GROUP} for group in engine.optimizer.param_groups]
    engine.load_checkpoint(str(folder), tag=tag, load_module_strict=True)
    # From a universal checkpoint ZeRO 3 gives every group the settings of the first, so that biases and norms would
    # decay, and all states one counter of steps, which each of them then counts up.
    for group, settings in zip(engine.optimizer.param_groups, own, strict=True):
        group.update(settings)
    for state in engine.optimizer.state.values():
        if torch.is_tensor(state.get("step")):
            state["step"] = state["step"].clone()
    engine._config.load_universal_checkpoint = False
