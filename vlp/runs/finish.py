"""The end of a training: the model directory, then the checkpoints have done their work."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch.distributed as dist
from torch import nn

from vlp.batching.inputs import Inputs
from vlp.data.leaks.seen import record
from vlp.launch import fence
from vlp.methods import get
from vlp.models.directory import WEIGHTS
from vlp.regions import carried
from vlp.training import checkpoint


@dataclass(frozen=True)
class Seen:
    """The images of a training, for the list in the model directory."""

    phase: str
    """`pretraining`, or a task."""
    images: pa.Table | None
    """Their identities; None: not known, so the model does not say what it has seen."""
    init: Path | None
    """The model whose images are seen as well."""


def finish(
    model: nn.Module,
    out: Path,
    run_dir: Path,
    inputs: Inputs,
    lineage: dict[str, str],
    trained: dict[str, Any],
    detector: Path | None,
    seen: Seen,
) -> None:
    """Every rank calls this; rank 0 writes.

    Args:
        trained: what `inputs.json` says of the training: its objectives; what a task says.
        detector: to go along in the directory.
        seen: the images of this training.
    """
    if dist.get_rank() == 0:
        method = get(inputs.experiment.model.method)
        fence.check()
        (out / WEIGHTS).unlink(missing_ok=True)  # until the weights are new, the folder is not whole
        described = method.describe(inputs)
        if inputs.paths.regions is not None:
            described |= {"detector": carried.carry(out, inputs.store.facts, detector)}
        out.mkdir(parents=True, exist_ok=True)
        described |= trained
        described |= {"seen": None if seen.images is None else record(out, seen.phase, seen.images, seen.init)}
        method.save(model.float(), out, inputs.paths.vocabulary, described, lineage | inputs.digests)
        checkpoint.remove(run_dir / "checkpoints")
        for name in ("best.safetensors", "best.json"):
            (run_dir / name).unlink(missing_ok=True)
    dist.barrier()
