"""Mirror journals to MLflow: whatever the store lacks is added, once. A failure here never reaches the caller."""

from __future__ import annotations

import contextlib
import json
import platform
import re
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from vlp.config import Experiment
from vlp.errors import VlpError
from vlp.files import to_json
from vlp.launch.driver import alive
from vlp.tracking import journal as journals
from vlp.tracking import store
from vlp.tracking.models import Models
from vlp.tracking.run import config_digest, flatten
from vlp.tracking.system import EVERY

PATIENCE = 20.0
"""Seconds that one mirroring may take; the rest is brought by the next one."""
SILENT = 60 * EVERY
"""Seconds without a word after which a run of another host is taken for killed."""
COPIED = {".json", ".png", ".html", ".csv", ".yaml"}
COPIED_BYTES = 5_000_000
VIEW = "vlp"
"""Key of the shared view of the run table: rules in the order they ran, with what tells one from another."""
COLUMNS = (
    *(f"tags.`{tag}`" for tag in ("stage", "task", "variant", "seed")),
    *(f"metrics.`{metric}`" for metric in ("loss", "val_score", "best_score", "samples_per_second", "recall")),
)
_BATCH = 1000
_PARAMS = 100


def table_address(experiment: Experiment, server: str) -> str:
    """Where the UI of `server` shows the experiment's runs, with the columns of the shared view; `server` itself where
    the store does not say."""
    uri = store.store_uri(experiment)
    found = None
    with contextlib.suppress(Exception):
        found = store.find_experiment(store.client_class(uri)(uri), experiment)
    return server if found is None else f"{server}/#/experiments/{found.experiment_id}/runs?viewStateShareKey={VIEW}"


def mirror_quietly(experiment: Experiment, paths: Iterable[Path]) -> bool:
    """Mirror the journals; on any failure say so in one line and return False."""
    try:
        mirror(experiment, paths)
    except Exception as error:
        print(
            f"vlp: not mirrored to MLflow ({_told(error)}); the journal is complete, "
            "`vlp tracking sync` brings the rest",
            file=sys.stderr,
        )
        return False
    return True


def sync(experiment: Experiment) -> int:
    """Mirror every journal of the experiment; returns how many there are.

    Raises:
        VlpError: the store does not take them: it is locked, or does not answer.
    """
    paths = sorted((experiment.folder / "journals").glob("*.jsonl"))
    try:
        mirror(experiment, paths, patience=float("inf"))
    except Exception as error:
        where = store.file_of(experiment) or experiment.tracking.uri
        raise VlpError(
            f"{where}: not mirrored ({_told(error)}). The journals are complete: run `vlp tracking sync` again once "
            "the store can be written."
        ) from error
    return len(paths)


def _told(error: Exception) -> str:
    first = (str(error).splitlines() or [""])[0][:200]
    return f"{type(error).__name__}: {first}"


def follow(experiments: Experiment | Sequence[Experiment], driver: int, every: float = 10.0) -> None:
    """Mirror every journal that changes, until the process `driver` is gone and all it left is mirrored.

    One process for a whole workflow: MLflow takes seconds to import, too many to pay in every rule.

    Args:
        experiments: one, or all of a sweep.
    """
    done: dict[Path, int] = {}
    trainings: dict[Path, Path | None] = {}
    running = True
    while running:
        running = alive(driver)
        for experiment in [experiments] if isinstance(experiments, Experiment) else experiments:
            with contextlib.suppress(OSError):  # a journal that is removed meanwhile
                paths = sorted((experiment.folder / "journals").glob("*.jsonl"))
                changed = {p: _changed_at(p, trainings.get(p)) for p in paths}
                late = [p for p, at in changed.items() if done.get(p) != at]
                trainings |= {p: _training(journals.read(p), experiment.folder) for p in late}
                if late and mirror_quietly(experiment, late):
                    done |= {p: changed[p] for p in late}
        if running:
            time.sleep(every)


