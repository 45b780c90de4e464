"""`vlp data`: make the embedded data set, read published formats into tables."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from vlp.cli import caption
from vlp.cli.fetch import fetch
from vlp.cli.leaks import leaks
from vlp.cli.options import ConfigPath, Overrides, experiment

app = typer.Typer()
app.add_typer(caption.app)
app.command()(leaks)
app.command()(fetch)


@app.command()
def read(
    config: ConfigPath,
    out: Annotated[Path, typer.Option(help="Folder of the tables.", show_default=False)],
    overrides: Overrides = None,
) -> None:
    """Read the sources of the config into tables; count and report every record that is skipped."""
    from vlp.data.batches import check_batches
    from vlp.data.readers import read_experiment, source_files
    from vlp.tracking import track

    chosen = experiment(config, overrides)
    data = chosen.data
    made = {} if data.generator is None else {"manifest": chosen.data_root / "manifest.json"}
    params = {"data.name": data.name, "data.limit": data.limit, "data.split.set_apart": data.split.set_apart}
    with track(
        chosen,
        rule="tables",
        inputs=source_files(chosen) | made,
        outputs={"tables": out},
        params=params,
        tags={"stage": "data"},
    ) as run:
        summary = read_experiment(chosen, out, progress=sys.stderr.isatty())
        for table, splits in summary["counts"].items():
            for split, count in splits.items():
                run.metric(f"{table}/{split}", count)
        run.metric("skipped", sum(entry["count"] for entry in summary["skipped_counts"]))
        run.artifact(out / "summary.json")
        check_batches(chosen, summary["counts"])
    _print_summary(summary, out)


@app.command()
def shapes(
    config: ConfigPath,
    out: Annotated[Path, typer.Option(help="Folder of the raw data.", show_default=False)],
    overrides: Overrides = None,
) -> None:
    """Make the embedded data set: pictures and every annotation, in the published formats."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from vlp.data.shapes import generate
    from vlp.errors import ConfigError
    from vlp.files import to_json
    from vlp.tracking import track

    chosen = experiment(config, overrides)
    dials = chosen.data.generator
    if dials is None:
        raise ConfigError(f"{config}: data.generator is not set, so there is nothing to make")
    params = {f"data.generator.{key}": value for key, value in dials.model_dump().items()}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with track(chosen, rule="shapes", inputs={}, outputs={"raw": out}, params=params, tags={"stage": "data"}) as run:
        with Progress(*columns, transient=True, disable=not sys.stderr.isatty()) as bar:
            task = bar.add_task("shapes", total=None)
            manifest = generate(
                dials,
                out,
                lambda part, done, of: bar.update(task, description=part, completed=done, total=of or None),
            )
        for split, counts in manifest["counts"].items():
            for key, count in counts.items():
                run.metric(f"{key}/{split}", count)
        run.artifact(out / "manifest.json")
    print("\n".join(f"{split:6} {to_json(counts)[1:-1]}" for split, counts in manifest["counts"].items()))


def _print_summary(summary: dict[str, Any], out: Path) -> None:
    print(f"{'':14}{'train':>9}{'val':>9}{'test':>9}")
    for table, splits in summary["counts"].items():
        print(f"{table:14}" + "".join(f"{splits[split]:>9,}" for split in ("train", "val", "test")))
    for kind in ("skipped", "changed"):
        for entry in summary[f"{kind}_counts"]:
            print(f"{kind} {entry['count']:,} of {entry['table']}: {entry['reason']} ({entry['file']})")
    for note in summary["notes"]:
        print(f"note: {note}")
    if summary["skipped"]:
        print(f"The skipped records with their rows: {out / 'summary.json'}")
