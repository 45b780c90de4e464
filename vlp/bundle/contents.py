"""What a bundle holds of an experiment, and the digests of what it leaves out: weights, features, raw data."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vlp.config import Experiment
from vlp.config.base import NAME
from vlp.files import STORE_MANIFEST, folder_sha256, read_json, sha256
from vlp.regions.store import RegionStore, RegionWriter
from vlp.report import published
from vlp.report.results import SPLITS
from vlp.tracking.lineage import Step

FORMAT = "vlp-bundle/1"
MANIFEST, DIGEST = "manifest.json", "manifest.json.sha256"
"""First and last file of a bundle."""
STORE, PUBLISHED = "regions/boxes.h5", "published.json"
"""Files that only the bundle has: the region store without features, the numbers of the paper."""
START = "start_from"
"""Folder of the model that the tasks started from, where it was made elsewhere."""
OF_MODELS = {"config.json", "inputs.json", "README.md", "seen.parquet"}
_SCHEMA = "config.schema.json"


@dataclass(frozen=True)
class Entry:
    sha256: str
    size: int


@dataclass(frozen=True)
class Manifest:
    experiment: str
    code_version: str
    lock_sha256: str | None
    regions: Mapping[str, Any]
    """Counts of the whole region store, whose features are left out; empty: the method reads none."""
    packed: Mapping[str, Entry]
    """Every other file of the bundle."""
    left_out: Mapping[str, Entry]
    """Files of the experiment that are not in the bundle, as they were."""
    evaluators: Mapping[str, str] = field(default_factory=dict)
    """Task -> the public evaluation that its numbers follow, where versions of it differ."""

    def json(self) -> dict[str, Any]:
        return {"format": FORMAT, **asdict(self)}

    def digest(self, path: str) -> str | None:
        """Of a file, or of a folder all of whose files are known; None: there is none of that name."""
        known = {**self.left_out, **{k: v for k, v in self.packed.items() if k not in (STORE, PUBLISHED)}}
        if path in known:
            return known[path].sha256
        inside = {k.removeprefix(f"{path}/"): v.sha256 for k, v in known.items() if k.startswith(f"{path}/")}
        return inside.get(STORE_MANIFEST) or (folder_sha256(inside) if inside else None)


def manifest(value: Any) -> Manifest:
    """Raises ValueError, KeyError, TypeError: `value` is not the JSON of a manifest, or names what no bundle holds."""
    if value["format"] != FORMAT:
        raise ValueError(f"the format is {value['format']!r}, wanted {FORMAT!r}")
    if not re.fullmatch(NAME, value["experiment"]):
        raise ValueError(f"{value['experiment']!r} is no name of an experiment")
    for name, entry in [*value["packed"].items(), *value["left_out"].items()]:
        if not is_inside(name):
            raise ValueError(f"{name!r} is no file of a bundle")
        if not re.fullmatch("[0-9a-f]{64}", entry["sha256"]) or type(entry["size"]) is not int or entry["size"] < 0:
            raise ValueError(f"{name}: no digest and size")
    plain = {k: v for k, v in value.items() if k not in ("format", "packed", "left_out")}
    packed, left = ({name: Entry(**entry) for name, entry in value[k].items()} for k in ("packed", "left_out"))
    return Manifest(**plain, packed=packed, left_out=left)


def is_inside(name: str) -> bool:
    """Whether it leads to a file of the folder that it is relative to, on every system."""
    parts = name.split("/")
    return all(part not in ("", ".", "..") for part in parts) and name.isprintable() and not {"\\", ":"} & set(name)


def packed(experiment: Experiment) -> dict[str, Path]:
    """Name in the bundle -> file: what the results and the report are computed from, and they themselves."""
    folder, found = experiment.folder, {}
    for pattern in ("*.csv", "*.json", "*.yaml", "report.html", "predictions/*.parquet", "journals/*.jsonl"):
        found |= {p.relative_to(folder).as_posix(): p for p in folder.glob(pattern) if p.name != _SCHEMA}
    for part in ("tables", "leaks", "phrases", "vocabulary"):
        found |= _below(part, experiment.place(part))
    found |= {f"regions/{p.name}": p for p in experiment.place("regions").glob("*.json")}
    for name, model in models(experiment).items():
        found |= {k: v for k, v in _below(name, model).items() if Path(k).parent.as_posix() == name}
    return {k: v for k, v in sorted(found.items()) if not _is_model(k) or Path(k).name in OF_MODELS}


def left_out(experiment: Experiment) -> dict[str, Path]:
    """Name -> file of what the packed files were made with, but are too large to go along."""
    found: dict[str, Path] = {}
    for part in ("detector", "regions", "corpus"):
        found |= _below(part, experiment.place(part))
    for name, model in models(experiment).items():
        found |= _below(name, model)
    inside = packed(experiment)
    return {k: v for k, v in sorted(found.items()) if k not in inside}


def models(experiment: Experiment) -> dict[str, Path]:
    """Name in the bundle -> model directory."""
    names = {p.name for p in (experiment.folder / "models").glob("*") if p.is_dir()} | set(experiment.stages)
    found = {f"models/{name}": experiment.place(f"models/{name}") for name in sorted(names)}
    found |= {START: experiment.start_from} if experiment.start_from else {}
    return {name: path for name, path in found.items() if path.is_dir()}


def boxes(store: RegionStore, experiment: Experiment, out: Path) -> None:
    """Write the store without features, of the images that a result looks at: those of val and test, and those
    whose phrases choose grounding's box prior.
    """
    from vlp.data.tables import rows

    tables = experiment.place("tables")
    wanted = {row["image_id"] for split in SPLITS for row in rows(tables, "images", split, ["image_id"])}
    wanted |= {row["image_id"] for row in rows(tables, "phrase_boxes", columns=["image_id"])}
    with RegionWriter(out, 0, store.class_names, store.facts) as writer:
        for image in (name for name in store.image_ids if name in wanted):
            found = store.regions(image)
            none = np.zeros((len(found), 0))
            writer.add(image, store.image_size(image), none, found.boxes, found.classes, found.scores)


def published_cells(experiment: Experiment) -> list[dict[str, Any]]:
    """Every number of the method's paper, with its table, row and column."""
    return [asdict(cell) for cell in published.cells(experiment.model.method)]


def unlike(known: Manifest, steps: Iterable[Step]) -> Iterator[str]:
    """Every file that a journal tells another digest of."""
    for step in steps:
        for arrow, files in (("wrote", step.outputs), ("read", step.inputs)):
            for file in files:
                now = None if file.part else known.digest(file.path)
                if now is not None and now != file.sha256:
                    yield f"{file.path}: {step.rule} {arrow} {str(file.sha256)[:12]}, it is {now[:12]}"


def entries(files: Mapping[str, Path]) -> dict[str, Entry]:
    return {name: Entry(sha256(path), path.stat().st_size) for name, path in files.items()}


def read_manifest(path: Path) -> Manifest:
    return manifest(read_json(path))


def _is_model(name: str) -> bool:
    return name.startswith(("models/", f"{START}/"))


def _below(name: str, folder: Path) -> dict[str, Path]:
    return {f"{name}/{p.relative_to(folder).as_posix()}": p for p in folder.rglob("*") if p.is_file()}
