"""Every command with files and folders that are not what it wants: one of our errors, or an exit code; no traceback."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from vlp.cli import GROUPS
from vlp.errors import VlpError

SERVES = ("tracking ui", "data fetch", "sweep run", "jobs cancel")
"""They would serve, fetch or stop something."""
FEW = ("latin.yaml", "dict.json", "folder", "model")


def _make(folder: Path) -> dict[str, Path]:
    files = {
        "empty.json": b"", "list.json": b"[1, 2]", "dict.json": b'{"a": {"b": null}}', "latin.yaml": b"\xe9: 1",
        "junk.h5": b"\x89HDF\r\n\x1a\n" + bytes(range(200)), "junk.parquet": b"PAR1" + bytes(range(200)) + b"PAR1",
        "junk.tsv": b"\xff\x00\t\n\t\t", "cut.jpg": b"\xff\xd8\xff",
    }  # fmt: skip
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (folder / "folder").mkdir()
    (folder / "model").mkdir()
    for name in (
        "config.json", "inputs.json", "summary.json", "experiment.yaml", "features.tsv", "predictions.tsv",
        "manifest.json", "model.safetensors", "images.parquet",
    ):  # fmt: skip
        (folder / "model" / name).write_bytes(b'{"a": 1}')
    found = {name: folder / name for name in (*files, "folder", "model")}
    return {**found, "missing": folder / "nothing" / "x.json"}


def _commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if hasattr(command, "commands"):
        for name, below in command.commands.items():
            yield from _commands(below, (*path, name))
    elif " ".join(path) not in SERVES:
        yield path, command


def _arguments(path: tuple[str, ...], command: Any, value: Path, optional: bool, out: Path) -> list[str]:
    given = list(path)
    for parameter in command.params:
        is_path = "Path" in str(parameter.type_descriptor.annotation)
        if not parameter.required and not (optional and is_path):
            continue
        said = str(out) if parameter.name == "out" else str(value) if is_path else "1"
        given += [parameter.opts[0], said] if parameter.param_type_name == "option" else [said]
    return given


@pytest.fixture(scope="module")
def root() -> Any:
    app = typer.Typer()
    app.callback()(lambda: None)
    for name in GROUPS:
        module = importlib.import_module(f"vlp.cli.{name}")
        if hasattr(module, "command"):
            app.command(name)(module.command)
        else:
            app.add_typer(module.app, name=name)
    return typer.main.get_command(app)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=() if kind in FEW else pytest.mark.long)
        for kind in (
            *FEW, "empty.json", "list.json", "junk.h5", "junk.parquet", "junk.tsv", "cut.jpg", "missing",
        )
    ],
)  # fmt: skip
def test_no_command_ends_with_a_traceback(
    root: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    value = _make(tmp_path)[kind]
    ran = 0
    for path, command in _commands(root):
        for optional in (False, True):
            arguments = _arguments(path, command, value, optional, tmp_path / f"out{ran}")
            ran += 1
            try:
                root.main(arguments, standalone_mode=False)
            except (VlpError, SystemExit):
                continue
            except Exception as error:
                if "click" not in type(error).__module__:  # typer's own words on arguments
                    raise AssertionError(" ".join(arguments)) from error
    assert ran > 80
