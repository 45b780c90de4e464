"""What a method says of itself to the report, without torch: words, and files of its folder. All of it may be absent.

`report.py` of the method's folder holds `FACTS`; `published.json` the numbers of its paper, `divergences.yaml` where
paper, released code and this code differ, `equations.md` where the equations are.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from vlp.config.methods import package_of, part_of


@dataclass(frozen=True)
class Figure:
    """The words above a figure of `figures.json`."""

    title: str
    note: str
    """Plain text, or `Markup`."""
    where: str = ""
    """Its number in the paper."""


@dataclass(frozen=True)
class Map:
    """A map of shares in [0, 1]."""

    title: str
    rows: Sequence[str]
    columns: Sequence[str]
    values: Sequence[Sequence[float]]


@dataclass(frozen=True)
class Attention:
    """What to draw of a pair of the figure `attention`."""

    boxes: Sequence[Sequence[float]]
    """Of each phrase the box that it attends to most; xyxy."""
    maps: Sequence[Map]


@dataclass(frozen=True)
class Levels:
    """A chart of alignment: its title, and level in the journal -> name of its line."""

    title: str
    lines: Mapping[str, str]


@dataclass(frozen=True)
class Facts:
    paper: str = ""
    """Short: name, place and year."""
    release: str = ""
    """Repository of the authors' code."""
    products: str = ""
    """What raw images and texts become before training."""
    detector: str | None = None
    """In the name of a detector: the paper's; None: the paper has none, or any is as good."""
    curves: Mapping[str, str] = field(default_factory=dict)
    """Loss -> title of its curve; without one its name in capitals."""
    levels: Sequence[Levels] = ()
    levels_note: str = ""
    figures: Mapping[str, Figure] = field(default_factory=dict)
    """Of `attention`, `grounding` and `embedding`, those that the method's figures can hold."""
    attention: Callable[[Mapping[str, Any]], Attention] | None = None
    statistics: Mapping[str, str] = field(default_factory=dict)
    """Part of statistics.json -> what the paper says of the same."""
    describe: Callable[[Any], str] | None = None
    """The `model` of an experiment -> its size, in words."""


def file(method: str, name: str) -> Path | None:
    """A file of a method's folder; None: it has none of this name. Raises ConfigError: there is no such method."""
    spec = importlib.util.find_spec(package_of(method))
    folders = [] if spec is None else spec.submodule_search_locations or []
    return next((path for folder in folders if (path := Path(folder) / name).is_file()), None)


@cache
def of(method: str) -> Facts:
    """Raises ConfigError: there is no such method."""
    found = part_of(method, "report")
    return Facts() if found is None else found.FACTS


def short(method: str) -> str:
    """As results name it: the last part of a package elsewhere."""
    return method.rpartition(".")[2]
