"""A method is found by its folder here, by its package elsewhere, or by the short name that a package offers."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vlp.config import methods, tasks
from vlp.errors import ConfigError

FACTS = """
from vlp.config.tasks.base import Facts, Task
FACTS = Facts("counting", "Counting", "", Task, "vqa", "vqa", (), (), "elsewhere.counting:Counting", place=15)
"""


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An installed package that offers a method and a task."""
    package, installed = tmp_path / "elsewhere", tmp_path / "elsewhere-1.0.dist-info"
    package.mkdir()
    installed.mkdir()
    for name, text in {"__init__": "", "config": "Experiment = 'its schema'", "method": "", "counting": FACTS}.items():
        (package / f"{name}.py").write_text(text)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: elsewhere\nVersion: 1.0\n")
    offers = (
        f"[{methods.GROUP}]\nshort = elsewhere\nmvptr = elsewhere\n[{tasks.GROUP}]\ncounting = elsewhere.counting\n"
    )
    (installed / "entry_points.txt").write_text(offers)
    monkeypatch.syspath_prepend(tmp_path)
    for cached in (methods.offered, tasks.known):
        cached.cache_clear()
    yield
    for cached in (methods.offered, tasks.known):
        cached.cache_clear()
    for name in [name for name in sys.modules if name.split(".")[0] == "elsewhere"]:
        del sys.modules[name]


@pytest.mark.usefixtures("elsewhere")
def test_a_package_offers_a_method_under_a_short_name_and_a_task() -> None:
    assert methods.package_of("short") == "elsewhere"
    assert methods.schema("short") == "its schema"
    assert methods.package_of("mvptr") == "vlp.methods.mvptr"  # a name of this package is taken by no other
    assert methods.names() == ["mvptr", "short"]
    assert list(tasks.known())[:3] == ["retrieval", "counting", "vqa"]


def test_no_method_of_this_name() -> None:
    for name in ("short", "mvptr.none", "no.such.package"):
        with pytest.raises(ConfigError, match=f"model.method: '{name}' is no method; there are mvptr"):
            methods.package_of(name)
