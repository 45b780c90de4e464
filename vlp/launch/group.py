"""The process group of a job's ranks (reference: infrastructure 0)."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist


def init_process_group(rendezvous: Path | None) -> None:
    """Join the group named by RANK and WORLD_SIZE; through a file on one host, else through MASTER_ADDR."""
    if not dist.is_initialized():
        dist.init_process_group(
            "nccl" if torch.cuda.is_available() else "gloo",
            init_method=f"file://{rendezvous.resolve()}" if rendezvous else "env://",
            rank=int(os.environ["RANK"]),
            world_size=int(os.environ["WORLD_SIZE"]),
        )


def leave_process_group() -> None:
    """Once deepspeed is in use it must leave, or a later training in this process meets the groups it holds."""
    if not dist.is_initialized():
        return
    comm = sys.modules.get("deepspeed.comm.comm")
    if comm is not None and comm.cdb is not None:
        comm.destroy_process_group()
    else:
        dist.destroy_process_group()
