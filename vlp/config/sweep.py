"""A sweep: rows of overrides of a base experiment, each with several seeds."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError, model_validator

from vlp import strict_yaml
from vlp.config.base import Part
from vlp.config.load import lay, overridden, parse_override, read_yaml
from vlp.errors import ConfigError, InputError

EXTENDS = "extends"
SUM = "="
"""A value `= model.text_layers + model.multimodal_layers` is the sum of these values of the base."""


class Sweep(Part):
    name: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_-]*$")
    base: Path
    """Experiment file; relative to this file."""
    seeds: list[int] = Field(min_length=1)
    """Of pre-training and fine-tuning; the data is made with the base's seed, once."""
    control: str
    """The row that all others are compared with."""
    common: dict[str, Any] = {}
    """Overrides of every row."""
    rows: dict[str, dict[str, Any]] = {}
    """Name -> overrides. A row that `extends: FILE`, relative to this file, is of that experiment in place of the base:
    so a sweep goes across methods."""
    grid: dict[str, list[Any]] = {}
    """Key path -> values: every combination is a row, after those of `rows`."""
    published: dict[str, dict[str, float]] = {}
    """Row -> column of the table -> the paper's number."""

    @model_validator(mode="after")
    def _whole(self) -> Sweep:
        names = set(self.combined())
        if self.control not in names:
            raise ValueError(f"control: {self.control!r} is no row; rows are {', '.join(sorted(names)) or 'none'}")
        for name, over in self.rows.items():
            if not isinstance(over.get(EXTENDS, ""), str):
                raise ValueError(f"rows.{name}.extends: the path of one file is wanted")
        if strange := set(self.published) - names:
            raise ValueError(f"published: {', '.join(sorted(strange))}: no such row")
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError("seeds: a seed stands there twice")
        return self

    def combined(self) -> dict[str, dict[str, Any]]:
        """Rows and the grid's combinations: name -> overrides."""
        found = dict(self.rows)
        keys = list(self.grid)
        for values in itertools.product(*self.grid.values()) if keys else []:
            name = ",".join(f"{k.rpartition('.')[2]}={v}" for k, v in zip(keys, values, strict=True))
            overrides: dict[str, Any] = {}
            for key, value in zip(keys, values, strict=True):
                overrides = lay(overrides, parse_override(f"{key}={yaml.safe_dump(value, default_flow_style=True)}"))
            if name in found:
                raise ValueError(f"grid: the row {name} stands there twice; name it in `rows`, or remove one value")
            found[name] = overrides
        return found


def load(path: Path, changes: Mapping[str, Any] | None = None) -> Sweep:
    """Raises ConfigError: the file cannot be read, a key is unknown or there twice, or a value wrong; InputError: it is
    no mapping."""
    value = strict_yaml.read(path)
    if not isinstance(value, dict):
        raise InputError(path, "is no mapping.", "Write name, base, seeds, control and rows.")
    try:
        sweep = Sweep.model_validate(value | {k: v for k, v in (changes or {}).items() if v is not None})
    except ValidationError as error:
        lines = [f"{path}: {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise ConfigError("\n".join(lines)) from error
    sweep = sweep.model_copy(update={"rows": _beside(sweep.rows, path.parent)})
    if "base" in (changes or {}) and (changes or {})["base"] is not None:
        return sweep
    return sweep.model_copy(update={"base": path.parent / sweep.base})


def _beside(rows: Mapping[str, dict[str, Any]], folder: Path) -> dict[str, dict[str, Any]]:
    """The rows with the files that they extend in `folder`."""
    return {
        name: over | {EXTENDS: str(folder / over[EXTENDS])} if EXTENDS in over else over for name, over in rows.items()
    }


def resolved(sweep: Sweep, overrides: list[str]) -> dict[str, dict[str, Any]]:
    """Row -> the whole, not yet validated, experiment without a seed.

    Raises:
        ConfigError: a sum names what is no number of the base, or a file is not there.
    """
    found = {}
    for name, over in sweep.combined().items():
        base = read_yaml(over.get(EXTENDS, sweep.base))
        base = lay(overridden(base, overrides), sweep.common)
        found[name] = lay(base, _summed({k: v for k, v in over.items() if k != EXTENDS}, base, name))
    return found


def _summed(value: Any, base: Mapping[str, Any], row: str) -> Any:
    if isinstance(value, Mapping):
        return {k: _summed(v, base, row) for k, v in value.items()}
    if not (isinstance(value, str) and value.startswith(SUM)):
        return value
    total = 0
    for key in value.removeprefix(SUM).split("+"):
        found: Any = base
        for name in key.strip().split("."):
            found = found.get(name) if isinstance(found, Mapping) else None
        if not isinstance(found, int | float) or isinstance(found, bool):
            raise ConfigError(f"row {row}: {value!r}: {key.strip()} is no number of the base experiment")
        total += found
    return total
