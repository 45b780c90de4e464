"""`vlp data leaks`: which images of pre-training are images of an evaluation."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlp.cli.options import ConfigPath, Overrides, experiment

if TYPE_CHECKING:
    from vlp.data.leaks.check import Leaks
    from vlp.data.leaks.identity import Hashed


def leaks(
    config: ConfigPath,
    tables: Annotated[Path, typer.Option(help="Folder of the tables.")],
    out: Annotated[Path, typer.Option(help="Folder of identity.parquet, shared.parquet, leaks.json.")],
    model: Annotated[
        Path | None, typer.Option(help="Look at what this model directory has seen in pre-training; writes nothing.")
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Compare the images of pre-training with those of every evaluation, by ids and by looks; list what is shared."""
    from vlp.data.leaks import check, identity
    from vlp.data.tables import rows
    from vlp.errors import InputError
    from vlp.tracking import track
    from vlp.tracking.digests import Part

    e = experiment(config, overrides)
    chosen = e.data.exclusion
    if model is not None:
        if not (out / identity.FILE).exists():
            raise InputError(out / identity.FILE, "the file is missing.", "Run this once without --model.")
        found = check.find(tables, out / identity.FILE, chosen.policy, model)
        _print(found)
        check.require_none(found, model)
        return
    outputs = {"identity": out / identity.FILE, "shared": out / check.SHARED_FILE, "leaks": out / "leaks.json"}
    params = {f"data.exclusion.{key}": value for key, value in chosen.model_dump().items()}
    with track(
        e, rule="leaks", inputs={"tables": tables}, outputs=outputs, params=params, tags={"stage": "data"}
    ) as run:
        seen = [r["path"] for r in rows(tables, "images") if identity.data_set(r["image_id"]) not in chosen.not_hashed]
        if seen:
            run.reads(pixels=Part.of(e.data_root, seen))
        hashed = _identify(tables, e.data_root, out / identity.FILE, tuple(chosen.not_hashed))
        found = check.find(tables, out / identity.FILE, chosen.policy)
        check.write(out, found, hashed)
        run.metric("shared", len({row["image_id"] for row in found.shared}))
        run.metric("excluded", len(found.excluded))
        run.artifact(out / "leaks.json")
        _print(found)
        print(
            f"{hashed.hashed:,} of {hashed.images:,} images compared by looks, {hashed.exempt:,} exempt, "
            f"{hashed.flat:,} without structure, {len(hashed.unreadable):,} unreadable"
        )
        for name in hashed.unreadable[:10]:
            print(f"unreadable: {name}")
        if chosen.on_leak == "stop":
            check.require_none(found, out / check.SHARED_FILE)


def _identify(tables: Path, root: Path, out: Path, not_hashed: tuple[str, ...]) -> Hashed:
    from rich.console import Console
    from rich.progress import Progress

    from vlp.data.leaks.identity import identify

    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("hashes", total=None)
        threads = len(os.sched_getaffinity(0))
        return identify(
            tables, root, out, not_hashed, threads, lambda done, of: bar.update(task, completed=done, total=of)
        )


def _print(found: Leaks) -> None:
    from rich.console import Console
    from rich.table import Table

    from vlp.data.leaks.check import describe

    table = Table("corpus", "evaluation", "split", "images", "shared", "left out", "found by", box=None)
    for line in found.lines:
        how = ", ".join(f"{by} {count}" for by, count in line.by.items())
        where = f"{line.evaluation.task} on {line.evaluation.dataset}"
        numbers = (f"{line.images:,}", f"{line.shared:,}", f"{line.excluded:,}")
        table.add_row(line.corpus, where, line.evaluation.split, *numbers, how)
    Console(width=None if sys.stdout.isatty() else 150).print(table)
    for row in found.shared[:10]:
        print(describe(row))
    if len(found.shared) > 10:
        print(f"... {len(found.shared):,} in all")
    print(f"policy {found.policy}: {len(found.excluded):,} images are kept out of pre-training")
