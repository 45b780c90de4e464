"""Processes that share a batch, in one or more micro-batches: each parameter's gradient as the engine leaves it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from tests.batching.draws import draw
from tests.objectives.batches import batch, model, share
from vlp.batching.order import Layout
from vlp.config.training import Optimisation
from vlp.methods.mvptr.batch import Batch
from vlp.methods.mvptr.model import Mvptr
from vlp.methods.mvptr.reader import add_negative_noise
from vlp.methods.mvptr.steps import PretrainingStep
from vlp.training import counts
from vlp.training.contrast import cache

RANKS, SIZE = 2, 12
STAGE_1 = ("mcr_visual", "mcr_text", "vsc")


class Case(NamedTuple):
    losses: tuple[str, ...]
    contrast_group: int | None = None
    gather_gradient: bool = True
    accumulation: int = 1
    embedding_cache: bool = False


class Result(NamedTuple):
    values: dict[str, float]
    gradients: dict[str, Tensor]


def whole_batch() -> Batch:
    """Two captions of one image and two equal texts, on different ranks; one text without a match."""
    b = batch(SIZE, seed=3)
    b.image_B[8], b.text_B[9] = b.image_B[1], b.text_B[2]
    b.matchable_B = torch.arange(SIZE) != 4
    return b


def one_rank(case: Case) -> Result:
    """The truth: autograd alone, on the whole batch."""
    m = model()
    loss, values = counts.total_loss(PretrainingStep(m, case.losses, case.contrast_group)(whole_batch()))
    loss.backward()
    named = trainable(m)
    return Result(values, {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in named.items()})


def trainable(m: Mvptr) -> dict[str, Tensor]:
    return {name: p for name, p in m.named_parameters() if p.requires_grad}


def work(rank: int, folder: str, cases: list[Case], ranks: int = RANKS) -> None:
    """One rank; rank 0 writes the results of all cases to `folder`/out.pt."""
    torch.set_num_threads(1)
    os.environ["LOCAL_RANK"] = str(rank)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=ranks)
    found = [tuple(engine_result(case)) for case in cases]
    if rank == 0:
        torch.save(found, Path(folder) / "out.pt")
    dist.barrier()


def engine_result(case: Case) -> Result:
    """As `vlp.training.loop` does a step, up to the optimiser's."""
    from vlp.training.engine import initialise

    gather = gather_class()
    honest = gather.backward
    if not case.gather_gradient:
        gather.backward = staticmethod(own_part_only)
    m, rank = model(), dist.get_rank()
    layout = Layout(SIZE, dist.get_world_size(), case.accumulation)
    step = PretrainingStep(m, case.losses, case.contrast_group)
    o = Optimisation(epochs=1, batch_size=SIZE, learning_rate=1e-3, accumulation=case.accumulation)
    engine = in_double(initialise(step, o))
    parts = layout.own(rank)
    batches = [
        add_negative_noise(share(whole_batch(), layout.places(part)), draw(layout.micro, part=part)) for part in parts
    ]
    targets = counts.over_ranks(counts.own(step, batches), torch.device("cpu"))
    cached = cache(step, batches, layout, rank, lambda part: None) if case.embedding_cache else []
    totals = dict.fromkeys(targets, torch.zeros((), dtype=torch.float64))
    for n, micro in enumerate(batches, start=1):
        losses = engine(micro, *cached[n - 1 : n])
        engine.backward(counts.normalised(losses, targets, layout.parts))
        totals = {name: totals[name] + losses[name].total.detach() for name in totals}
        if n < len(batches):
            engine.step()
    gather.backward = honest
    table = torch.stack(list(totals.values()))
    dist.all_reduce(table)
    means = {f"loss_{name}": float(t / targets[name]) for name, t in zip(totals, table, strict=True)}
    return Result({"loss": sum(means.values()), **means}, reduced_gradients(engine.optimizer, m))


def gather_class() -> Any:
    """The module `vsc` is hidden behind the function of the same name."""
    import sys

    return sys.modules["vlp.objectives.contrast"]._Gather


def own_part_only(ctx: Any, *grads: Tensor) -> Tensor:
    """What a gather without gradient does: what other ranks make of these rows is lost."""
    return grads[0][dist.get_rank() * ctx.rows :][: ctx.rows]


def in_double(engine: Any) -> Any:
    """ZeRO-2 reduces in at most single precision, and checks so when it is built; double is set after that."""
    from deepspeed.runtime.zero.stage_1_and_2 import IPGBucket

    zero = engine.optimizer
    assert zero.partition_gradients and zero.dtype == torch.float64
    zero.communication_data_type = zero.gradient_accumulation_dtype = torch.float64
    zero.ipg_buckets = {torch.float64: IPGBucket()}
    return engine


def reduced_gradients(zero: Any, m: Mvptr) -> dict[str, Tensor]:
    """Put together what each rank holds: its partition of the flat gradient of each parameter group."""
    whole: dict[int, Tensor] = {}
    for i, group in enumerate(zero.round_robin_bit16_groups):
        own = torch.cat([t.reshape(-1) for t in zero.averaged_gradients[i]])
        assert own.dtype == torch.float64
        parts = [torch.empty_like(own) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, own)
        begin, flat = 0, torch.cat(parts)
        for p in group:
            whole[id(p)] = flat[begin : begin + p.numel()].reshape(p.shape).clone()
            begin += p.numel()
    return {name: whole[id(p)] for name, p in trainable(m).items()}
