"""What a sweep will run: every experiment taken apart into what others share with it.

Data and each stage are experiments of their own, named by the digest of all that they depend on; a run reuses
them. So equal work has one folder, whichever rows and seeds need it, and rows that are added later find it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from vlp import strict_yaml
from vlp.config import Experiment, build, stored
from vlp.config.sweep import EXTENDS, Sweep, resolved
from vlp.errors import InputError
from vlp.files import to_json, write_text
from vlp.tracking.run import flatten

_LOCAL = {"name", "results", "tracking", "sources", "reuse", "launch"}


def kinds(e: Experiment) -> list[str]:
    """What an experiment is taken apart into, in order."""
    return ["data", *e.stages, "run"]


def _later(kind: str, e: Experiment) -> set[str]:
    """Key paths that the work of a stage, or of a run, does not depend on; `pretraining.STAGE` of the stages after."""
    if kind == "run":
        return set()
    stages = list(e.stages)
    return {"tasks", *(f"pretraining.{stage}" for stage in stages[stages.index(kind) + 1 :])}


@dataclass(frozen=True)
class Node:
    """An experiment of the sweep."""

    kind: str
    name: str
    """Its folder in the sweep's."""
    experiment: Experiment
    users: list[str] = field(default_factory=list)
    """The runs that need it (`row, seed`)."""


@dataclass(frozen=True)
class Plan:
    sweep: Sweep
    folder: Path
    nodes: list[Node]
    runs: dict[str, dict[int, str]]
    """Row -> seed -> name of the run's node; equal rows share it."""

    @property
    def kinds(self) -> list[str]:
        """Of the nodes, in order."""
        return list(dict.fromkeys(n.kind for n in self.nodes))

    def of(self, kind: str) -> list[Node]:
        return [n for n in self.nodes if n.kind == kind]

    def write(self) -> Path:
        """`plan.yaml`, which the workflow and the table are made from."""
        value = {
            "name": self.sweep.name,
            "sweep": self.sweep.model_dump(mode="json"),
            "runs": self.runs,
            "nodes": [
                {"kind": n.kind, "name": n.name, "config": n.experiment.model_dump(mode="json")} for n in self.nodes
            ],
        }
        path = self.folder / "plan.yaml"
        write_text(path, yaml.safe_dump(value, sort_keys=False))
        return path


def read(path: Path) -> Plan:
    """Raises ConfigError: the file cannot be read, or settings in it are not valid; InputError: it is no plan."""
    try:
        value = strict_yaml.read(path)
        nodes = [Node(n["kind"], n["name"], _beside(path, n)) for n in value["nodes"]]
        return Plan(Sweep.model_validate(value["sweep"]), path.parent, nodes, value["runs"])
    except (KeyError, TypeError, ValidationError) as error:
        raise InputError(path, f"not a plan ({error}).", "Make it again: vlp sweep FILE.") from error


def _beside(plan: Path, node: Mapping[str, Any]) -> Experiment:
    """The experiment of a node, whose folder lies beside the plan wherever that was moved or copied to."""
    config, where = node["config"], f"{plan}: {node['name']}"
    folder = plan.resolve().parent / node["name"]
    if Path(config["results"]).resolve() == folder.parent:
        return build(config, where)
    return build(stored.moved(config, folder), where).lying_in(folder)


def make(sweep: Sweep, overrides: list[str], results: Path | None = None, array: bool = True) -> Plan:
    """Expand the rows and seeds.

    Args:
        overrides: `KEY=VALUE` of the base experiment.
        array: jobs of equal resources go to SLURM as arrays.

    Raises:
        ConfigError: a row is no valid experiment; the message names the row.
    """
    rows = resolved(sweep, overrides)
    keys = {key for changes in sweep.combined().values() for key in flatten(changes)}
    keys = sorted((keys - {EXTENDS}) | ({"model.method"} if EXTENDS in keys else set()))
    nodes: dict[str, Node] = {}
    runs: dict[str, dict[int, str]] = {}
    folder = Path()
    for row, value in rows.items():
        base = build(value | {"name": sweep.name}, f"row {row}")
        folder = (results or base.results) / sweep.name
        for seed in sweep.seeds:
            last = _run(sweep, base, seed, folder, array, nodes, f"{row}, seed {seed}", keys)
            runs.setdefault(row, {})[seed] = last
    return Plan(sweep, folder, sorted(nodes.values(), key=_place), runs)


