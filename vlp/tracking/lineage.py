"""From a file back to what it was made of, by the journals; and whether every digest still fits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from vlp.errors import InputError
from vlp.tracking import journal as journals
from vlp.tracking.digests import digest_now, digests_of, is_store


@dataclass(frozen=True)
class File:
    path: str
    """Relative to the experiment's folder where it lies inside."""
    sha256: str | None
    size: int | None
    part: bool = False
    """Only the listed files of this folder."""
    merged: bool = False
    """All of it went into what the run has made of it, so it may be removed."""


@dataclass(frozen=True)
class Step:
    rule: str
    run: str
    """Tag `vlp.run` of its run in MLflow."""
    status: str
    config_sha256: str
    code_version: str
    inputs: tuple[File, ...]
    outputs: tuple[File, ...]
    folder: Path
    """Of its experiment."""

    def place(self, file: File) -> Path:
        return (self.folder / file.path).resolve()


def steps(folder: Path) -> list[Step]:
    """One step per journal of the experiment, by name of the rule."""
    kinds = ("run_start", "run_end", "input", "output")
    return [_step(journals.read(path, *kinds), folder) for path in sorted((folder / "journals").glob("*.jsonl"))]


def reachable(folder: Path) -> list[Step]:
    """The steps of the experiment and of every other one whose files they have read: reused work, a model to start
    from.
    """
    folders, found = [folder.resolve()], []
    for here in folders:  # grows on the way
        made = steps(here)
        found += made
        outside = {step.place(f) for step in made for f in step.inputs if not step.place(f).is_relative_to(here)}
        folders += sorted({h for h in map(home_of, outside) if h is not None} - set(folders))
    return found


def home(file: Path) -> Path:
    """The experiment's folder that `file` stands in.

    Raises:
        InputError: no folder above it holds journals.
    """
    found = home_of(file)
    if found is None:
        raise InputError(file, "stands in no experiment's folder.", "Name a file such as results/demo/results.csv.")
    return found


def trace(known: Iterable[Step], path: Path) -> list[Step]:
    """Those of the steps that are behind `path`, the nearest first; empty if none has it as an output (or a part)."""
    known, found, wanted = list(known), [], [path.resolve()]
    for file in wanted:  # grows on the way
        for step in known:
            if step not in found and any(holds(step.place(output), file) for output in step.outputs):
                found.append(step)
                wanted += [step.place(source) for source in step.inputs]
    return found


def writer_of(known: Iterable[Step], digest: str) -> Path | None:
    """The output that had this digest."""
    return next((step.place(f) for step in known for f in step.outputs if f.sha256 == digest), None)


def raw(found: Iterable[Step], known: Iterable[Step] = ()) -> dict[Path, File]:
    """What the steps have read, and neither they nor the other known ones made."""
    found = list(found)
    made = [step.place(f) for step in (*found, *known) for f in step.outputs]
    read = {step.place(f): f for step in found for f in step.inputs}
    return {path: f for path, f in read.items() if not any(holds(output, path) for output in made)}


def digests(found: Iterable[Step]) -> set[str] | None:
    """Of every file that the steps tell of, those in folders too; None: some folder's files are not known."""
    all_of_them: set[str] = set()
    for step in found:
        for file in (*step.outputs, *step.inputs):
            if file.sha256 is None:
                continue
            listed = digests_of(step.folder, file.sha256)
            if listed is None and step.place(file).is_dir() and not is_store(step.place(file)):
                return None
            all_of_them |= {file.sha256, *(listed or {}).values()}
    return all_of_them


def changed(found: Iterable[Step], known: Iterable[Step] = ()) -> Iterator[str]:
    """Every recorded file that is gone, that came into a folder, or whose digest is no longer the recorded one.

    Of a folder the files in it are named. A file that was merged and then removed is no such file: see `removed`.

    Args:
        known: more steps, whose journals may say that a file was merged.
    """
    found = list(found)
    now, told, merges = cache(digest_now), set[str](), _merges((*found, *known))
    for step in found:
        for file in (*step.outputs, *step.inputs):
            for problem in () if _removed(step, file, merges) else _changed(step, file, now):
                if problem not in told:
                    told.add(problem)
                    yield f"{step.rule}: {problem}"


def removed(found: Iterable[Step], known: Iterable[Step] = ()) -> Iterator[str]:
    """Every recorded file that is gone because a later run, which finished, has all of it in its outputs."""
    found = list(found)
    merges, told = _merges((*found, *known)), set[Path]()
    for step in found:
        for file in (*step.outputs, *step.inputs):
            place = step.place(file)
            if place not in told and _removed(step, file, merges):
                told.add(place)
                yield f"{file.path} was removed after {merges[place][0]} had merged it"


def _merges(steps: Iterable[Step]) -> dict[Path, tuple[str, str]]:
    """Place of a merged file -> the rule that merged it, and the digest it had then."""
    return {
        step.place(file): (step.rule, file.sha256)
        for step in steps
        if step.status == "FINISHED"
        for file in step.inputs
        if file.merged and file.sha256 is not None
    }


def _removed(step: Step, file: File, merges: Mapping[Path, tuple[str, str]]) -> bool:
    """Gone, and what was merged is what this step knows."""
    place = step.place(file)
    return place in merges and merges[place][1] == file.sha256 and not place.exists()


def _changed(step: Step, file: File, now: Callable[[Path], str | None]) -> Iterator[str]:
    if file.sha256 is None:  # it was absent
        return
    path, listed = step.folder / file.path, digests_of(step.folder, file.sha256)
    if listed is None or not path.is_dir():
        yield from _differs(file.path, file.sha256, now(path.resolve()))
        return
    for name, digest in listed.items():
        yield from _differs(f"{file.path}/{name}", digest, now((path / name).resolve()))
    if not file.part:
        there = {p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file()}
        yield from (f"{file.path}/{name} is new" for name in sorted(there - set(listed)))


def _differs(name: str, then: str, now: str | None) -> Iterator[str]:
    if now is None:
        yield f"{name} is gone"
    elif now != then:
        yield f"{name} was {then[:12]}, is now {now[:12]}"


def holds(output: Path, file: Path) -> bool:
    """An output folder holds the files in it, and an input folder is made by whoever wrote a file in it."""
    return file.is_relative_to(output) or output.is_relative_to(file)


def home_of(file: Path) -> Path | None:
    """The experiment's folder that a file stands in; None: in none."""
    return next((folder for folder in file.resolve().parents if (folder / "journals").is_dir()), None)


def _step(events: list[journals.Event], folder: Path) -> Step:
    start = next((e for e in events if e["event"] == "run_start"), {})
    last = journals.attempts(events)[-1] if start else []
    end = next((e for e in last if e["event"] == "run_end"), {})
    files: dict[str, dict[str, File]] = {"input": {}, "output": {}}
    for event in events:
        if event["event"] in files:
            file = File(
                event["path"], event["sha256"], event["size"], event.get("part", False), event.get("merged", False)
            )
            files[event["event"]][event["name"]] = file
    return Step(
        rule=start.get("rule", ""),
        run=start.get("run", ""),
        status=end.get("status", "RUNNING"),
        config_sha256=start.get("config_sha256", ""),
        code_version=start.get("code_version", ""),
        inputs=tuple(files["input"].values()),
        outputs=tuple(files["output"].values()),
        folder=folder,
    )
