import hashlib
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.tracking.conftest import Make
from vlp.config import Experiment, build
from vlp.files import sha256
from vlp.launch import record
from vlp.tracking import journal as journals
from vlp.tracking import mirror, store, track
from vlp.tracking.system import EVERY


@pytest.fixture
def tracked(make: Make) -> Experiment:
    return make(tracking={"enabled": True})


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(mirror, "PATIENCE", 300.0)  # a busy machine must not fail these tests
    yield


def _runs(experiment: Experiment) -> tuple[Any, dict[str, list[Any]]]:
    from mlflow import MlflowClient

    client = MlflowClient(store.store_uri(experiment))
    found = client.get_experiment_by_name(experiment.name)
    assert found is not None
    named: dict[str, list[Any]] = {}
    for run in client.search_runs([found.experiment_id]):
        named.setdefault(run.info.run_name or "", []).append(run)
    return client, named


def test_the_store_holds_what_the_journals_hold_once(tracked: Experiment, tmp_path: Path) -> None:
    data = tmp_path / "in.csv"
    data.write_text("a\n")
    made = tracked.folder / "quality.json"
    with track(tracked, "regions", {"tables": data}, {"quality": made}, {"x": {"y": 1}}, {"stage": "1"}) as run:
        made.write_text("{}")
        run.metric("R@1", 0.5)
        for step in range(1203):  # more than one batch
            run.series("loss", step, 1.0 / (step + 1))
        run.metric("lost", float("nan"))
    with pytest.raises(ValueError), track(tracked, "broken"):
        raise ValueError("no")
    assert mirror.sync(tracked) == 2
    client, runs = _runs(tracked)
    assert {name: len(all_) for name, all_ in runs.items()} == {"toy": 1, "regions": 1, "broken": 1}
    parent, regions = runs["toy"][0], runs["regions"][0]
    assert parent.data.params["model.hidden_size"] == "768"
    assert parent.info.status == "FAILED" == runs["broken"][0].info.status
    assert regions.info.status == "FINISHED"
    assert regions.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert regions.data.tags["stage"] == "1" and regions.data.tags["rule"] == "regions"
    assert regions.data.params == {"x.y": "1"}
    assert regions.data.tags["output.quality"].startswith("quality.json ")
    assert regions.data.metrics["R_at_1"] == 0.5
    events = [e for e in journals.read(tracked.folder / "journals" / "regions.jsonl") if e["event"] == "metric"]
    history = client.get_metric_history(regions.info.run_id, "loss")
    wanted = [(e["step"], e["value"], int(e["time"] * 1000)) for e in events if e["key"] == "loss"]
    assert sorted((m.step, m.value, m.timestamp) for m in history) == wanted
    (dataset,) = regions.inputs.dataset_inputs
    assert dataset.dataset.name == "tables" and json.loads(dataset.dataset.source) == {"uri": str(data)}
    assert json.loads(dataset.dataset.profile) == {"bytes": 2, "sha256": sha256(data)}
    assert [a.path for a in client.list_artifacts(regions.info.run_id)] == ["experiment.yaml", "quality.json"]
    assert [a.path for a in client.list_artifacts(parent.info.run_id)] == ["experiment.yaml"]
    found = client.get_experiment(parent.info.experiment_id)
    assert json.loads(found.tags["mlflow.sharedViewState.vlp"])["orderByAsc"] is True
    address = f"http://here/#/experiments/{found.experiment_id}/runs?viewStateShareKey=vlp"
    assert mirror.table_address(tracked, "http://here") == address


