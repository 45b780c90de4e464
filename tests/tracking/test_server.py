"""A real MLflow server that dies, hangs, answers 500 and comes back while a run is at work."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tracking.conftest import Make
from tests.tracking.server import Server
from vlp.tracking import journal as journals
from vlp.tracking import mirror, store, track


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    here = Server(tmp_path / "server")
    here.start()
    yield here
    here.close()


@pytest.mark.slow
def test_every_point_arrives_once_whatever_the_server_does(make: Make, server: Server) -> None:
    experiment = make(tracking={"enabled": True, "uri": server.uri})
    own = experiment.folder / "runs" / "stage1" / "journal.jsonl"
    training, written = journals.Journal(own), 0

    def log(count: int) -> None:
        nonlocal written
        for _ in range(count):
            written += 1
            training.metrics(written, {"loss": 1.0 / written, "learning_rate": 0.5})
            time.sleep(0.01)

    driver = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    follower = threading.Thread(target=mirror.follow, args=(experiment, driver.pid, 0.2))
    with track(experiment, "stage1") as run, run.training(own):
        follower.start()
        log(50)
        server.kill()
        log(50)
        server.fail()
        log(50)
        server.start()
        log(50)
        server.stop()
        log(50)
        server.go_on()
    server.kill()  # and it is away when the run ends
    driver.kill()
    driver.wait()
    follower.join()
    server.start()
    for _ in range(2):
        mirror.sync(experiment)
    from mlflow import MlflowClient

    client = MlflowClient(server.uri)
    found = client.get_experiment_by_name(experiment.name)
    assert found is not None
    runs = {r.info.run_name: r.info for r in client.search_runs([found.experiment_id])}
    assert {name: info.status for name, info in runs.items()} == {"toy": "FINISHED", "stage1": "FINISHED"}
    for key in ("loss", "learning_rate"):
        points = client.get_metric_history(runs["stage1"].run_id, key)
        assert sorted(p.step for p in points) == list(range(1, written + 1)), key


@pytest.mark.slow
def test_eight_processes_start_on_a_fresh_store(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.tracking.conftest import toy\n"
        "from vlp.tracking import mirror, track\n"
        "mirror.PATIENCE = 300.0\n"
        "with track(toy(Path(sys.argv[1]), tracking={'enabled': True}), f'rule{sys.argv[2]}') as run:\n"
        "    run.metric('x', float(sys.argv[2]))\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    started = [
        subprocess.Popen([*command, str(i)], stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
        for i in range(8)
    ]
    assert [(p.communicate()[1], p.returncode) for p in started] == [("", 0)] * 8
    from mlflow import MlflowClient

    from tests.tracking.conftest import toy

    client = MlflowClient(store.store_uri(toy(tmp_path)))
    found = client.get_experiment_by_name("toy")
    assert found is not None
    runs = client.search_runs([found.experiment_id])
    assert sorted(r.data.metrics["x"] for r in runs if "x" in r.data.metrics) == list(range(8))
    assert len(runs) == 9 and {r.info.status for r in runs} == {"FINISHED"}
