"""`vlp lineage`: from a number or a file back to the raw data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlp.errors import InputError

if TYPE_CHECKING:
    from vlp.report.results import Row
    from vlp.tracking.lineage import Step


def command(
    file: Annotated[Path, typer.Argument(help="A file the experiment has made, such as results.csv.")],
    row: Annotated[
        int | None,
        typer.Option(min=1, help="Only what this row of results.csv came from (the first below the head: 1)."),
    ] = None,
) -> None:
    """Walk back to the raw data; name every file whose digest no longer fits (exit 1)."""
    from vlp.tracking import lineage as lines

    folder = lines.home(file)
    known, number = lines.reachable(folder), None if row is None else _row(file, row)
    found = lines.trace(known, file)
    if number is not None:
        _tell(number)
        found = list(dict.fromkeys([*found[:1], *lines.trace(known, _source(number, folder, known))]))
    if not found:
        raise InputError(file, "no journal names it as an output.", f"Look into {folder / 'journals'}.")
    for step in found:
        print("\n".join(_lines(step, folder)))
    raw = lines.raw(found, known)
    if raw:
        print("made by no step, so raw:")
    for path, item in raw.items():
        print(f"  {path}  {item.sha256}  {item.size} bytes")
    print("".join(f"{note}\n" for note in lines.removed(found, known)), end="")
    wrong = list(lines.changed(found, known))
    if number is not None:
        wrong += _unknown(number, lines.digests(found))
    print("\n".join(wrong) if wrong else "every digest fits")
    raise typer.Exit(1 if wrong else 0)


def _row(file: Path, row: int) -> Row:
    from vlp.report import results

    rows = results.read(file)
    if row > len(rows):
        raise InputError(file, f"has {len(rows)} rows.", f"Name one from 1 to {len(rows)}.", row=row)
    return rows[row - 1]


def _tell(row: Row) -> None:
    print(
        f"{row.task} {row.metric} = {row.value:.2f}  ({row.variant}, {row.stage}, {row.dataset}, {row.split}, "
        f"{row.protocol}; n {row.n:,}, seed {row.seed})"
    )
    print(f"checkpoint {row.checkpoint_sha256 or 'none'}, data {row.data_sha256}\n")


def _source(row: Row, folder: Path, known: list[Step]) -> Path:
    from vlp.report import results, server
    from vlp.tracking import lineage as lines

    sent = lines.writer_of(known, row.data_sha256) if row.protocol == server.PROTOCOL else None
    return sent or folder / results.source(row, _own_seed(folder))


def _own_seed(folder: Path) -> int:
    """The experiment's seed, which the names of its files leave out."""
    from vlp.tracking import journal

    path = folder / "journals" / "results.jsonl"
    if not path.exists():
        raise InputError(path, "the journal is missing.", "Make the results again: vlp report results.")
    start = journal.start(journal.read(path))
    if start is None:
        raise InputError(path, "does not say how its run began.", "Make the results again: vlp report results.")
    return int(start["tags"]["seed"])


def _lines(step: Step, folder: Path) -> Iterator[str]:
    where = "" if step.folder == folder else f"  in {step.folder}"
    code = f"code {step.code_version[:12]}  config {step.config_sha256[:12]}"
    yield f"{step.rule}  {step.status}  run {step.run}  {code}{where}"
    for arrow, files in (("->", step.outputs), ("<-", step.inputs)):
        for item in files:
            yield f"  {arrow} {item.path}  {item.sha256}  {item.size} bytes"


def _unknown(row: Row, known: set[str] | None) -> Iterator[str]:
    """The row's own digests have to be those of files behind it; not known where a folder has no list."""
    for name in ("checkpoint_sha256", "data_sha256"):
        digest = getattr(row, name)
        if digest and known is not None and digest not in known:
            yield f"results.csv: {name} {digest[:12]} is of no file behind this row"
