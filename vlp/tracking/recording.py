"""`track`: record a rule's run in its journal, then mirror the journal to MLflow."""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import signal
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from vlp.config import Experiment
from vlp.errors import Preempted
from vlp.launch.writers import writing
from vlp.tracking import journal as journals
from vlp.tracking.digests import Source, describe, hashed
from vlp.tracking.mirror import mirror_quietly
from vlp.tracking.run import Run, code_version, config_digest, flatten, lock_sha256
from vlp.tracking.system import sampled
from vlp.tracking.written import refuse_changed

Paths = Mapping[str, Source]
FOLLOWED = "VLP_TRACKING_FOLLOWED"
"""Set where one process mirrors for all: a run then leaves its journal to it."""


class Terminated(SystemExit):
    """SIGTERM as an exception, so that the run ends as KILLED."""


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
    """Record what happens in the block under `journals/<rule>.jsonl`, as its only writer (`vlp/launch/writers.py`).

    A new run replaces the rule's journal. With `resume` it goes on with the journal and the run key that are there,
    unless that run finished or had another config: then this is a new run.
    What it reads is compared with what was written before the block begins; inputs that are found only there are told
    by `Run.reads`. The block's exceptions pass through; they and SIGTERM are recorded as FAILED and KILLED.
    """
    with (
        writing(experiment.folder, rule),
        _recorded(experiment, rule, inputs or {}, outputs or {}, params or {}, tags or {}, resume) as run,
    ):
        yield run


@contextlib.contextmanager
def _recorded(
    experiment: Experiment,
    rule: str,
    inputs: Paths,
    outputs: Paths,
    params: Mapping[str, Any],
    tags: Mapping[str, str],
    resume: bool,
) -> Iterator[Run]:
    folder = experiment.folder
    read = {name: hashed(file) for name, file in inputs.items()}
    refuse_changed(read.values())
    path = folder / "journals" / f"{rule}.jsonl"
    seen = journals.read(path) if resume and path.exists() else []
    resume = _goes_on(seen, experiment)
    seen = seen if resume else []
    key = next((e["run"] for e in seen if e["event"] == "run_start"), None) or uuid.uuid4().hex
    journal = journals.Journal(path, resume=resume)
    journal.write("run_start", **_start(experiment, rule, key, params, tags))
    run = Run(journal, folder, key, seen)
    run.read |= read
    status, problem = "FINISHED", None
    began = time.monotonic()
    try:
        with _sigterm_raises(), sampled(run, folder):
            yield run
            for name, file in run.read.items():
                journal.write("input", name=name, **file.event(folder))
            for name, file in outputs.items():
                journal.write("output", name=name, **describe(file, folder))
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
            mirror_quietly(experiment, [path])


def _goes_on(seen: list[journals.Event], experiment: Experiment) -> bool:
    parts = journals.attempts(seen)
    if not parts:
        return False
    end = next((e for e in parts[-1] if e["event"] == "run_end"), {})
    return end.get("status") != "FINISHED" and parts[-1][0]["config_sha256"] == config_digest(experiment)


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
