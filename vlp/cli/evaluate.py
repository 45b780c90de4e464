"""`vlp evaluate`: the measures of a predictions file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(subcommand_metavar="")


@app.callback(invoke_without_command=True)
def evaluate(
    predictions: Annotated[Path, typer.Option(help="Parquet file of vlp task predict.", show_default=False)],
    tables: Annotated[Path, typer.Option(help="Folder of the experiment's tables.", show_default=False)],
    regions: Annotated[
        Path | None,
        typer.Option(help="Region store: for the merged rule of grounding, and the box prior."),
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write the numbers to this file.", show_default=False)] = None,
) -> None:
    """Every number that a file of predictions gives, as in the results; its columns say the task.

    Shares are in percent, with 95% intervals resampled by image, what guessing gets, and the number of items.
    """
    from dataclasses import asdict

    from rich.console import Console
    from rich.table import Table

    from vlp.files import write_json
    from vlp.metrics.evaluation import evaluate as measures
    from vlp.metrics.evaluation import task_of
    from vlp.regions.store import RegionStore

    task = task_of(predictions)
    found = measures(task, predictions, tables, RegionStore(regions) if regions else None)
    shown = Table("protocol", "metric", "value", "95%", "chance", "n", title=f"{task}: {predictions}", title_style="")
    for m in found:
        interval = "" if m.low is None else f"{m.low:.2f} to {m.high:.2f}"
        chance = "" if m.chance is None else f"{m.chance:.2f}"
        shown.add_row(m.protocol, m.metric, f"{m.value:.2f}", interval, chance, str(m.n))
    console = Console()
    # In a file or a pipe no line is cut.
    (console if console.is_terminal else Console(width=200)).print(shown)
    if json is not None:
        write_json(json, {"task": task, "measures": [asdict(m) for m in found]})