def _changed_at(path: Path, training: Path | None) -> int:
    return max(p.stat().st_mtime_ns for p in (path, training) if p is not None and p.exists())


def _training(events: list[journals.Event], folder: Path) -> Path | None:
    """The journal of the training at work in this run; None: it is over, and its points are in the run's own."""
    attempts = journals.attempts(events)
    last = attempts[-1] if attempts else []
    if not last or last[-1]["event"] == "run_end":
        return None
    return next((folder / e["path"] for e in reversed(last) if e["event"] == "training"), None)


def mirror(experiment: Experiment, paths: Iterable[Path], patience: float | None = None) -> None:
    """Bring the runs in `paths` up to date in the store, each as a child of the experiment's parent run.

    Args:
        patience: seconds; None: PATIENCE.

    Raises:
        TimeoutError: the store is so slow that `patience` seconds did not do.
        Exception: whatever MLflow raises.
    """
    paths, patience = list(paths), PATIENCE if patience is None else patience
    try:
        _mirror(experiment, paths, patience)
    except Exception as error:
        if not store.set_aside_if_damaged(experiment, error):
            raise
        _mirror(experiment, paths, patience)


def _mirror(experiment: Experiment, paths: list[Path], patience: float) -> None:
    began = min((e["time"] for path in paths for e in journals.read(path)[:1]), default=time.time())
    opened = _Store(experiment, began, patience)
    for path in paths:
        with store.locked(path, "rb"):  # two mirrors of one journal would make two runs
            opened.bring(journals.read(path), _size(journals.aside(path)))


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


