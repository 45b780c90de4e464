"""`vlp doctor`: what is there, what is missing, what an experiment needs. Fetches nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlp.cli.options import Overrides

if TYPE_CHECKING:
    from rich.console import Console

    from vlp.config import Experiment
    from vlp.doctor.catalogue import Source
    from vlp.doctor.files import Finding
    from vlp.training.estimate import Cost

app = typer.Typer(invoke_without_command=True)


@app.callback()
def doctor(
    config: Annotated[
        Path | None, typer.Option("--config", help="Experiment file; without it: every known source.")
    ] = None,
    data: Annotated[Path, typer.Option(help="Without --config: folder with a folder for each source.")] = Path("data"),
    gpus: Annotated[str | None, typer.Option(help="Count hours for these, e.g. 8xH200; else for those here.")] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Compare digests of downloads: reads all of them.")] = False,
    overrides: Overrides = None,
) -> None:
    """Look at the data, the machine and the needs of an experiment; ends with 1 if something it needs is not there."""
    from rich.console import Console

    from vlp.cli.estimate import without_paths
    from vlp.doctor import catalogue

    console = Console(soft_wrap=False)
    e = None if config is None else without_paths(config, overrides or [])
    known = catalogue.sources()
    places = {name: [(name, data / name)] for name in known} if e is None else catalogue.wanted(e)
    bad = _machine(console, e)
    bad += _sources(console, {name: (known[name], where) for name, where in places.items()}, verify, e is not None)
    if e is not None:
        bad += _named(console, e)
        bad += _needs(console, e, gpus)
    if bad:
        console.print("\n[bold red]lacking or damaged:[/] " + ", ".join(dict.fromkeys(bad)))
        raise typer.Exit(1)
    if e is not None:
        console.print("\n[bold green]All that the experiment cannot do without is there.[/]")


def _machine(console: Console, e: Experiment | None) -> list[str]:
    from rich.table import Table

    from vlp.doctor.machine import facts

    table, bad = Table(box=None, show_header=False, padding=(0, 2)), []
    for fact in facts(e):
        table.add_row(_mark(fact.good), fact.name, fact.value, f"[dim]{fact.remedy}[/]" if fact.good is False else "")
        bad += [fact.name] if fact.good is False else []
    console.rule("[bold]machine", align="left")
    console.print(table)
    return bad


_COLOURS = {"present": "green", "packed": "yellow", "incomplete": "yellow", "damaged": "bold red", "missing": "red"}


def _sources(
    console: Console, wanted: dict[str, tuple[Source, list[tuple[str, Path]]]], verify: bool, asked: bool
) -> list[str]:
    """What is damaged, or regions are to come from and is not there; of the rest an experiment may have a part.

    `asked`: by an experiment.
    """
    from rich.table import Table

    from vlp.doctor.files import State, look

    bad: list[str] = []
    console.rule("[bold]sources of data", align="left")
    if not wanted:
        console.print("  none: the experiment draws its own data, or makes its regions itself")
    for name, (source, where) in wanted.items():
        table = Table(box=None, show_header=False, padding=(0, 1))
        table.add_column(width=10)
        table.add_column(overflow="fold")
        table.add_column(overflow="fold")
        states = set()
        for dataset, root in where:
            for file in source.files:
                found = look(file, root, verify)
                states.add(found.state)
                table.add_row(*_row(file.name, file.bytes, file.address, found, dataset if len(where) > 1 else ""))
        console.print(f"\n[bold]{name}[/]  {source.title}  [dim]{source.page}[/]")
        note = f"; {source.note}" if source.note else ""
        doubt = ", ".join(source.unverified)
        console.print(
            f"  [dim]licence: {source.licence}{note}[/]" + (f" [yellow]unverified: {doubt}[/]" if doubt else "")
        )
        console.print(table)
        if states - {State.PRESENT}:
            roots = ", ".join(str(root) for _, root in where)
            console.print(f"  [cyan]how[/]: {source.how} [dim](looked in {roots})[/]")
        needed = asked and (source.regions or source.detectors)
        bad += [name] if State.DAMAGED in states or (needed and states - {State.PRESENT}) else []
    return bad


def _row(name: str, size: int | None, address: str | None, found: Finding, dataset: str) -> tuple[str, str, str]:
    weight = "size unknown" if size is None else _bytes(size)
    where = f"{dataset}: " if dataset else ""
    said = found.detail or (address or "no address of its own: see the page")
    return f"[{_COLOURS[found.state]}]{found.state}[/]", f"{where}{name} [dim]({weight})[/]", said


def _named(console: Console, e: Experiment) -> list[str]:
    """Files and folders that the config itself names; what the readers cannot do without is returned."""
    from rich.table import Table

    from vlp.data.readers import named_files, source_files
    from vlp.data.readers.source import places
    from vlp.doctor.files import broken
    from vlp.errors import InputError

    given = [Path(p) for p in e.starts if not p.startswith("package:")]
    bad = [str(path) for path in given if not path.exists()]
    files: list[Path] = []
    if e.data.generator is None:
        files = named_files(e)
        try:
            source_files(e, made=False)
        except InputError as error:
            bad.append(error.file)
        for place in places(e):
            lacking = [place.root / p for p in place.settings.images if not any(place.root.glob(p))]
            if place.settings.captioner is not None:
                lacking += _captioner(place.settings.captioner.model)
            bad += [str(path) for path in lacking]
            given += lacking
    if not files and not given:
        return []
    table = Table(box=None, show_header=False, padding=(0, 1))
    for path in [*files, *given]:
        problem = broken(path) if path.exists() else None
        state = "damaged" if problem else "present" if path.exists() else "missing"
        shown = problem or (_bytes(path.stat().st_size) if path.is_file() else "")
        table.add_row(f"[{_COLOURS[state]}]{state}[/]", str(path), shown)
        bad += [str(path)] if problem else []
    console.rule("[bold]files that the config names", align="left")
    console.print(table)
    console.print("  [dim]of a file for each split, the readers need one that is there[/]")
    return bad


def _captioner(model: str) -> list[Path]:
    """The model, if it is not on this disk."""
    from vlp.errors import InputError
    from vlp.local import on_disk

    try:
        on_disk(model)
    except InputError:
        return [Path(model)]
    return []


def _needs(console: Console, e: Experiment, gpus: str | None) -> list[str]:
    from rich.table import Table

    from vlp.doctor.machine import free
    from vlp.doctor.machine import gpus as here
    from vlp.doctor.needs import counts as expected
    from vlp.runs.estimate import bill
    from vlp.training import estimate

    found = here()
    known = [name for name in estimate.GPUS if found and name in found[0].name.upper()]
    chosen = gpus or (f"{len(found)}x{known[0]}" if known else "1xH200")
    machines, counts = estimate.Machines.parse(chosen), expected(e)
    why = "" if gpus or known else ", assumed: no known GPU is here (--gpus COUNTxNAME)"
    console.rule(f"[bold]needs on {machines.count} x {machines.name}{why}", align="left")
    table = Table("", "GPU-hours", "GB of each GPU", box=None, padding=(0, 2))
    needed = bill(e, machines, counts)
    if needed is None:
        console.print(f"  [dim]the method {e.model.method} does not say what it needs[/]")
        return []
    for cost in needed.costs:
        hours = _hours(cost, machines.count) if cost.samples is not None else "unknown until the tables are read"
        fits = cost.memory <= machines.gpu.memory
        table.add_row(cost.name, hours, f"{cost.memory / 1e9:,.1f}" if fits else f"[red]{cost.memory / 1e9:,.1f}[/]")
    console.print(table)
    console.print(
        f"  [dim]at {estimate.UTILISATION:.0%} of the peak rate, assumed; without padding, and with all of it[/]"
    )
    sizes = needed.disk
    total = sum(size for size in sizes.values() if size is not None)
    left = free(e.folder)
    parts = ", ".join(f"{name} {'unknown' if size is None else _bytes(size)}" for name, size in sizes.items())
    console.print(f"  {_mark(total <= left)} disk {_bytes(total)} of {_bytes(left)} free: {parts}")
    return [] if total <= left else ["disk"]


def _hours(cost: Cost, count: int) -> str:
    low, high = ((hours or 0.0) * count for hours in (cost.hours_useful, cost.hours_padded))
    return "under 0.01" if high < 0.01 else f"{low:,.2f} to {high:,.2f}"


def _mark(good: bool | None) -> str:
    return {True: "[green]✓[/]", False: "[bold red]✗[/]", None: "[dim]·[/]"}[good]


def _bytes(size: float) -> str:
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if size >= factor:
            return f"{size / factor:,.1f} {unit}"
    return f"{size / 1e3:,.0f} kB"
