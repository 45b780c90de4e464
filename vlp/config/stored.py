"""The `experiment.yaml` of a results folder: what lies beside it is meant, wherever the folder was moved to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

FILE = "experiment.yaml"
_BESIDE = ("config.schema.json", "journals")
"""One of these stands beside it: a user's own file may have its name."""


def home(path: str | Path, value: Mapping[str, Any]) -> Path | None:
    """The folder that `path` lies in, if that is a results folder and not the one that its text names."""
    folder = Path(path).resolve().parent
    if Path(path).name != FILE or not any((folder / name).exists() for name in _BESIDE):
        return None
    named = _named(value)
    return None if named is None or named.resolve() == folder else folder


def moved(value: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """`value` with every path that lay in its results folder below `folder`; of a part of a sweep also those that lay
    beside it, if they now lie beside `folder`."""
    old = _named(value)
    if old is None:
        return dict(value)
    beside = old.parent if folder.name == old.name else None

    def new(item: Any) -> Any:
        if isinstance(item, Mapping):
            return {key: new(one) for key, one in item.items()}
        if isinstance(item, list):
            return [new(one) for one in item]
        if not isinstance(item, str) or "/" not in item:
            return item
        path = PurePath(item)
        if path.is_relative_to(old):
            return str(folder / path.relative_to(old))
        if beside is not None and path.is_relative_to(beside):
            there = folder.parent / path.relative_to(beside)
            return str(there) if there.exists() else item
        return item

    return {key: item if key == "results" else new(item) for key, item in value.items()}


def _named(value: Mapping[str, Any]) -> Path | None:
    results, name = value.get("results", "results"), value.get("name")
    return Path(results) / name if isinstance(results, str) and isinstance(name, str) else None
