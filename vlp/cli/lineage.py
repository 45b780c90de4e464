"""`vlp lineage`: from a number or a file back to the raw data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vlp.errors import InputError


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
    wanted = file
    if row is not None:
        from vlp.report import results

        rows = results.read(file)
        if row > len(rows):
            raise InputError(file, f"has {len(rows)} rows.", f"Name one from 1 to {len(rows)}.", row=row)
        number = rows[row - 1]
        own = min(other.seed for other in rows if other.key == number.key)
        print(
            f"{number.task} {number.metric} = {number.value:.2f}  ({number.variant}, {number.stage}, {number.dataset}, "
            f"{number.split}, {number.protocol}; n {number.n:,}, seed {number.seed})\n"
        )
        wanted = folder / results.source(number, own)
    known = lines.steps(folder)
    found = lines.trace(known, folder, file)[:1] if row is not None else []
    found += [step for step in lines.trace(known, folder, wanted) if step not in found]
    if not found:
        raise InputError(file, "no journal names it as an output.", f"Look into {folder / 'journals'}.")
    for step in found:
        print(f"{step.rule}  {step.status}  run {step.run}  code {step.code_version[:12]}")
        for arrow, files in (("->", step.outputs), ("<-", step.inputs)):
            for item in files:
                print(f"  {arrow} {item.path}  {str(item.sha256)[:12]}  {item.size} bytes")
    wrong = [problem for _, problem in lines.changed(folder, found)]
    print("\n".join(wrong) if wrong else "every digest fits")
    raise typer.Exit(1 if wrong else 0)
