"""`vlp config`: check an experiment file, export the JSON schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
import yaml

from vlp.cli.options import ConfigPath, Overrides, experiment
from vlp.config import json_schema
from vlp.files import write_text

app = typer.Typer()


@app.command()
def show(config: ConfigPath, overrides: Overrides = None) -> None:
    """Print the whole experiment with every default filled in."""
    print(yaml.safe_dump(experiment(config, overrides).model_dump(mode="json"), sort_keys=False), end="")


@app.command()
def schema(out: Annotated[Path, typer.Option(help="Where to write it.")]) -> None:
    """Export the JSON schema that Snakemake validates against."""
    write_text(out, json.dumps(json_schema(), indent=1) + "\n")