class _Store:
    """A client with the experiment and its parent run looked up or made."""

    def __init__(self, experiment: Experiment, began: float, patience: float) -> None:
        self._experiment = experiment
        self._folder = experiment.folder.resolve()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._name = store.name_of(experiment)
        client = store.client_class(store.store_uri(experiment))  # the import takes a second: outside the lock
        # Processes that open a fresh sqlite store at once break its migration: one at a time.
        with store.locked(store.top(experiment) / ".mlflow.lock"):
            self._deadline = time.monotonic() + patience  # waiting for other rules is not the store's slowness
            store.make_ready(experiment)
            self.client = client(store.store_uri(experiment))
            columns = [*COLUMNS, *(f"params.`{_key(key)}`" for key in experiment.tracking.varied)]
            self.id = store.open_experiment(self.client, experiment, store.view(VIEW, columns))
            parent = store.find_run(self.client, self.id, "vlp.parent", "1")
            self.parent = parent or self._make_parent(int(began * 1000))
            self._fill_parent()

    def bring(self, events: list[journals.Event], damaged: int) -> None:
        """Args: damaged: bytes of the journal that were set aside. The lines that are left count anew then."""
        starts = [e for e in events if e["event"] == "run_start"]
        if not starts:
            return
        start = starts[-1]
        run_id = store.find_run(self.client, self.id, "vlp.run", start["run"]) or self._make_child(starts[0])
        run = self.client.get_run(run_id)
        known = run.data.tags.get("vlp.damaged", "0") == str(damaged)
        done = int(run.data.tags.get("vlp.lines", "0")) if known else 0
        training = _training(events, self._folder)
        live = journals.read(training) if training is not None and training.exists() else []
        self._params(run_id, {**self._experiment.tracking.varied, **start["params"]}, run.data.params)
        self._metrics(run_id, events, live, done, json.loads(run.data.tags.get("vlp.steps", "{}")))
        self._files(run_id, events, done)
        models = Models(self.client, self.id, self._experiment, self._in_time)
        models.bring(run_id, start, events, live, [e for e in events[done:] if e["event"] == "output"])
        status, end = _status(events)
        counted = {"vlp.lines": str(len(events)), "vlp.damaged": str(damaged)}
        self._tags(run_id, {**counted, **_start_tags(start), **_job_tags(events)})
        self._texts(run_id, start, run.data.tags)
        if status == "RUNNING":
            self.client.update_run(run_id, status="RUNNING")
            return
        self.client.set_terminated(run_id, status, int(end * 1000))
        if int(end * 1000) >= (self.client.get_run(self.parent).info.end_time or 0):
            self.client.set_terminated(self.parent, status, int(end * 1000))  # the parent ends as its last child did

    def _make_parent(self, began: int) -> str:
        tags = {"vlp.parent": "1"}
        if not self._experiment.tracking.parent:  # of a whole sweep: its parts differ in their settings
            tags |= {"method": self._experiment.model.method, "seed": str(self._experiment.seed)}
            tags["config_sha256"] = config_digest(self._experiment)
        run = self.client.create_run(self.id, began, tags=tags, run_name=self._name)
        # It only holds its children: it must not look as if it were at work.
        self.client.set_terminated(run.info.run_id, end_time=began)
        return run.info.run_id

    def _fill_parent(self) -> None:
        """The config of an experiment's parent run; also where a slow store cut that short before."""
        run = self.client.get_run(self.parent)
        if self._experiment.tracking.parent or "vlp.config" in run.data.tags:
            return
        value = self._experiment.model_dump(mode="json")
        self._params(self.parent, flatten(value), run.data.params)
        self.client.log_text(self.parent, yaml.safe_dump(value, sort_keys=False), "experiment.yaml")
        self._tags(self.parent, {"vlp.config": "1"})

    def _make_child(self, start: journals.Event) -> str:
        tags = {"vlp.run": start["run"], "mlflow.parentRunId": self.parent, **_start_tags(start)}
        began, name = int(start["time"] * 1000), start["rule"]
        if self._experiment.tracking.parent:
            tags, name = {**tags, "part": self._experiment.name}, f"{self._experiment.name}/{name}"
        return self.client.create_run(self.id, began, tags=tags, run_name=name).info.run_id

    def _texts(self, run_id: str, start: journals.Event, tags: dict[str, str]) -> None:
        """The whole config, while it is the one that the run had; the rule's log, as long as it grows."""
        if start["config_sha256"] == config_digest(self._experiment) and "vlp.config" not in tags:
            self._in_time()
            value = yaml.safe_dump(self._experiment.model_dump(mode="json"), sort_keys=False)
            self.client.log_text(run_id, value, "experiment.yaml")
            self._tags(run_id, {"vlp.config": "1"})
        log = self._folder / "logs" / f"{start['rule']}.log"
        size = log.stat().st_size if log.is_file() else 0
        if 0 < size < COPIED_BYTES and tags.get("vlp.log") != str(size):
            self._in_time()
            self.client.log_artifact(run_id, str(log), "logs")
            self._tags(run_id, {"vlp.log": str(size)})

    def _params(self, run_id: str, params: dict[str, Any], there: dict[str, str]) -> None:
        from mlflow.entities import Param

        new = [Param(_key(k), str(v)[:6000]) for k, v in params.items() if _key(k) not in there]
        for at in range(0, len(new), _PARAMS):
            self._in_time()
            self.client.log_batch(run_id, params=new[at : at + _PARAMS])

    def _metrics(
        self, run_id: str, events: list[journals.Event], live: list[journals.Event], done: int, marks: dict[str, int]
    ) -> None:
        """Send the points that the store lacks.

        Args:
            live: the journal of a training at work, whose points are not in `events` yet.
            done: lines of `events` that are in the store.
            marks: key -> its last step in the store. A killed training goes over some steps again: the same points at
                other times, which the store would take for new ones.
        """
        from mlflow.entities import Metric, RunTag

        once = [e for e in events[done:] if e["event"] == "metric" and e.get("step") is None]
        steps = journals.points([*events, *live]).values()
        new = [e for e in steps if e.get("step") is not None and e["step"] > marks.get(e["key"], -1)]
        new.sort(key=lambda e: e["step"])  # stable: a kill between two batches leaves no hole behind a mark
        points = once + new
        for at in range(0, len(points), _BATCH):
            self._in_time()
            part = points[at : at + _BATCH]
            # Points sent twice (a kill between the two writes) are one: the store's key is (key, time, step, value).
            self.client.log_batch(
                run_id,
                [Metric(_key(e["key"]), journals.number(e), int(e["time"] * 1000), e.get("step") or 0) for e in part],
            )
            marks = marks | {e["key"]: e["step"] for e in part if e.get("step") is not None}
            self.client.log_batch(run_id, tags=[RunTag("vlp.steps", to_json(marks))])

    def _files(self, run_id: str, events: list[journals.Event], done: int) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        datasets = []
        tags = {}
        for number, event in enumerate(events):
            if event["event"] not in ("input", "output", "artifact") or number < done:
                continue
            if event["event"] != "artifact":
                tags[f"{event['event']}.{_key(event['name'])}"] = f"{event['path']} {event['sha256']} {event['size']}"
            if event["event"] == "input" and event["sha256"]:
                source = str(self._folder / event["path"])
                facts = {"bytes": event["size"], "sha256": event["sha256"]}
                data = Dataset(
                    event["name"], event["sha256"][:36], "local", to_json({"uri": source}), profile=to_json(facts)
                )
                datasets.append(DatasetInput(data, [InputTag("mlflow.data.context", event["name"])]))
            file = self._folder / event["path"]
            small = (event["size"] or COPIED_BYTES) < COPIED_BYTES and file.suffix in COPIED and file.is_file()
            if event["event"] != "input" and small:
                self._in_time()
                self.client.log_artifact(run_id, str(file))
        self._tags(run_id, tags)
        if datasets:
            self._in_time()
            self.client.log_inputs(run_id, datasets)

    def _tags(self, run_id: str, tags: dict[str, str]) -> None:
        from mlflow.entities import RunTag

        self._in_time()
        self.client.log_batch(run_id, tags=[RunTag(k, v[:5000]) for k, v in tags.items()])

    def _in_time(self) -> None:
        if time.monotonic() > self._deadline:
            raise TimeoutError("the store is too slow")