def _place(node: Node) -> tuple[bool, int]:
    return node.kind == "run", kinds(node.experiment).index(node.kind)


def _run(
    sweep: Sweep,
    base: Experiment,
    seed: int,
    folder: Path,
    array: bool,
    nodes: dict[str, Node],
    user: str,
    keys: Sequence[str],
) -> str:
    """Add the nodes of one run; returns the run's."""
    reuse: dict[str, Any] = {}
    name = ""
    data = key("data", base)
    for kind in kinds(base):
        e = base if kind == "data" else base.model_copy(update={"seed": seed})
        name = f"{kind}-{key(kind, e, data)}"
        if name not in nodes:
            varied = {"row": user.rpartition(", ")[0], **{k: _value(kind, e, k) for k in keys}}
            nodes[name] = Node(kind, name, _placed(e, sweep, name, folder, reuse, array, varied))
        nodes[name].users.append(user)
        if kind == "data":
            reuse = {"data": folder / name, "stages": {}}
        else:
            reuse = {**reuse, "stages": {**reuse["stages"], kind: folder / name}}
    return name


def _value(kind: str, e: Experiment, path: str) -> str:
    """The value of a key in work of this kind; `any` where the work does not depend on it."""
    if kind == "data":
        parts = e.parts_of()
        known = any(f"{path}.".startswith(f"{part}.") or f"{part}.".startswith(f"{path}.") for part in parts)
    else:
        known = not any(f"{path}.".startswith(f"{later}.") for later in _later(kind, e))
    if not known:
        return "any"
    return str(_at(e.model_dump(mode="json"), path))


def _at(value: Any, path: str) -> Any:
    """None: there is no such key."""
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def key(kind: str, e: Experiment, data: str = "") -> str:
    """Digest of all settings that the work of this kind, and of those before it, depends on.

    Args:
        data: key of the data that a stage or a run uses.
    """
    if kind == "data":
        whole = e.model_dump(mode="json")
        return _digest({part: _at(whole, part) for part in e.parts_of()})
    later = _later(kind, e)
    value = e.model_dump(mode="json", exclude=_LOCAL | later)
    for stage in (key.removeprefix("pretraining.") for key in later if key.startswith("pretraining.")):
        value["pretraining"].pop(stage)
    # The number of processes and threads decides the last bits; where they run does not.
    parts = [e.launch.pretraining, *([e.launch.finetuning] if kind == "run" else [])]
    value |= {"key of the data": data, "processes": [(r.nodes, r.tasks_per_node, r.threads) for r in parts]}
    return _digest(value)


def _digest(value: Any) -> str:
    return hashlib.sha256(to_json(value, sort_keys=True).encode()).hexdigest()[:8]


def _placed(
    e: Experiment,
    sweep: Sweep,
    name: str,
    folder: Path,
    reuse: dict[str, Any],
    array: bool,
    varied: dict[str, str],
) -> Experiment:
    """The experiment with its folder, what it reuses, and the sweep that it is mirrored under."""
    launch = e.launch
    for part in ("pretraining", "finetuning", "prediction"):
        resources = getattr(launch, part)
        if array and resources.executor == "slurm":
            resources = resources.model_copy(update={"array": folder / "arrays"})
            launch = launch.model_copy(update={part: resources})
    tracking = e.tracking.model_copy(update={"parent": sweep.name, "varied": varied})
    changes: dict[str, Any] = {
        "name": name,
        "results": folder,
        "launch": launch,
        "tracking": tracking,
        "reuse": e.reuse.model_copy(update=reuse),
    }
    return e.model_copy(update=changes)


def made(node: Node) -> bool:
    """Whether the last file of its work is there. The workflow decides for itself what has to be made again."""
    last = {"data": "corpus/corpus.h5", "run": "results.csv"}
    return (node.experiment.folder / last.get(node.kind, f"models/{node.kind}/model.safetensors")).exists()


def shared(nodes: Iterable[Node]) -> list[Node]:
    return [n for n in nodes if len(n.users) > 1]


def rule_prefix(name: str) -> str:
    """Snakemake's rule names are identifiers."""
    return re.sub(r"\W", "_", name) + "_"
