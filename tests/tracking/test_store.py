"""The store of MLflow as people treat it: renamed and deleted in the UI, cut, locked, moved, in folders of any name."""

import contextlib
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.tracking.conftest import Make, toy
from vlp.config import Experiment, load
from vlp.errors import VlpError
from vlp.tracking import mirror, store, track


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(mirror, "PATIENCE", 300.0)
    yield


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with two runs in its store: to make one takes MLflow a second."""
    experiment = toy(tmp_path_factory.mktemp("made"), tracking={"enabled": True})
    _work(experiment)
    return experiment.folder


@pytest.fixture
def tracked(make: Make, made: Path) -> Experiment:
    experiment = make(tracking={"enabled": True})
    shutil.copytree(made, experiment.folder)
    mirror.sync(experiment)
    return experiment


def _work(experiment: Experiment, *rules: str) -> None:
    for rule in rules or ("tables", "regions"):
        made = experiment.folder / f"{rule}.json"
        with track(experiment, rule, outputs={"made": made}) as run:
            made.write_text("{}")
            run.metric("recall", 0.5)


def _client(experiment: Experiment) -> Any:
    return store.client_class("sqlite:")(store.store_uri(experiment))


def _all(experiment: Experiment) -> dict[str, list[str]]:
    """Name of each experiment of MLflow, but for its own `Default` -> its runs; everything is active."""
    from mlflow.entities import ViewType

    client, found = _client(experiment), {}
    for one in client.search_experiments(ViewType.ALL):
        if one.experiment_id != "0":
            assert one.lifecycle_stage == "active"
            runs = client.search_runs([one.experiment_id], run_view_type=ViewType.ALL)
            assert {r.info.lifecycle_stage for r in runs} <= {"active"}
            found[one.name] = sorted(r.info.run_name for r in runs)
    return found


WHOLE = ["regions", "tables", "toy"]


def test_what_is_deleted_or_renamed_in_the_ui_stays_one(tracked: Experiment) -> None:
    client = _client(tracked)
    found = client.get_experiment_by_name("toy")
    for run in client.search_runs([found.experiment_id]):
        client.delete_run(run.info.run_id)
    mirror.sync(tracked)
    assert _all(tracked) == {"toy": WHOLE}
    client.delete_experiment(found.experiment_id)
    assert mirror.table_address(tracked, "http://here").startswith("http://here/#/experiments/")
    mirror.sync(tracked)
    assert _all(tracked) == {"toy": WHOLE}
    client.rename_experiment(found.experiment_id, "mine")
    for run in client.search_runs([found.experiment_id]):
        client.update_run(run.info.run_id, name=f"my {run.info.run_name}")
    _work(tracked, "tables", "phrases")  # a rule that runs again is a run of its own
    mirror.sync(tracked)
    assert _all(tracked) == {"mine": ["my regions", "my tables", "my toy", "phrases", "tables"]}
    client.delete_experiment(found.experiment_id)
    client.restore_experiment(found.experiment_id)
    mirror.sync(tracked)
    assert _all(tracked) == {"mine": ["my regions", "my tables", "my toy", "phrases", "tables"]}


def test_an_experiment_that_was_renamed_to_this_ones_name_is_left_alone(tmp_path: Path, make: Make) -> None:
    uri = f"sqlite:///{tmp_path / 'both.db'}"
    first = make(name="first", tracking={"enabled": True, "uri": uri})
    _work(first)
    client = _client(first)
    client.rename_experiment(client.get_experiment_by_name("first").experiment_id, "second")
    second = make(name="second", tracking={"enabled": True, "uri": uri})
    _work(second, "tables")
    mirror.sync(second)
    mirror.sync(first)
    assert _all(first) == {"second": ["first", "regions", "tables"], "second (2)": ["second", "tables"]}


def test_a_store_without_our_tag_is_taken_as_before(tracked: Experiment) -> None:
    with contextlib.closing(sqlite3.connect(tracked.folder / "mlflow.db")) as db, db:
        db.execute("DELETE FROM experiment_tags WHERE key = ?", (store.OWN,))
    mirror.sync(tracked)
    assert _all(tracked) == {"toy": WHOLE}
    assert _client(tracked).get_experiment_by_name("toy").tags[store.OWN] == "toy"


def _cut(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2 + 17)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _no_database(path: Path) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\n" * 30)


def _flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for at in range(4096, len(data), 4096):  # the head of every page but the first
        data[at : at + 100] = b"\xff" * 100
    path.write_bytes(data)


def _half_made(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE alembic_version SET version_num = 'nobody knows'")


@pytest.mark.parametrize("damage", [_cut, _empty, _no_database, _flipped, _half_made])
def test_a_damaged_store_is_made_anew(
    damage: Any, tracked: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a folder that no client of this process has open, as the next command finds it."""
    moved = load(_moved(tracked, tmp_path / "elsewhere"))
    damage(moved.folder / "mlflow.db")
    capsys.readouterr()
    mirror.sync(moved)
    said = capsys.readouterr().err
    assert _all(moved) == {"toy": WHOLE}
    if damage is not _empty:
        assert "it is kept as mlflow.db.damaged-1" in said and (moved.folder / "mlflow.db.damaged-1").exists()
    mirror.sync(moved)
    assert "damaged" not in capsys.readouterr().err


