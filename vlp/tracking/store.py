"""Where MLflow keeps an experiment: its address, its place there, and what becomes of a store that is damaged or moved.

The journals are the truth, so a store that cannot be used is set aside and made anew of them.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import logging
import os
import re
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse
from urllib.request import url2pathname

from vlp.config import Experiment
from vlp.files import lock, to_json

if TYPE_CHECKING:
    from mlflow import MlflowClient

SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # with the defaults one call to a dead server takes minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "3",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
PLAN = "plan.yaml"
"""Of a sweep, in its folder."""
ARTIFACTS = "mlartifacts"
FILE = "mlflow.db"
OWN = "vlp.experiment"
"""Tag of an experiment in MLflow: its name in the config. The name there may be changed in the UI."""
LOCK_SECONDS = 60.0
"""So long another process is waited for."""
SQLITE_SECONDS = 5.0
_WHERE = {
    "experiments": ("artifact_location",),
    "runs": ("artifact_uri",),
    "datasets": ("dataset_source",),
    "logged_models": ("artifact_location",),
    "logged_model_tags": ("tag_value",),
    "model_versions": ("source", "storage_location"),
    "model_version_tags": ("value",),
}
"""Table -> its columns that hold absolute paths and URIs of the experiment's folder."""
_DAMAGED = re.compile(
    r"malformed|not a database|no such (table|column)|out-of-date database schema|Can't locate revision"
)
_times_anew: dict[Path, int] = {}
"""Store -> how often this process has set it aside: MLflow holds a store by its address for as long as it lives."""


def top(experiment: Experiment) -> Path:
    """The folder of the store's files: the experiment's, or of a sweep's part the sweep's."""
    folder = experiment.folder.resolve()
    within = experiment.tracking.parent and (folder.parent / PLAN).exists()
    return folder.parent if within else folder


def file_of(experiment: Experiment) -> Path | None:
    """The store's file, where the experiment has one of its own; None: the config names another store."""
    return None if experiment.tracking.uri else top(experiment) / FILE


def store_uri(experiment: Experiment) -> str:
    """The configured tracking URI, else that of the experiment's own file."""
    path = file_of(experiment)
    return experiment.tracking.uri or "" if path is None else sqlite_uri(path)


def sqlite_uri(path: Path) -> str:
    """Of an absolute path. SQLAlchemy takes it as it is, whatever is in it, but cuts it at a question mark."""
    folder = _linked(path.parent) if "?" in str(path) else path.parent
    return f"sqlite:///{folder}/{'./' * _times_anew.get(path, 0)}{path.name}"


