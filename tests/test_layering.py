"""Rooms import only lower rooms, files of a room go round in no circle, and only a method's folder knows its words."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOOR = "files beside the rooms"
ORDER = (
    (FLOOR,),
    ("config",),
    ("launch",),
    ("tracking",),
    ("images",),
    ("data",),
    ("regions",),
    ("phrases",),
    ("metrics",),
    ("objectives", "models"),
    ("batching",),
    ("training",),
    ("methods",),
    ("tasks",),
    ("runs",),
    ("infer", "report"),
    ("sweep",),
    ("bundle",),
    ("doctor",),
    ("cli",),
)
"""From below; rooms of one line do not import each other."""
WORDS = re.compile(r"mvptr|wpg|mcr_|stage1|stage2|phrases_per|tag_source", re.IGNORECASE)
"""What only `vlp/methods` and `vlp/phrases` may say."""
SAID = {("vlp/config/base.py", 'DEFAULT_METHOD = "mvptr"')}
"""But for the default method's name."""


@cache
def files() -> dict[str, Path]:
    """Module -> file; a package is its `__init__.py`."""
    found = {}
    for path in sorted((ROOT / "vlp").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(files()[module].read_text(encoding="utf-8"))


@cache
def imports(module: str) -> frozenset[str]:
    """What a file imports anywhere in it, also in functions and for types alone; of this package: which files.

    A name that an `__init__.py` hands on counts as of the file where it stands.
    """
    return frozenset(_imports(module))


def _imports(module: str) -> Iterator[str]:
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module is not None, f"{module}, line {node.lineno}: a relative import"
            yield from (_home(node.module, alias.name) for alias in node.names)


def _home(module: str, name: str) -> str:
    if f"{module}.{name}" in files():
        return f"{module}.{name}"
    if module in files() and files()[module].name == "__init__.py":
        for node in tree(module).body:
            if isinstance(node, ast.ImportFrom) and any((a.asname or a.name) == name for a in node.names):
                return _home(str(node.module), name)
    return module


def graph() -> dict[str, set[str]]:
    return {module: {name for name in imports(module) if name in files()} for module in files()}


def room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and (ROOT / "vlp" / parts[1]).is_dir() else FLOOR


def method(module: str) -> str | None:
    """The method that a file belongs to."""
    parts = module.split(".")
    return parts[2] if room(module) == "methods" and len(parts) > 2 and (ROOT / "/".join(parts[:3])).is_dir() else None


def height(module: str) -> int:
    return next(i for i, rooms in enumerate(ORDER) if room(module) in rooms)


def circles(edges: Mapping[str, set[str]]) -> list[list[str]]:
    """The strongly connected parts with more than one member (Tarjan)."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(one: str) -> None:
        number[one] = low[one] = len(number)
        stack.append(one)
        for other in edges[one]:
            if other not in number:
                visit(other)
            if other in stack:
                low[one] = min(low[one], low[other])
        if low[one] == number[one]:
            part = stack[stack.index(one) :]
            del stack[stack.index(one) :]
            if len(part) > 1:
                found.append(sorted(part))

    for one in edges:
        if one not in number:
            visit(one)
    return found


def test_circles_are_found() -> None:
    edges = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set(), "e": {"a", "f"}, "f": {"g"}, "g": {"e"}}
    assert sorted(circles(edges)) == [["b", "c"], ["e", "f", "g"]]


def test_every_room_has_its_place_in_the_order() -> None:
    there = {path.parent.name for path in (ROOT / "vlp").glob("*/__init__.py")} | {FLOOR}
    assert there == {one for rooms in ORDER for one in rooms}


def test_no_room_imports_a_higher_one() -> None:
    wrong = {
        f"{module} -> {other}"
        for module, others in graph().items()
        for other in others
        if room(other) != room(module) and height(other) >= height(module)
    }
    assert sorted(wrong) == []


def test_files_of_a_room_go_round_in_no_circle() -> None:
    for name in (one for rooms in ORDER for one in rooms):
        inside = {m: {o for o in others if room(o) == name} for m, others in graph().items() if room(m) == name}
        assert circles(inside) == []


def test_nobody_imports_a_method_by_its_name() -> None:
    """The files of `vlp/methods` are for all, its folders are the methods; one does not know the other."""
    wrong = {
        f"{module} -> {other}"
        for module, others in graph().items()
        for other in others
        if method(other) not in (None, method(module))
    }
    assert sorted(wrong) == []


@pytest.mark.parametrize("outside", ["tests", "snakemake", "tools", "benchmarks"])
def test_the_package_imports_nothing_that_stands_above_it(outside: str) -> None:
    assert [m for m in files() if any(name.split(".")[0] == outside for name in imports(m))] == []


def test_only_a_method_s_folder_says_its_words() -> None:
    found = {
        (path.relative_to(ROOT).as_posix(), line.strip())
        for module, path in files().items()
        if room(module) not in ("methods", "phrases")
        for line in path.read_text(encoding="utf-8").splitlines()
        if WORDS.search(line)
    }
    assert found == SAID
