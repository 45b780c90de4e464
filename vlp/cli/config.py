"""`vlp config`: check an experiment file, export the JSON schema."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
import yaml

from vlp.cli.options import ConfigPath, Overrides, experiment
from vlp.config import build, json_schema, read
from vlp.config.base import DEFAULT_METHOD
from vlp.files import to_json, write_text

app = typer.Typer()


@app.command()
def show(config: ConfigPath, overrides: Overrides = None) -> None:
    """Print the whole experiment with every default filled in."""
    print(yaml.safe_dump(experiment(config, overrides).model_dump(mode="json"), sort_keys=False), end="")


@app.command()
def origins(
    config: ConfigPath,
    assumed: Annotated[bool, typer.Option("--assumed", help="Only the values that no source states.")] = False,
    overrides: Overrides = None,
) -> None:
    """Print where every value comes from: paper, released code, our own, of this run alone, or assumed."""
    from rich.console import Console
    from rich.table import Table

    from vlp.config import provenance

    given = read(config, overrides or [])
    found = provenance.origins(build(given, str(config)), given)
    table = Table("key", "value", "source", "set in", "a source has", box=None)
    for o in found:
        if not assumed or o.kind == provenance.ASSUMED:
            instead = f"{o.sourced[0]} ({o.sourced[1]})" if o.sourced else ""
            table.add_row(o.key, str(o.value), o.source, "file" if o.given else "default", instead)
    console = Console(width=160, markup=False)
    console.print(table)
    console.print(", ".join(f"{n} {kind}" for kind, n in provenance.count(found).items()), highlight=False)


@app.command()
def schema(
    out: Annotated[Path, typer.Option(help="Where to write it.")],
    method: Annotated[str, typer.Option(help="Whose experiments it is of.")] = DEFAULT_METHOD,
) -> None:
    """Export the JSON schema that Snakemake validates against."""
    write_text(out, to_json(json_schema(method), indent=1) + "\n")
