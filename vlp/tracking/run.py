"""`track`: record a rule's run in its journal, then mirror the journal to MLflow."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import resource
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from vlp.config import Experiment
from vlp.errors import InputError, Preempted
from vlp.files import sha256
from vlp.tracking import journal as journals
from vlp.tracking.digests import Merged, Part, describe, relative
from vlp.tracking.system import sampled

Paths = Mapping[str, str | Path | Part | Merged]
FOLLOWED = "VLP_TRACKING_FOLLOWED"
"""Set where one process mirrors for all: a run then leaves its journal to it."""


class Terminated(SystemExit):
    """SIGTERM as an exception, so that the run ends as KILLED."""


class Run:
    """A run in progress. Every method only appends to the journal, so none of them can fail for the tracker's sake."""

    def __init__(self, journal: journals.Journal, folder: Path, key: str, seen: list[journals.Event]) -> None:
        self.key = key
        self._journal, self._folder = journal, folder
        self._points = set(journals.points(seen))
        self._checkpoints = {e["step"] for e in seen if e["event"] == "checkpoint"}
        self._sent_from: Path | None = None

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
        self._journal.write_all([*new, *saved.values()])
        return len(new)


@contextlib.contextmanager
def track(
    experiment: Experiment,
    rule: str,
    inputs: Paths | None = None,
    outputs: Paths | None = None,
    params: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
    resume: bool = False,
) -> Iterator[Run]:
    """Record what happens in the block under `journals/<rule>.jsonl`.

    A new run replaces the rule's journal. With `resume` it goes on with the journal and the run key that are there,
    unless that run finished or had another config: then this is a new run.
    The block's exceptions pass through; they and SIGTERM are recorded as FAILED and KILLED.
    """
    folder = experiment.folder
    path = folder / "journals" / f"{rule}.jsonl"
    seen = journals.read(path) if resume and path.exists() else []
    resume = _goes_on(seen, experiment)
    seen = seen if resume else []
    key = next((e["run"] for e in seen if e["event"] == "run_start"), None) or uuid.uuid4().hex
    journal = journals.Journal(path, resume=resume)
    journal.write("run_start", **_start(experiment, rule, key, params or {}, tags or {}))
    run = Run(journal, folder, key, seen)
    status, problem = "FINISHED", None
    began = time.monotonic()
    try:
        with _sigterm_raises(), sampled(run, folder):
            yield run
            for kind, named in (("input", inputs), ("output", outputs)):
                for name, file in (named or {}).items():
                    journal.write(kind, name=name, **describe(file, folder))
    except (KeyboardInterrupt, Terminated, Preempted) as error:
        status, problem = "KILLED", type(error).__name__
        raise
    except SystemExit as error:
        status, problem = ("FINISHED", None) if not error.code else ("FAILED", f"exit {error.code}")
        raise
    except BaseException as error:
        status, problem = "FAILED", f"{type(error).__name__}: {error}"
        raise
    finally:
        run.job(rule)
        journal.write(
            "run_end",
            status=status,
            error=problem,
            wall_seconds=round(time.monotonic() - began, 3),
            peak_memory_bytes=_peak_memory(),
        )
        journal.close()
        if experiment.tracking.enabled and FOLLOWED not in os.environ:
            from vlp.tracking.mirror import mirror_quietly

            mirror_quietly(experiment, [path])


def _goes_on(seen: list[journals.Event], experiment: Experiment) -> bool:
    parts = journals.attempts(seen)
    if not parts:
        return False
    end = next((e for e in parts[-1] if e["event"] == "run_end"), {})
    return end.get("status") != "FINISHED" and parts[-1][0]["config_sha256"] == config_digest(experiment)


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


def _start(
    experiment: Experiment, rule: str, key: str, params: Mapping[str, Any], tags: Mapping[str, str]
) -> dict[str, Any]:
    return {
        "run": key,
        "experiment": experiment.name,
        "rule": rule,
        "params": flatten(params),
        "tags": {"method": experiment.model.method, "seed": str(experiment.seed), "rule": rule, **tags},
        "config_sha256": config_digest(experiment),
        "code_version": code_version(),
        "lock_sha256": lock_sha256(),
        "host": platform.node(),
        "pid": os.getpid(),
        "python": platform.python_version(),
        "threads": experiment.launch.cpu_threads,
        "cpus": os.cpu_count(),
        "slurm_job": os.environ.get("SLURM_JOB_ID"),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
    }


def flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mapping -> dotted keys; what JSON does not know becomes text."""
    flat: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, Mapping):
            flat |= flatten(item, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = item if isinstance(item, str | int | float | bool | None) else str(item)
    return flat


def _peak_memory() -> int:
    """Bytes; ru_maxrss is in KiB on Linux, in bytes on macOS."""
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return peak if sys.platform == "darwin" else peak * 1024


@contextlib.contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Only where nobody else handles SIGTERM (training does), and only in the main thread, which Python demands."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def handler(number: int, frame: FrameType | None) -> None:
        raise Terminated(128 + number)

    signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
