"""`vlp results`: what is sent to an evaluation server, and what it answers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vlp.cli.options import ConfigPath, Overrides, experiment

app = typer.Typer()

Predictions = Annotated[Path, typer.Option(help="Parquet file of vlp task predict.", show_default=False)]


@app.command()
def submission(
    predictions: Predictions,
    questions: Annotated[
        Path,
        typer.Option(help="The published file of the questions: each is answered, once.", show_default=False),
    ],
    out: Annotated[Path, typer.Option(help="JSON file to write.", show_default=False)],
) -> None:
    """Write VQA's answers as its evaluation server reads them."""
    from vlp.files import atomic, sha256
    from vlp.report.server import submission as made

    body = made(predictions, questions)
    with atomic(out) as temporary:
        temporary.write_bytes(body)
    print(f"{out}: sha256 {sha256(out)}")


@app.command()
def record(
    config: ConfigPath,
    predictions: Predictions,
    split: Annotated[str, typer.Option(help="The server's name of it: test-dev or test-std.", show_default=False)],
    accuracy: Annotated[float, typer.Option(help="Overall accuracy in percent, as the server says it.")],
    yes_no: Annotated[float | None, typer.Option(help="Of yes/no questions.", show_default=False)] = None,
    number: Annotated[float | None, typer.Option(help="Of number questions.", show_default=False)] = None,
    other: Annotated[float | None, typer.Option(help="Of other questions.", show_default=False)] = None,
    variant: Annotated[str, typer.Option(help="full, blind or scratch.")] = "full",
    sent: Annotated[
        Path | None, typer.Option(help="The file that was sent, to be compared.", show_default=False)
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Tie a server's answer to the digest of the predictions that were sent; it becomes rows of the results."""
    from vlp.report import server

    e = experiment(config, overrides)
    numbers = {
        "accuracy": accuracy,
        "accuracy (yes/no)": yes_no,
        "accuracy (number)": number,
        "accuracy (other)": other,
    }
    made = server.record(
        e.folder,
        predictions,
        sent,
        {k: v for k, v in numbers.items() if v is not None},
        variant=variant,
        dataset=e.data.name,
        split=split,
        seed=e.seed,
    )
    print(f"{e.folder / server.FILE}: {split}, predictions {made['predictions_sha256']}")
    print("vlp report results, or the workflow, makes rows of it")
