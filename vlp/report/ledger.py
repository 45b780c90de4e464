"""The divergence ledger: where a method's paper, its release and this code differ. `divergences.yaml` of the method's
folder is its one source."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlp import strict_yaml
from vlp.config.base import Part
from vlp.config.methods import package_of, schema
from vlp.errors import InputError
from vlp.files import to_json
from vlp.methods import facts

READINGS = ("paper", "released", "ours")
FILE = "divergences.yaml"
_WORDS = ("point", "paper", "released", "here")
_KEYS = {*_WORDS, "reading", "switches", "tests"}
_ABSENT = object()
_REMEDY = f"A row has {', '.join(_WORDS)}, reading, tests, and switches where keys of the config choose."
_INTRODUCTION = """\
# Where the paper, the released code and this code differ: {title}

Made by `vlp report ledger --method {method} --out docs/divergences.md` from `{source}`; change it there.
The report prints the same rows.

Paper: {paper}. Release: `{release}`. "Reading" is the one that the default follows:
the paper's, the released code's, or ours. A switch is a key of the config, with the value of each reading that it
offers. "Assumed": no source says it; `vlp config origins --assumed --config FILE` lists a config's assumed values.
Tests are in `tests/`{equations}.

The rule: follow the paper. Where it is silent or cannot be meant as printed, follow the release or our better
judgement, and say so here.
"""


@dataclass(frozen=True)
class Switch:
    """A config key and its value for each reading that it offers."""

    key: str
    values: Mapping[str, Any]

    def __str__(self) -> str:
        return f"`{self.key}`" + (f" ({self.described})" if self.values else "")

    @property
    def described(self) -> str:
        """Readings of equal value together: `paper 0.25, released 0.15`."""
        by_value: dict[str, list[str]] = {}
        for reading, value in self.values.items():
            by_value.setdefault(_text(value), []).append(reading)
        return ", ".join(f"{' and '.join(readings)} {value}" for value, readings in by_value.items())


@dataclass(frozen=True)
class Row:
    """One difference that changes numbers."""

    group: str
    point: str
    paper: str
    released: str
    here: str
    reading: str
    """Which of `READINGS` the default is."""
    switches: tuple[Switch, ...]
    tests: tuple[str, ...]
    """pytest node ids."""


def of(method: str) -> list[Row]:
    """A method's rows; none where it has no ledger. Raises InputError as `load`."""
    path = facts.file(method, FILE)
    return [] if path is None else load(path)


def load(path: Path) -> list[Row]:
    """The rows in the file's order.

    Raises:
        ConfigError: the file is no YAML.
        InputError: a row has not the form, or a point stands there twice.
    """
    rows = [row for group in strict_yaml.read(path) for row in _rows(path, group)]
    seen: set[str] = set()
    for row in rows:
        if row.point in seen:
            raise InputError(path, "stands there twice.", "Join the two rows.", row.point)
        seen.add(row.point)
    return rows


def by_group(rows: Iterable[Row]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.group, []).append(row)
    return groups


def in_use(row: Row, experiment: Part) -> list[tuple[str, str]]:
    """(key, value in this experiment) of each switch; a part that is not set has no values."""
    found = []
    for switch in row.switches:
        value: Any = experiment
        for name in switch.key.split("."):
            value = getattr(value, name) if isinstance(value, Part) else _ABSENT
        if value is not _ABSENT:
            found.append((switch.key, _text(value.model_dump() if isinstance(value, Part) else value)))
    return found


def plain(words: str) -> str:
    """Without Markdown's marks, for a page that is none: `code`, [link](target)."""
    return re.sub(r"\[([^]]+)\]\([^)]*\)", r"\1", words).replace("`", "")


def markdown(method: str) -> str:
    """The page: docs/divergences.md is that of the default method."""
    said, source = facts.of(method), package_of(method).replace(".", "/")
    has = facts.file(method, "equations.md") is not None
    introduction = _INTRODUCTION.format(
        title=schema(method).title,
        method=method,
        source=f"{source}/{FILE}",
        paper=said.paper or "unknown",
        release=said.release or "none",
        equations=f"; equations are in [equations.md](../{source}/equations.md)" if has else "",
    )
    lines = [introduction]
    for group, members in by_group(of(method)).items():
        lines += [f"## {group}", "| point | paper | release | here | reading | switch | test |", "|---" * 7 + "|"]
        for row in members:
            switches = "; ".join(map(str, row.switches))
            words = (row.point, row.paper, row.released, row.here, row.reading, switches, _tests(row.tests))
            lines.append("| " + " | ".join(word.replace("|", "\\|") for word in words) + " |")
        lines.append("")
    return "\n".join(lines)


def _rows(path: Path, group: Any) -> Iterator[Row]:
    for number, value in enumerate(group["rows"], 1):
        where = value.get("point", f"{group['group']} {number}")
        lacking = [key for key in (*_WORDS, "reading", "tests") if not value.get(key)]
        if lacking:
            raise InputError(path, f"lacks {', '.join(lacking)}.", _REMEDY, where)
        if unknown := set(value) - _KEYS:
            raise InputError(path, f"has the unknown key {', '.join(sorted(unknown))}.", _REMEDY, where)
        if value["reading"] not in READINGS:
            raise InputError(path, f"the reading {value['reading']!r} is none of {READINGS}.", _REMEDY, where)
        if wrong := [word for word in _WORDS if not isinstance(value[word], str)]:
            raise InputError(path, f"{', '.join(wrong)}: no text.", "Put it in quotes.", where)
        switches = []
        for switch in value.get("switches", []):
            if unknown := set(switch) - {"key", *READINGS}:
                raise InputError(path, f"a switch has no reading {', '.join(sorted(unknown))}.", _REMEDY, where)
            switches.append(Switch(switch["key"], {k: v for k, v in switch.items() if k != "key"}))
        words = {word: value[word] for word in _WORDS}
        yield Row(
            group=group["group"],
            reading=value["reading"],
            switches=tuple(switches),
            tests=tuple(value["tests"]),
            **words,
        )


def _tests(nodes: Iterable[str]) -> str:
    """Node ids, the file named once for several tests of it."""
    words, last = [], ""
    for node in nodes:
        file, _, name = node.removeprefix("tests/").partition("::")
        words.append(f"`::{name}`" if file == last else f"`{file}::{name}`")
        last = file
    return ", ".join(words)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else to_json(value).replace('"', "")