def _start_tags(start: journals.Event) -> dict[str, str]:
    keep = ("config_sha256", "code_version", "lock_sha256", "host", "threads", "slurm_job")
    tags = {**start["tags"], **{k: start[k] for k in keep if start.get(k) is not None}}
    return {_key(k): str(v) for k, v in tags.items()}


def _job_tags(events: list[journals.Event]) -> dict[str, str]:
    """Of the last job that did the run's work, where it was sent elsewhere."""
    last = next((e for e in reversed(events) if e["event"] == "job"), None)
    if last is None:
        return {}
    name = "slurm_job" if last["executor"] == "slurm" else "job"
    return {"executor": last["executor"], name: str(last["job"]), "tries": str(last["tries"])}


def _status(events: list[journals.Event]) -> tuple[str, float]:
    """The state of the last attempt and when it ended; one without an end whose process is gone was killed.

    A process of another host cannot be looked for: it is gone when its journal, which gets the host's state every few
    seconds, has been silent for long. Should it speak again, the next mirroring sees it running.
    """
    last = journals.attempts(events)[-1]
    if last[-1]["event"] == "run_end":
        return last[-1]["status"], last[-1]["time"]
    heard = max(e["time"] for e in last)
    if last[0]["host"] == platform.node() and Path("/proc/self").exists():
        alive = Path(f"/proc/{last[0]['pid']}").exists()
    else:
        alive = time.time() - heard < SILENT
    return ("RUNNING" if alive else "KILLED"), heard


def _key(name: str) -> str:
    """A name in the characters that MLflow takes: R@1 -> R_at_1."""
    return re.sub(r"[^\w\-. :/]", "_", name.replace("@", "_at_"))
