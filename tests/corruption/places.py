"""Every artefact of a finished chain with the commands that read it, and damage to one of its bytes."""

from __future__ import annotations

import csv
import importlib
import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
import typer

from tests.workflow.chain import snakemake
from vlp.errors import VlpError
from vlp.tracking import journal, lineage, recording, run
from vlp.tracking.digests import digests_of

Damage = Literal["flip", "cut", "empty"]


@dataclass(frozen=True)
class Reader:
    """A command of the workflow."""

    rule: str
    journal: Path
    arguments: tuple[str, ...]
    """After `vlp`."""
    late: bool
    """It learns from its other inputs which files it reads, as pictures from a table."""


@dataclass(frozen=True)
class Artefact:
    path: Path
    readers: tuple[Reader, ...]
    """One of each kind of rule; none: the chain ends here."""

    @property
    def kind(self) -> str:
        """Its name without what tells apart artefacts of one rule."""
        folder = self.path.parent.name.split(".")[0]
        return re.sub(r"\d{3,}", "N", f"{folder}/{self.path.name.split('.')[0]}{self.path.suffix}")


def artefacts(folder: Path) -> list[Artefact]:
    """What the rules declare as outputs, and every file of a folder that their journals tell of.

    Who reads a file is known from the inputs that the rules declare and from those that the journals name.
    """
    shown = snakemake(folder.parent, "--detailed-summary").stdout
    table = csv.DictReader(io.StringIO(shown[shown.index("output_file\t") :]), delimiter="\t")
    declared = {Path(row["output_file"]).resolve(): row["input-file(s)"] for row in table}
    files, readers = set(declared), dict[Path, dict[str, Reader]]()
    for step in lineage.steps(folder):
        made = {path for output in step.outputs for path in _files(step, output)}
        files |= made
        read = {path: source.part for source in step.inputs for path in _files(step, source)}
        for path in made & set(declared):
            read = {Path(name).resolve(): False for name in declared[path].split(",") if name != "-"} | read
        own = folder / "journals" / f"{step.rule}.jsonl"
        start = next(e for e in journal.read(own) if e["event"] == "run_start")
        for path, late in read.items():
            reader = Reader(step.rule, own, tuple(start["command"][1:]), late)
            readers.setdefault(path, {})[step.rule.split("-")[0]] = reader
    return [Artefact(file, tuple(readers.get(file, {}).values())) for file in sorted(files) if file.stat().st_size]


def _files(step: lineage.Step, file: lineage.File) -> list[Path]:
    place, listed = step.place(file), digests_of(step.folder, file.sha256 or "")
    return [place] if listed is None else [(place / name).resolve() for name in listed]


@contextmanager
def damaged(path: Path, how: Damage, at: int) -> Iterator[None]:
    """One bit of byte `at` flipped, or the file cut there; its times, and so Snakemake, know nothing of it."""
    old, stat = path.read_bytes(), path.stat()
    place = at % max(1, len(old))
    new = bytearray(old) if how == "flip" else bytearray(old[: place if how == "cut" else 0])
    if how == "flip":
        new[place] ^= 1 << (at % 8)
    try:
        path.write_bytes(bytes(new))
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        yield
    finally:
        path.write_bytes(old)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


class Silent(BaseException):
    """The command has looked at its inputs and begins to work."""


def problem_of(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> str | None:
    """The error with which the command refuses its inputs; None: it would begin to work with them."""
    room: Any = run if reader.late else recording
    look = room.refuse_changed

    def looked(inputs: Any) -> None:
        look(inputs)
        raise Silent

    group, *arguments = reader.arguments
    module = importlib.import_module(f"vlp.cli.{group}")
    app = typer.Typer()
    app.callback()(lambda: None)
    if hasattr(module, "command"):
        app.command(group)(module.command)
    else:
        app.add_typer(module.app, name=group)
    told = reader.journal.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(room, "refuse_changed", looked)
        patched.setenv(recording.FOLLOWED, "1")  # no mirror
        try:
            app([group, *arguments], standalone_mode=False)
        except VlpError as error:
            return str(error)
        except Silent:
            return None
        finally:
            reader.journal.write_bytes(told)
    raise AssertionError(f"{reader.rule} has not looked at its inputs")
