"""A run in progress, as its block sees it; what its journal says of config, code and packages."""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vlp.config import Experiment
from vlp.errors import InputError
from vlp.files import sha256
from vlp.tracking import journal as journals
from vlp.tracking.digests import Hashed, Source, describe, hashed, relative
from vlp.tracking.written import refuse_changed


class Run:
    """A run in progress. Every method only appends to the journal, so none of them can fail for the tracker's sake."""

    def __init__(self, journal: journals.Journal, folder: Path, key: str, seen: list[journals.Event]) -> None:
        self.key = key
        self._journal, self._folder = journal, folder
        self._points = set(journals.points(seen))
        self._checkpoints = {e["step"] for e in seen if e["event"] == "checkpoint"}
        self._sent_from: Path | None = None
        self.read: dict[str, Hashed] = {}
        """What has gone in, by name, as it was then."""

    def reads(self, **inputs: Source) -> None:
        """Inputs of the run, before they are read.

        Raises:
            InputError: one has changed since a rule wrote it.
        """
        found = {name: hashed(file) for name, file in inputs.items()}
        refuse_changed(found.values())
        self.read |= found

    def reads_journals(self) -> None:
        """Tell how much of each journal there is now: what this run makes, it makes of that."""
        self._journal.write("journals", seen=journals.seen(self._folder))

    def metric(self, key: str, value: float, step: int | None = None) -> None:
        self._points.add((key, step))
        self._journal.write("metric", key=key, value=float(value), step=step)

    def series(self, key: str, step: int, value: float) -> None:
        self.metric(key, value, step)

    def last_step(self, key: str) -> int:
        """The last step that has a point of `key`; -1: none."""
        return max((step for k, step in self._points if k == key and step is not None), default=-1)

    def artifact(self, path: str | Path) -> None:
        """A file that the mirror copies into MLflow, if it is a small json, png, html, csv or yaml."""
        self._journal.write("artifact", **describe(path, self._folder))

    @contextlib.contextmanager
    def training(self, path: str | Path) -> Iterator[None]:
        """While a training runs whose journal is `path`: the mirror reads it as it grows; in the end it is adopted.

        Also when the training fails: what it has logged is not lost.
        """
        self._journal.write("training", path=relative(path, self._folder))
        self._sent_from = Path(path).parent
        try:
            yield
        finally:
            self.adopt(path)

    def job(self, rule: str) -> None:
        """The job that did the work, where it was sent to another process or to SLURM: its record is in the run
        directory, that of the training or `runs/<rule>`.
        """
        from vlp.launch import record

        with contextlib.suppress(OSError, InputError):
            last = record.read(self._sent_from or self._folder / "runs" / rule)
            if last is not None and last.job is not None and last.status != "taken":  # taken: of an earlier run
                self._journal.write("job", executor=last.executor, job=last.job, tries=last.tries)

    def adopt(self, path: str | Path) -> int:
        """Take over the metrics and checkpoints of a training journal; returns how many points were new.

        A point (key, step) that was logged twice, because a killed training went back to its checkpoint, counts once
        with its last value; points that an earlier attempt of this run has adopted are not added again.
        """
        path = Path(path)
        if not path.exists():
            return 0
        events = journals.read(path)
        points = journals.points(events)
        saved = {e["step"]: e for e in events if e["event"] == "checkpoint" and e["step"] not in self._checkpoints}
        new = [e for point, e in points.items() if point not in self._points]
        self._points.update(points)
        self._checkpoints.update(saved)
        # Their clock is another process's.
        self._journal.write_all({k: v for k, v in e.items() if k != "clock"} for e in [*new, *saved.values()])
        return len(new)


def config_digest(experiment: Experiment) -> str:
    return hashlib.sha256(experiment.model_dump_json().encode()).hexdigest()


def code_version() -> str:
    """The commit of the checkout this package runs from (`+` if changed since), else the package's version."""
    root = Path(__file__).resolve().parents[2]
    try:
        if not (root / ".git").exists():
            raise FileNotFoundError(root)
        commit = _git(root, "rev-parse", "--verify", "HEAD").strip()
        return commit + ("+" if _git(root, "status", "--porcelain", "--untracked-files=no").strip() else "")
    except (OSError, subprocess.SubprocessError):
        from importlib.metadata import PackageNotFoundError, version

        try:
            return f"vlp {version('vlp')}"
        except PackageNotFoundError:
            return "unknown"


def lock_sha256() -> str | None:
    """Digest of the list of packages that the environment is made from; None: it is not at hand."""
    lock = Path(__file__).resolve().parents[2] / "envs" / "lock.txt"
    return sha256(lock) if lock.exists() else None


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout


def flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mapping -> dotted keys; what JSON does not know becomes text."""
    flat: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, Mapping):
            flat |= flatten(item, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = item if isinstance(item, str | int | float | bool | None) else str(item)
    return flat
