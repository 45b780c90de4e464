"""An experiment -> one plain tar file, the same bytes for the same files."""

from __future__ import annotations

import hashlib
import io
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

from vlp.bundle import contents
from vlp.bundle.contents import DIGEST, MANIFEST, PUBLISHED, STORE, Manifest
from vlp.config import Experiment
from vlp.errors import InputError
from vlp.files import atomic, to_json, write_json
from vlp.metrics.evaluation import evaluators
from vlp.regions.store import RegionStore
from vlp.report.statistics import region_counts
from vlp.tracking import lineage
from vlp.tracking.run import code_version, lock_sha256

NEEDED = ("results.csv", "costs.csv", "statistics.json", "report.html", "experiment.yaml")
_REMEDY = "Run the workflow again, then bundle."


def pack(experiment: Experiment, out: Path) -> Manifest:
    """Write the bundle to `out`.

    Raises:
        InputError: the experiment is not finished, or a file is not the one that its journals tell of.
    """
    steps = lineage.steps(experiment.folder)  # first: a damaged line of a journal is set aside when it is read
    files = contents.packed(experiment)
    for name in NEEDED:
        if name not in files:
            raise InputError(experiment.folder / name, "is missing: the experiment is not finished.", _REMEDY)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as made:
        files |= _derived(experiment, Path(made))
        known = Manifest(
            experiment=experiment.name,
            code_version=code_version(),
            lock_sha256=lock_sha256(),
            regions={} if experiment.region_store is None else region_counts(RegionStore(experiment.region_store)),
            packed=contents.entries(files),
            left_out=contents.entries(contents.left_out(experiment)),
            evaluators=evaluators(experiment.tasks_set),
        )
        wrong = next(contents.unlike(known, steps), None)
        if wrong:
            raise InputError(experiment.folder, f"has changed since it was made: {wrong}.", _REMEDY)
        with atomic(out) as temporary:
            write(temporary, text(known), files)
    return known


def text(known: Manifest) -> bytes:
    """The manifest's file."""
    return (to_json(known.json(), indent=1, ensure_ascii=False) + "\n").encode()


def write(path: Path, first: bytes, files: Mapping[str, Path]) -> None:
    """A plain tar file without times and owners: the manifest, `files` by name, the manifest's digest."""
    last = f"{hashlib.sha256(first).hexdigest()}  {MANIFEST}\n".encode()
    with tarfile.open(path, "w") as tar:
        tar.addfile(_header(MANIFEST, len(first)), io.BytesIO(first))
        for name, source in sorted(files.items()):
            with source.open("rb") as data:
                tar.addfile(_header(name, source.stat().st_size), data)
        tar.addfile(_header(DIGEST, len(last)), io.BytesIO(last))


def _header(name: str, size: int) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.size = size
    return header


def _derived(experiment: Experiment, folder: Path) -> dict[str, Path]:
    """What stands in the bundle alone: the regions' boxes, and the numbers of the paper."""
    boxes, numbers = folder / STORE, folder / PUBLISHED
    write_json(numbers, contents.published_cells(experiment))
    if experiment.region_store is None:
        return {PUBLISHED: numbers}
    contents.boxes(RegionStore(experiment.region_store), experiment, boxes)
    return {STORE: boxes, PUBLISHED: numbers}
