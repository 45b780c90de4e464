"""`vlp report`: results.csv, costs, statistics, and the report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vlp.cli.options import ConfigPath, Overrides, experiment
from vlp.config.base import DEFAULT_METHOD

app = typer.Typer()


@app.command()
def results(
    config: ConfigPath,
    predictions: Annotated[Path, typer.Option(help="Folder of the predictions.")],
    models: Annotated[Path, typer.Option(help="Folder of the model directories.")],
    tables: Annotated[Path, typer.Option(help="Folder of the tables.")],
    out: Annotated[Path, typer.Option(help="results.csv to write.")],
    costs: Annotated[Path, typer.Option(help="costs.csv to write.")],
    statistics: Annotated[Path, typer.Option(help="statistics.json to write.")],
    quality: Annotated[Path | None, typer.Option(help="The regions' quality.json; None: there are none.")] = None,
    regions: Annotated[Path | None, typer.Option(help="Region store: gives the box prior of grounding.")] = None,
    bounds: Annotated[Path | None, typer.Option(help="Rows of vlp regions bound, to stand among the results.")] = None,
    leaks: Annotated[Path | None, typer.Option(help="Folder of `vlp data leaks`: whether images were seen.")] = None,
    overrides: Overrides = None,
) -> None:
    """Evaluate every prediction that the config asks for: one row per number, with interval, chance and blind."""
    from vlp.files import write_json
    from vlp.report import costs as spent
    from vlp.report import results as rows
    from vlp.report import seeds
    from vlp.report import statistics as counts
    from vlp.report.collect import collect, models_of
    from vlp.tracking import track

    here = experiment(config, overrides)
    given = {"predictions": predictions, "tables": tables, "leaks": leaks, "regions": regions, "quality": quality}
    detector = None if quality is None else here.place("detector/detector.safetensors")
    given |= {"bounds": bounds, "detector": detector} | counts.read(here)
    given |= {f"model {folder.name}": folder for folder in models_of(here, models)}
    inputs = {name: path for name, path in given.items() if path is not None}
    outputs = {"results": out, "costs": costs, "statistics": statistics}
    with track(here, rule="results", inputs=inputs, outputs=outputs, tags={"stage": "results"}) as run:
        run.reads_journals()
        store = None
        if regions is not None:
            from vlp.regions.store import RegionStore

            store = RegionStore(regions)
        limits = [] if bounds is None else rows.read(bounds)
        found = collect(here, predictions, quality, models, tables, store, detector, leaks, limits)
        rows.write(out, found)
        spent.write(costs, spent.collect(here.folder))
        write_json(statistics, counts.collect(here, tables, quality, store))
        for row in seeds.fold(found):
            run.metric(f"{row.task}/{row.variant}/{row.stage}/{row.split}/{row.protocol}/{row.metric}", row.value)
    _print(seeds.fold(found))


def _print(found: list) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("task", "variant", "stage", "split", "metric", *_NUMBERS, "n", box=None)
    for row in sorted(found, key=lambda r: r.key):
        numbers = ["" if v is None else f"{v:.2f}" for v in (row.value, row.sd, row.chance, row.blind)]
        table.add_row(row.task, row.variant, row.stage, row.split, row.metric, *numbers, f"{row.n:,}")
    Console(width=150).print(table)


_NUMBERS = ("value", "± sd", "chance", "blind")


@app.command()
def probe(
    config: ConfigPath,
    model: Annotated[Path, typer.Option(help="Pre-trained model directory.")],
    tables: Annotated[Path, typer.Option(help="Folder of the tables.")],
    corpus: Annotated[Path, typer.Option(help="corpus.h5.")],
    vocabulary: Annotated[Path, typer.Option(help="Folder of the vocabulary.")],
    out: Annotated[Path, typer.Option(help="JSON file to write.")],
    regions: Annotated[Path | None, typer.Option(help="Region store; left out where the method reads none.")] = None,
    overrides: Overrides = None,
) -> None:
    """Compute what figures of the method's paper show, such as attention on unseen pairs; `{}` where it has none."""
    from vlp import methods
    from vlp.batching.inputs import Paths
    from vlp.files import write_json
    from vlp.tracking import track

    here = experiment(config, overrides)
    inputs = {"model": model, "corpus": corpus, "vocabulary": vocabulary, "tables": tables}
    inputs |= {"regions": regions} if regions else {}
    with track(here, rule="probe", inputs=inputs, outputs={"figures": out}, tags={"stage": "results"}):
        found = methods.get(here.model.method).figures(here, Paths(tables, corpus, regions, vocabulary), model)
        write_json(out, found)
    counted = [f"{name} {len(part)}" for name, part in found.items() if isinstance(part, list)]
    print(f"{out}  {', '.join(counted) or 'no figures'}")


@app.command()
def html(
    config: ConfigPath,
    results: Annotated[Path, typer.Option(help="results.csv.")],
    out: Annotated[Path, typer.Option(help="report.html to write.")],
    costs: Annotated[Path | None, typer.Option(help="costs.csv; None: beside the results.")] = None,
    statistics: Annotated[Path | None, typer.Option(help="statistics.json; None: beside the results.")] = None,
    overrides: Overrides = None,
) -> None:
    """Write the self-contained report; what it shows beside the results it finds in the experiment's folder."""
    from vlp.files import write_text
    from vlp.report.html import examples_of, render
    from vlp.tracking import track

    here = experiment(config, overrides)
    costs, statistics = costs or results.with_name("costs.csv"), statistics or results.with_name("statistics.json")
    inputs = {"results": results, "costs": costs, "statistics": statistics, **examples_of(here)}
    with track(here, rule="report", inputs=inputs, outputs={"report": out}, tags={"stage": "results"}) as run:
        run.reads_journals()
        write_text(out, render(here, results, costs, statistics))
    print(f"{out}  {out.stat().st_size / 2**20:.1f} MiB")


@app.command()
def sweep(
    plan: Annotated[Path, typer.Option(help="plan.yaml of the sweep.")],
    out: Annotated[Path, typer.Option(help="sweep.csv to write.")],
    html: Annotated[Path, typer.Option(help="report.html to write.")],
) -> None:
    """Mean and spread over seeds of every row of a sweep, and paired differences to its control row."""
    from vlp.files import write_text
    from vlp.report import sweep as tables
    from vlp.sweep.plan import read

    found = read(plan)
    cells = tables.collect(plan.parent, found.runs, found.sweep.control, found.sweep.published)
    tables.write(out, cells)
    write_text(html, tables.html(found.sweep.name, found.sweep.control, found.runs, cells))
    for name, column in tables.columns(cells).items():
        print(name)
        for row, cell in column.items():
            spread = "" if cell.sd is None else f" +- {cell.sd:.2f}"
            interval = "" if cell.low is None else f" [{cell.low:+.2f}, {cell.high:+.2f}]"
            change = "" if cell.difference is None else f"   {cell.difference:+.2f}{interval}"
            print(f"  {row:40}{cell.mean:8.2f}{spread}{change}")


@app.command()
def ledger(
    out: Annotated[Path, typer.Option(help="Markdown file to write: docs/divergences.md.")],
    method: Annotated[str, typer.Option(help="Whose ledger: the name in `model.method`.")] = DEFAULT_METHOD,
) -> None:
    """Write a method's divergence ledger, where paper, released code and this code differ, from its data."""
    from vlp.files import write_text
    from vlp.report import ledger as data

    write_text(out, data.markdown(method))
    print(f"{out}  {len(data.of(method))} rows")