def test_a_locked_store_costs_one_line(tracked: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "SQLITE_SECONDS", 0.1)
    with contextlib.closing(sqlite3.connect(tracked.folder / "mlflow.db", isolation_level=None)) as db:
        db.execute("BEGIN EXCLUSIVE")
        with pytest.raises(VlpError, match=r"mlflow\.db: not mirrored \(.*locked.*run `vlp tracking sync` again"):
            mirror.sync(tracked)
        db.execute("ROLLBACK")
    mirror.sync(tracked)
    assert _all(tracked) == {"toy": WHOLE}


def test_a_process_that_holds_the_lock_for_long_is_named(tracked: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "LOCK_SECONDS", 0.2)
    with (
        store.locked(tracked.folder / ".mlflow.lock"),
        pytest.raises(VlpError, match=r"another process holds .*\.mlflow\.lock"),
    ):
        mirror.sync(tracked)


def _moved(experiment: Experiment, to: Path) -> Path:
    """Its results folder copied, with the config beside that the Snakefile writes."""
    import yaml

    shutil.copytree(experiment.folder, to)
    (to / "experiment.yaml").write_text(yaml.safe_dump(experiment.model_dump(mode="json")))
    return to / "experiment.yaml"


def test_a_copied_folder_has_a_store_of_its_own(tracked: Experiment, tmp_path: Path) -> None:
    before = sorted(p for p in tracked.folder.rglob("*") if p.is_file())
    copy = load(_moved(tracked, tracked.results / "a copy, #2"))
    assert copy.folder == tracked.results.resolve() / "a copy, #2" and copy.name == "toy"
    _work(copy, "phrases")
    mirror.sync(copy)
    assert _all(copy) == {"toy": sorted([*WHOLE, "phrases"])}
    assert _all(tracked) == {"toy": WHOLE}
    assert sorted(p for p in tracked.folder.rglob("*") if p.is_file()) == before
    client = _client(copy)
    (found,) = [e for e in client.search_experiments() if e.experiment_id != "0"]
    assert found.artifact_location == (copy.folder / "mlartifacts").as_uri()
    for run in client.search_runs([found.experiment_id]):
        assert run.info.artifact_uri.startswith(found.artifact_location)
        assert client.list_artifacts(run.info.run_id)
    with contextlib.closing(sqlite3.connect(copy.folder / "mlflow.db")) as db:
        told = "\n".join(line for line in db.iterdump() if "INSERT" in line)
    assert f"{tracked.folder.resolve()}/" not in told.replace(f"{copy.folder}/", "")


@pytest.mark.parametrize("name", ["a#b", "100%", "what?", "a%20b & c=d", "a%3Fb?ä'"])
def test_a_results_path_of_any_name_holds_everything(name: str, tmp_path: Path, make: Make) -> None:
    here = tmp_path / name
    experiment = toy(here, tracking={"enabled": True})
    _work(experiment, "tables")
    assert _all(experiment) == {"toy": ["tables", "toy"]}
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert (experiment.folder / "mlflow.db").is_file()
    client = _client(experiment)
    (found,) = [e for e in client.search_experiments() if e.experiment_id != "0"]
    run = next(r for r in client.search_runs([found.experiment_id]) if r.info.run_name == "tables")
    assert [a.path for a in client.list_artifacts(run.info.run_id)] == ["experiment.yaml", "tables.json"]
    assert (experiment.folder / "mlartifacts" / run.info.run_id / "artifacts" / "tables.json").is_file()
