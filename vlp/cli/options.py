"""Options that every command shares."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vlp.config import Experiment, load
from vlp.config.phrases import WithPhrases
from vlp.config.regions import WithRegions
from vlp.errors import ConfigError

ConfigPath = Annotated[Path, typer.Option("--config", help="Experiment file (YAML).", show_default=False)]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="Override KEY.PATH=VALUE; may be given again.", show_default=False)
]


def experiment(config: Path, overrides: list[str] | None) -> Experiment:
    return load(config, overrides or [])


def with_regions(config: Path, overrides: list[str] | None) -> WithRegions:
    """Raises ConfigError: the experiment's method reads no regions."""
    found = experiment(config, overrides)
    if not isinstance(found, WithRegions):
        raise ConfigError(f"{config}: the method {found.model.method} reads no regions")
    return found


def with_phrases(config: Path, overrides: list[str] | None) -> WithPhrases:
    """Raises ConfigError: the experiment's method reads no phrases."""
    found = experiment(config, overrides)
    if not isinstance(found, WithPhrases):
        raise ConfigError(f"{config}: the method {found.model.method} reads no phrases")
    return found
