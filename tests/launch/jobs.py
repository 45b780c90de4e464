"""Functions that tests launch: a job imports them by name. As a script, a driver that a test kills."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from vlp.config.launch import Resources
from vlp.errors import VlpError
from vlp.launch import run


def about(value: float) -> dict[str, Any]:
    """Sum of value + rank over the ranks, and where this rank ran."""
    total = torch.tensor([value + dist.get_rank()])
    dist.all_reduce(total)
    nodes: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(nodes, os.environ.get("SLURMD_NODENAME", "here"))
    return {"total": total.item(), "threads": torch.get_num_threads(), "nodes": nodes, "world": dist.get_world_size()}


def gpus() -> list[list[Any]]:
    """Of every rank: its node, and the index of its GPU among all GPUs of the job there."""
    visible = os.environ["CUDA_VISIBLE_DEVICES"].split(",")
    own = [os.environ["SLURMD_NODENAME"], int(visible[int(os.environ["LOCAL_RANK"])])]
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, own)
    return found


def fail(rank: int) -> None:
    """`rank` raises; the others wait for it."""
    print(f"rank {dist.get_rank()} is here", file=sys.stderr)
    if dist.get_rank() == rank:
        raise VlpError(f"rank {rank} can not go on: row 7 is bad")
    dist.barrier()


def wait(folder: Path, seconds: float) -> None:
    """Write this process's id to `folder`, then wait."""
    (folder / f"{dist.get_rank()}.tmp").write_text(str(os.getpid()))
    (folder / f"{dist.get_rank()}.tmp").rename(folder / f"{dist.get_rank()}.pid")
    time.sleep(seconds)


def finish_what_is_left(folder: Path, parts: int) -> list[int]:
    """Work alone: each start finds what earlier ones finished; the first one waits before its last part."""
    (folder / f"start-{len(list(folder.glob('start-*')))}").touch()
    done = [int(p.suffix[1:]) for p in sorted(folder.glob("part.*"))]
    for part in range(len(done), parts):
        if part == parts - 1 and not done:
            (folder / "waits").touch()
            time.sleep(120)
        (folder / f"part.{part}").touch()
    return done


if __name__ == "__main__":
    run(wait, {"folder": Path(sys.argv[1]), "seconds": 120}, Resources(tasks_per_node=2), Path(sys.argv[1]), "wait")