def test_a_dead_server_costs_one_line_and_sync_brings_the_rest(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    dead = make(tracking={"enabled": True, "uri": f"http://127.0.0.1:{port}"})
    with track(dead, "tables") as run:
        run.series("loss", 1, 0.5)
    told = capsys.readouterr().err
    assert told.count("not mirrored") == 1 and "vlp tracking sync" in told
    alive = make(tracking={"enabled": True})
    for _ in range(2):
        assert mirror.sync(alive) == 1
    client, runs = _runs(alive)
    (tables,) = runs["tables"]
    assert [m.value for m in client.get_metric_history(tables.info.run_id, "loss")] == [0.5]


def test_a_resumed_run_is_one_run_and_a_killed_one_does_not_stay_running(tracked: Experiment) -> None:
    path = tracked.folder / "journals" / "stage1.jsonl"
    with track(tracked, "stage1") as run:
        run.series("loss", 1, 0.5)
    whole = path.read_text().splitlines(keepends=True)
    killed = [line for line in whole if '"run_end"' not in line]
    path.write_text("".join(killed).replace('"pid": ', '"pid": 99999999'))
    mirror.sync(tracked)
    assert _runs(tracked)[1]["stage1"][0].info.status == "KILLED"
    with track(tracked, "stage1", resume=True) as run:
        run.series("loss", 2, 0.25)
    client, runs = _runs(tracked)
    (stage,) = runs["stage1"]
    assert stage.info.status == "FINISHED"
    assert [(m.step, m.value) for m in client.get_metric_history(stage.info.run_id, "loss")] == [(1, 0.5), (2, 0.25)]


def test_a_silent_run_of_another_host_does_not_stay_running() -> None:
    def state(silent: float, *more: journals.Event) -> str:
        now = time.time() - silent
        start = {"event": "run_start", "time": now - 5, "host": "elsewhere", "pid": 1}
        return mirror._status([start, {"event": "metric", "time": now, "key": "system/x"}, *more])[0]

    assert state(2 * EVERY) == "RUNNING"
    assert state(mirror.SILENT + 60) == "KILLED"
    adopted = {"event": "metric", "time": 0.0, "key": "loss"}  # a training's points keep their own times
    assert state(2 * EVERY, adopted) == "RUNNING"


def test_a_slow_store_is_left(tracked: Experiment, capsys: pytest.CaptureFixture[str]) -> None:
    with track(tracked, "tables"):
        pass
    capsys.readouterr()
    with pytest.raises(TimeoutError):
        mirror.mirror(tracked, [tracked.folder / "journals" / "tables.jsonl"], patience=0.0)


def test_a_parent_run_that_was_cut_short_is_filled(tracked: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    def late(store: object, run_id: str, *rest: object) -> None:
        raise TimeoutError

    with monkeypatch.context() as slow:
        slow.setattr(mirror._Store, "_params", late)
        with track(tracked, "tables"):
            pass
    assert _runs(tracked)[1]["toy"][0].data.params == {}
    mirror.sync(tracked)
    client, runs = _runs(tracked)
    (parent,) = runs["toy"]
    assert parent.data.params["model.hidden_size"] == "768" and parent.info.status == "FINISHED"
    assert [a.path for a in client.list_artifacts(parent.info.run_id)] == ["experiment.yaml"]


def _point(step: int, value: float, at: float) -> dict[str, Any]:
    return {"event": "metric", "key": "loss", "step": step, "value": value, "time": at}


def test_a_training_is_seen_while_it_runs_and_again_once(tracked: Experiment) -> None:
    path, own = tracked.folder / "journals" / "stage1.jsonl", tracked.folder / "runs" / "stage1" / "journal.jsonl"
    training = journals.Journal(own)
    with track(tracked, "stage1") as run, run.training(own):
        training.write_all([_point(step, 1.0 / step, 100.0 + step) for step in (1, 2, 3)])
        training.write("checkpoint", step=2, path="step-2", sha256="a" * 64)
        mirror.mirror(tracked, [path])
        client, runs = _runs(tracked)
        (live,) = runs["stage1"]
        assert live.info.status == "RUNNING"
        assert [m.step for m in client.get_metric_history(live.info.run_id, "loss")] == [1, 2, 3]
        # Killed after step 3, back to 2: the same values again, at other times.
        training.write_all([_point(step, 1.0 / step, 200.0 + step) for step in (3, 4)])
        mirror.mirror(tracked, [path])
    for _ in range(2):
        mirror.sync(tracked)
    (done,) = _runs(tracked)[1]["stage1"]
    history = client.get_metric_history(done.info.run_id, "loss")
    assert [(m.step, m.value, m.timestamp) for m in history] == [
        (1, 1.0, 101000),
        (2, 1 / 2, 102000),
        (3, 1 / 3, 103000),
        (4, 1 / 4, 204000),
    ]
    (model,) = client.search_logged_models([done.info.experiment_id])
    assert (
        model.name == "stage1-step-2" and model.tags["sha256"] == "a" * 64 and model.source_run_id == done.info.run_id
    )


def test_the_points_of_a_failed_training_are_kept(tracked: Experiment) -> None:
    own = tracked.folder / "runs" / "stage1" / "journal.jsonl"
    with pytest.raises(ValueError), track(tracked, "stage1") as run, run.training(own):
        journals.Journal(own).write_all([_point(1, 0.5, 101.0)])
        raise ValueError("no")
    client, runs = _runs(tracked)
    (failed,) = runs["stage1"]
    assert failed.info.status == "FAILED"
    assert [m.value for m in client.get_metric_history(failed.info.run_id, "loss")] == [0.5]


def test_a_final_model_is_a_version_in_the_registry(tracked: Experiment) -> None:
    out = tracked.folder / "models" / "stage1"
    for weights in ("first", "second", "second"):
        with track(tracked, "stage1", outputs={"model": out}, tags={"stage": "stage1"}):
            out.mkdir(parents=True, exist_ok=True)
            (out / "model.safetensors").write_text(weights)
            (out / "config.json").write_text("{}")
    client, runs = _runs(tracked)
    name = f"{tracked.name}.stage1"
    versions = sorted(client.search_model_versions(f"name='{name}'"), key=lambda v: int(v.version))
    assert [v.tags["sha256"] for v in versions] == [
        sha256(out / "model.safetensors") if w == "second" else hashlib.sha256(w.encode()).hexdigest()
        for w in ("first", "second")
    ]
    assert versions[0].tags["stage"] == "stage1" and versions[0].tags["path"] == str(out.resolve())
    assert client.get_model_version_by_alias(name, "final").version == versions[1].version
    assert client.get_model_version_by_alias(name, "final").run_id in {r.info.run_id for r in runs["stage1"]}
    first = client.list_artifacts(versions[0].run_id or "", "model")
    assert [a.path for a in first] == ["model/config.json"]


def test_each_run_has_its_config_its_log_and_its_job(tracked: Experiment, make: Make) -> None:
    out = tracked.folder / "logs" / "predict-x.log"
    out.parent.mkdir(parents=True)
    out.write_text("first line\n")
    jobs = tracked.folder / "runs" / "predict-x"
    sent = record.Record("t", "n", "k", "slurm", 1, "success", job="4711", tries=2)
    record.write(jobs, sent)
    with track(tracked, "predict-x"):
        pass
    out.write_text("first line\nsecond line\n")
    mirror.sync(tracked)
    client, runs = _runs(tracked)
    (run,) = runs["predict-x"]
    assert (run.data.tags["slurm_job"], run.data.tags["tries"], run.data.tags["executor"]) == ("4711", "2", "slurm")
    place = Path(client.download_artifacts(run.info.run_id, ""))
    assert (place / "logs" / "predict-x.log").read_text() == "first line\nsecond line\n"
    value = yaml.safe_load((place / "experiment.yaml").read_text())
    assert build(value, "mirrored") == tracked
    other = make(tracking={"enabled": True}, seed=9)  # the file of the run is that of its own config
    with track(other, "tables"):
        pass
    record.write(jobs, sent, status="taken")
    with track(other, "predict-x"):
        pass
    (tables,) = _runs(tracked)[1]["tables"]
    assert "seed: 9" in Path(client.download_artifacts(tables.info.run_id, "experiment.yaml")).read_text()
    last = max(_runs(tracked)[1]["predict-x"], key=lambda r: r.info.start_time)
    assert "slurm_job" not in last.data.tags  # that job was of the run before


def test_parts_of_a_sweep_are_children_of_one_parent_with_the_varied_keys(make: Make, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'sweep.db'}"
    for n, row in enumerate(("full", "- tags")):
        varied = {"row": row, "model.use_tags": str(n == 0)}
        tracking = {"enabled": True, "uri": uri, "parent": "table", "varied": varied}
        with track(make(name=f"run-{n}", tracking=tracking), "results"):
            pass
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    found = client.get_experiment_by_name("table")
    assert found is not None
    runs = {r.info.run_name: r for r in client.search_runs([found.experiment_id])}
    assert sorted(map(str, runs)) == ["run-0/results", "run-1/results", "table"]
    children = [run for name, run in runs.items() if name != "table"]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {runs["table"].info.run_id}
    assert runs["run-1/results"].data.params["model.use_tags"] == "False"
    assert runs["run-1/results"].data.params["row"] == "- tags"
    columns = json.loads(found.tags["mlflow.sharedViewState.vlp"])["selectedColumns"]
    assert columns[-2:] == ["params.`row`", "params.`model.use_tags`"]