@cache
def _linked(folder: Path) -> Path:
    """A name without a question mark for a folder, as long as this process lives."""
    place = Path(tempfile.mkdtemp(prefix="vlp-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    link = place / "store"
    link.symlink_to(folder)
    return link


def client_class(uri: str) -> type[MlflowClient]:
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    if uri.startswith("sqlite:"):
        import mlflow.store.tracking.sqlalchemy_store  # noqa: F401  (imported by the client when it opens the store)
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return MlflowClient


@contextlib.contextmanager
def locked(path: Path, mode: str = "a") -> Iterator[None]:
    """Raises TimeoutError: another process has it for long."""
    with path.open(mode) as handle:
        lock(handle, LOCK_SECONDS)
        yield


def name_of(experiment: Experiment) -> str:
    """In MLflow. The parts of a sweep are one experiment there, beside each other in the sweep's folder."""
    return experiment.tracking.parent or experiment.name


def find_experiment(client: MlflowClient, experiment: Experiment) -> Any | None:
    """MLflow's experiment, under whatever name it has by now, also one that was deleted in the UI."""
    from mlflow.entities import ViewType

    name = name_of(experiment)
    found = client.search_experiments(ViewType.ALL, filter_string=f"tags.`{OWN}` = '{name}'")
    if found:
        return min(found, key=lambda e: (e.lifecycle_stage != "active", int(e.experiment_id)))
    named = client.get_experiment_by_name(name)
    return named if named is not None and named.tags.get(OWN, name) == name else None


def open_experiment(client: MlflowClient, experiment: Experiment, tags: dict[str, Any]) -> str:
    """The id of MLflow's experiment: found, restored if it was deleted, with its artefacts beside the store; or made.

    Args:
        tags: of a new one.
    """
    artifacts = (top(experiment) / ARTIFACTS).as_uri() if store_uri(experiment).startswith("sqlite:") else None
    found = find_experiment(client, experiment)
    if found is None:
        return _make(client, experiment, artifacts, {**tags, OWN: name_of(experiment)})
    if found.lifecycle_stage != "active":
        client.restore_experiment(found.experiment_id)
    if OWN not in found.tags:
        client.set_experiment_tag(found.experiment_id, OWN, name_of(experiment))
    path = file_of(experiment)
    if path is not None and artifacts is not None and found.artifact_location != artifacts:
        _relocate(path, found.experiment_id, found.artifact_location, artifacts)
    return found.experiment_id


def _make(client: MlflowClient, experiment: Experiment, artifacts: str | None, tags: dict[str, Any]) -> str:
    from mlflow.exceptions import MlflowException

    name = name_of(experiment)
    for number in itertools.count(1):  # the name may be that of another one, which was renamed to it
        try:
            return client.create_experiment(
                name if number == 1 else f"{name} ({number})", artifact_location=artifacts, tags=tags
            )
        except MlflowException as error:
            there = find_experiment(client, experiment)  # another process may have been faster
            if there is not None:
                return there.experiment_id
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
    raise AssertionError


def find_run(client: MlflowClient, id: str, tag: str, value: str) -> str | None:
    """The run with this tag; one that was deleted in the UI is restored: a second one would stand beside it."""
    from mlflow.entities import ViewType

    runs = client.search_runs([id], f"tags.`{tag}` = '{value}'", ViewType.ALL, max_results=10)
    if not runs:
        return None
    run = min(runs, key=lambda r: (r.info.lifecycle_stage != "active", r.info.start_time))
    if run.info.lifecycle_stage != "active":
        client.restore_run(run.info.run_id)
    return run.info.run_id


def _relocate(path: Path, id: str, old: str, new: str) -> None:
    """Of a store whose folder was moved or copied: what it says of its files is of the files beside it."""
    before, after = (Path(url2pathname(urlparse(uri).path)).parent for uri in (old, new))
    pairs = [(f"{old}/", f"{new}/"), (f"{before}/", f"{after}/")]
    with contextlib.closing(sqlite3.connect(path, timeout=5)) as store, store:
        store.execute("UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?", (new, int(id)))
        for table, columns in _WHERE.items():
            for column, (was, now) in itertools.product(columns, pairs):
                with contextlib.suppress(sqlite3.OperationalError):  # another version of MLflow has no such column
                    store.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (was, now))


def make_ready(experiment: Experiment) -> None:
    """Before MLflow opens the experiment's own store, which it tries for long: set it aside if it is no database or
    shorter than it says.

    Raises:
        sqlite3.OperationalError: another program keeps it locked.
    """
    path = file_of(experiment)
    if path is None or not path.is_file() or not path.stat().st_size:
        return
    if _is_cut(path):
        _set_aside(path, "damaged")
        return
    with contextlib.closing(sqlite3.connect(path, timeout=SQLITE_SECONDS, isolation_level=None)) as found:
        found.execute("BEGIN IMMEDIATE")
        found.execute("ROLLBACK")


def _is_cut(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(100)
    if not head.startswith(b"SQLite format 3\0"):
        return True
    size = int.from_bytes(head[16:18], "big")
    whole = (65536 if size == 1 else size) * int.from_bytes(head[28:32], "big")
    said = head[24:28] == head[92:96]  # else another program wrote it last, and the count of pages may be old
    return said and path.stat().st_size < whole and not path.with_name(f"{path.name}-wal").exists()


def set_aside_if_damaged(experiment: Experiment, error: Exception) -> bool:
    """Set the experiment's own store aside if that is what an error comes of. Returns whether it was."""
    path = file_of(experiment)
    if path is None or not path.is_file() or not _DAMAGED.search(str(error)):
        return False
    _set_aside(
        path, "of another version of MLflow" if "revision" in str(error) or "schema" in str(error) else "damaged"
    )
    return True


def _set_aside(path: Path, why: str) -> None:
    numbers = itertools.count(1)
    aside = next(p for n in numbers if not (p := path.with_name(f"{path.name}.damaged-{n}")).exists())
    path.rename(aside)
    for end in ("-journal", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + end).rename(aside.with_name(aside.name + end))
    _times_anew[path] = _times_anew.get(path, 0) + 1
    print(
        f"vlp: {path}: {why}; it is kept as {aside.name} and made anew of the journals, all of them by "
        "`vlp tracking sync`",
        file=sys.stderr,
    )


def view(key: str, columns: list[str]) -> dict[str, str]:
    """Tags of an experiment that the UI reads: its training view, and a shared view of the run table."""
    state = {"orderByKey": "attributes.start_time", "orderByAsc": True, "selectedColumns": columns}
    return {
        "mlflow.experimentKind": "custom_model_development",
        f"mlflow.sharedViewState.{key}": to_json(state),
    }
