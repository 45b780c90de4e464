"""What a sweep will cost, and what sharing saves."""

from __future__ import annotations

from dataclasses import dataclass

from vlp.runs.estimate import bill
from vlp.sweep.plan import Node, Plan, made
from vlp.training.estimate import Machines, trainings

PETA = 1e15


@dataclass(frozen=True)
class Total:
    petaflops: float
    hours: float
    hours_unshared: float
    by_kind: dict[str, float]
    known: bool
    """Whether the number of samples of every training is known."""


def of(plan: Plan, machines: Machines) -> Total:
    """Of the trainings that are not there yet; hours are those of `vlp estimate`, one training after the other."""
    by_kind: dict[str, float] = {}
    flops, hours, unshared, known = 0.0, 0.0, 0.0, True
    for node in plan.nodes:
        if node.kind == "data" or made(node):
            continue
        work, time, whole = _training(node, machines)
        flops, hours, unshared, known = flops + work, hours + time, unshared + time * len(node.users), known and whole
        by_kind[node.kind] = by_kind.get(node.kind, 0.0) + time
    return Total(flops / PETA, hours, unshared, by_kind, known)


def _training(node: Node, machines: Machines) -> tuple[float, float, bool]:
    """FLOPs, hours, and whether all is known, of what this part trains itself."""
    e = node.experiment
    whole = bill(e, machines, counts(node))
    costs = [c for c in whole.costs if _own(node, c.name)] if whole else []
    times = {c.name: trainings(e, c.name) for c in costs}
    known = [c for c in costs if c.hours_useful is not None]
    flops = sum(c.useful * times[c.name] for c in known)
    hours = sum((c.hours_useful or 0.0) * times[c.name] for c in known)
    return flops, hours, whole is not None and len(known) == len(costs)


def _own(node: Node, name: str) -> bool:
    return name == node.kind if node.kind != "run" else name not in node.experiment.stages


def counts(node: Node) -> dict[str, int]:
    """Train rows of each table: as they were read, or as the generator will make them."""
    from vlp.files import read_json

    e = node.experiment
    summary = e.place("tables/summary.json")
    if summary.exists():
        return {table: n["train"] for table, n in read_json(summary)["counts"].items() if "train" in n}
    g = e.data.generator
    return {} if g is None else {"captions": g.train_images * g.captions_per_image}
