"""Which methods there are, and the schema of each: found by name, so that this room knows none of them."""

from __future__ import annotations

import importlib
import importlib.util
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from vlp.errors import ConfigError

if TYPE_CHECKING:
    from vlp.config.experiment import Experiment

HOME = "vlp.methods"
GROUP = "vlp.methods"
"""Entry points by which an installed package offers a method under a short name."""


def names() -> list[str]:
    """The methods of this package, then those that installed packages offer."""
    folder = Path(__file__).parents[1] / "methods"
    own = sorted(p.parent.name for p in folder.glob("*/method.py"))
    return own + sorted(set(offered()) - set(own))


def package_of(name: str) -> str:
    """The package of a method: of `vlp.methods`, of an entry point, or `name` itself where it has a dot.

    Raises:
        ConfigError: there is none.
    """
    package = name if "." in name else f"{HOME}.{name}"
    if "." not in name and not _is_method(package):
        package = offered().get(name, package)
    if not _is_method(package):
        raise ConfigError(
            f"model.method: {name!r} is no method; there are {', '.join(names())}, or name a package that holds "
            "config.py and method.py"
        )
    return package


def _is_method(package: str) -> bool:
    try:
        return importlib.util.find_spec(f"{package}.method") is not None
    except ModuleNotFoundError:
        return False


@cache
def offered() -> dict[str, str]:
    """Name -> package. Looking through all installed packages takes longer than the rest of this file."""
    return {point.name: point.value for point in entry_points(group=GROUP)}


def part_of(name: str, module: str) -> ModuleType | None:
    """A file of a method, imported; None: the method does not have it. Raises ConfigError: there is no such method."""
    path = f"{package_of(name)}.{module}"
    return importlib.import_module(path) if importlib.util.find_spec(path) else None


def schema(name: str) -> type[Experiment]:
    """The class of a method's experiments. Raises ConfigError: there is no such method, or it has no config.py."""
    found = part_of(name, "config")
    if found is None:
        raise ConfigError(f"model.method: {name!r} has no config.py")
    return found.Experiment
