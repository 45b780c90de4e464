"""Options that every command shares."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vlp.config import Experiment, load

ConfigPath = Annotated[Path, typer.Option("--config", help="Experiment file (YAML).", show_default=False)]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="Override KEY.PATH=VALUE; may be given again.", show_default=False)
]


def experiment(config: Path, overrides: list[str] | None) -> Experiment:
    return load(config, overrides or [])
