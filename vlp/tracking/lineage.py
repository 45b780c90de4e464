"""From a file back to what it was made of, by the journals; and whether every digest still fits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vlp.errors import InputError
from vlp.files import sha256
from vlp.tracking import journal as journals
from vlp.tracking.run import relative


@dataclass(frozen=True)
class File:
    path: str
    """Relative to the experiment's folder where it lies inside."""
    sha256: str | None
    size: int | None


@dataclass(frozen=True)
class Step:
    rule: str
    run: str
    status: str
    config_sha256: str
    code_version: str
    inputs: tuple[File, ...]
    outputs: tuple[File, ...]


def steps(folder: Path) -> list[Step]:
    """One step per journal of the experiment, by name of the rule."""
    return [_step(journals.read(path)) for path in sorted((folder / "journals").glob("*.jsonl"))]


def home(file: Path) -> Path:
    """The experiment's folder that `file` stands in.

    Raises:
        InputError: no folder above it holds journals.
    """
    for folder in file.resolve().parents:
        if (folder / "journals").is_dir():
            return folder
    raise InputError(file, "stands in no experiment's folder.", "Name a file such as results/demo/results.csv.")


def trace(known: list[Step], folder: Path, path: str | Path) -> list[Step]:
    """Those of the steps that are behind `path`, the nearest first; empty if none has it as an output (or a part)."""
    found: list[Step] = []
    wanted = [relative(path, folder)]
    while wanted:
        name = wanted.pop(0)
        for step in known:
            if step not in found and any(_holds(file.path, name) for file in step.outputs):
                found.append(step)
                wanted += [file.path for file in step.inputs]
    return found


def changed(folder: Path, found: list[Step]) -> Iterator[tuple[File, str]]:
    """Every recorded file that is gone, or whose digest is no longer the recorded one, with what is wrong."""
    seen: dict[str, str | None] = {}
    for step in found:
        for file in (*step.outputs, *step.inputs):
            path = folder / file.path
            if file.path not in seen:
                seen[file.path] = sha256(path) if path.exists() else None
            now = seen[file.path]
            if now is None and file.sha256 is not None:
                yield file, f"{step.rule}: {file.path} is gone"
            elif now != file.sha256:
                yield file, f"{step.rule}: {file.path} was {str(file.sha256)[:12]}, is now {str(now)[:12]}"


def _holds(output: str, name: str) -> bool:
    """An output folder holds the files in it, and an input folder is made by whoever wrote a file in it."""
    return output == name or name.startswith(output + "/") or output.startswith(name + "/")


def _step(events: list[journals.Event]) -> Step:
    start = next((e for e in events if e["event"] == "run_start"), {})
    last = journals.attempts(events)[-1] if start else []
    end = next((e for e in last if e["event"] == "run_end"), {})
    files: dict[str, dict[str, File]] = {"input": {}, "output": {}}
    for event in events:
        if event["event"] in files:
            files[event["event"]][event["name"]] = File(event["path"], event["sha256"], event["size"])
    return Step(
        rule=start.get("rule", ""),
        run=start.get("run", ""),
        status=end.get("status", "RUNNING"),
        config_sha256=start.get("config_sha256", ""),
        code_version=start.get("code_version", ""),
        inputs=tuple(files["input"].values()),
        outputs=tuple(files["output"].values()),
    )
