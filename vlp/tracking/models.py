"""Models in MLflow: every checkpoint a logged model, a rule's final model a version in the registry.

Weights stay where they are; MLflow gets their path, digest and size, and the small files of the model directory.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlp.config import Experiment
from vlp.files import sha256
from vlp.tracking import journal as journals

if TYPE_CHECKING:
    from mlflow import MlflowClient

ALIAS = "final"
PLACE = "model"
WEIGHTS = "model.safetensors"
SMALL = ("config.json", "inputs.json", "README.md")
_KIND = "vlp.model"


class Models:
    """The models of one MLflow experiment."""

    def __init__(self, client: MlflowClient, id: str, experiment: Experiment, in_time: Callable[[], None]) -> None:
        self._client, self._id, self._experiment, self._in_time = client, id, experiment, in_time
        self._folder = experiment.folder.resolve()

    def bring(
        self,
        run_id: str,
        start: journals.Event,
        events: list[journals.Event],
        live: list[journals.Event],
        outputs: list[journals.Event],
    ) -> None:
        """Add what the store lacks.

        Args:
            events, live: the run's journal, and that of its training while it is at work.
            outputs: the output events that are new.
        """
        saved = {e["sha256"]: e for e in [*events, *live] if e["event"] == "checkpoint"}
        if saved:
            there = self._logged(run_id)
            for digest, e in saved.items():
                if digest not in there:
                    tags = {"path": e["path"], "step": str(e["step"]), "status": "checkpoint"}
                    self._log(run_id, f"{_name(start['rule'])}-step-{e['step']}", digest, tags)
        for e in outputs:
            folder = self._folder / e["path"]
            if e["name"] == PLACE and (folder / WEIGHTS).is_file():
                self._register(run_id, start, folder, sha256(folder / WEIGHTS))

    def _register(self, run_id: str, start: journals.Event, folder: Path, digest: str) -> None:
        """The model directory as a logged model and as a version of `experiment.model`, with the alias `final`."""
        name = f"{self._experiment.name}.{folder.name}"
        facts = {"path": str(folder), "sha256": digest, "bytes": str((folder / WEIGHTS).stat().st_size)}
        tags = {**facts, **{k: str(v) for k, v in start["tags"].items()}}
        model = self._logged(run_id).get(digest) or self._log(run_id, _name(folder.name), digest, facts)
        search = self._client.search_model_versions  # by its run too: in the UI a model can have another name by now
        held = {v.tags.get("sha256"): v for by in (f"name='{name}'", f"run_id='{run_id}'") for v in search(by)}
        version = held.get(digest)
        if version is None:
            self._in_time()
            for file in SMALL:
                if (folder / file).is_file():
                    self._client.log_artifact(run_id, str(folder / file), PLACE)
            if not self._client.search_registered_models(f"name='{name}'"):
                self._client.create_registered_model(name, tags={"experiment": self._experiment.name})
            source = f"{self._client.get_run(run_id).info.artifact_uri}/{PLACE}"
            version = self._client.create_model_version(name, source, run_id, tags, model_id=model)
        self._client.set_registered_model_alias(version.name, ALIAS, version.version)

    def _logged(self, run_id: str) -> dict[str, str]:
        """Digest -> id of the run's logged models."""
        found: dict[str, str] = {}
        token = None
        while True:
            page = self._client.search_logged_models([self._id], f"source_run_id = '{run_id}'", page_token=token)
            found |= {m.tags["sha256"]: m.model_id for m in page if "sha256" in (m.tags or {})}
            token = page.token
            if not token:
                return found

    def _log(self, run_id: str, name: str, digest: str, tags: dict[str, Any]) -> str:
        from mlflow.entities import LoggedModelOutput

        self._in_time()
        every = {**tags, "sha256": digest, "method": self._experiment.model.method}
        model = self._client.create_logged_model(self._id, name, run_id, tags=every, model_type=_KIND)
        self._client.log_outputs(run_id, [LoggedModelOutput(model.model_id, int(tags.get("step", 0)))])
        self._client.finalize_logged_model(model.model_id, "READY")
        return model.model_id


def _name(text: str) -> str:
    """In the characters that MLflow takes in the name of a logged model."""
    return re.sub(r"[/:.%\"']", "-", text)
