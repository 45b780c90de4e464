"""Requests that come together go out as one array; a leader that died is undone."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.launch import jobs
from vlp.errors import VlpError
from vlp.launch import gather, refusals
from vlp.launch.gather import Request
from vlp.launch.scheduler import Answer, Slurm
from vlp.launch.task import Task

POLICY = (
    "Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"
)


class Cluster:
    """Takes arrays and notes them; its queue holds `comments`."""

    def __init__(self) -> None:
        self.largest = 1001
        self.room = 10**6
        """So many jobs it still takes."""
        self.down = 0
        """So many submissions meet no controller; the first of them is taken all the same."""
        self.arrays: list[list[str]] = []
        self.comments: dict[str, str] = {}
        self.cancelled: list[str] = []

    def send(self, tasks: list[Task], own: dict[str, Any], place: Path, comment: str) -> list[tuple[str, str]]:
        if own.get("partition") == "nowhere":
            raise RuntimeError("invalid partition")
        if self.down:
            self.down -= 1
            self.comments[comment] = "77"
            raise RuntimeError("sbatch: error: Batch job submission failed: Socket timed out on send/recv operation")
        if len(tasks) > self.largest:
            raise RuntimeError("sbatch: error: Batch job submission failed: Invalid job array specification")
        if len(tasks) > self.room:
            raise RuntimeError(f"sbatch: error: QOSMaxSubmitJobPerUserLimit\nsbatch: error: {POLICY}")
        self.room -= len(tasks)
        self.arrays.append([t.token for t in tasks])
        return [(f"{len(self.arrays)}_{i}", str(place)) for i in range(len(tasks))]

    def ask(self, command: Sequence[str]) -> Answer | None:
        if command[0] == "scancel":
            self.cancelled.append(command[1])
            return Answer(0, "", "")
        if command[0] == "scontrol":
            return Answer(0, f"SLURM config\nMaxArraySize            = {self.largest}\nMaxJobCount = 9\n", "")
        if "--me" in command:
            return Answer(0, "".join(f"{job}|{comment}\n" for comment, job in self.comments.items()), "")
        return Answer(1, "", "Invalid job id specified" if self.cancelled else "down")


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setattr(gather, "WINDOW", 0.6)
    monkeypatch.setattr(gather, "PAUSE", 0.3)
    monkeypatch.setattr(gather, "TURN", 0.05)
    return Cluster()


def request(folder: Path, token: str, **own: Any) -> Request:
    return Request(own, Task(jobs.about, {"value": 1.0}, 1, folder, token, folder))


def together(folder: Path, cluster: Cluster, wanted: dict[str, Request]) -> dict[str, Any]:
    """What each sender got, or the error that it met."""
    found: dict[str, Any] = {}

    def one(token: str, asked: Request) -> None:
        try:
            found[token] = gather.submit(folder, token, asked, Slurm(cluster.ask), cluster.send)[0]
        except VlpError as error:
            found[token] = str(error)

    threads = [threading.Thread(target=one, args=item) for item in wanted.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return found


def test_what_comes_together_is_one_array_for_each_kind_of_resources(tmp_path: Path, cluster: Cluster) -> None:
    wanted = {t: request(tmp_path, t, minutes=10) for t in "abc"} | {"d": request(tmp_path, "d", minutes=20)}
    found = together(tmp_path, cluster, wanted)
    assert len(set(found.values())) == 4 and all("_" in job for job in found.values())
    assert sorted(t for array in cluster.arrays for t in array) == list("abcd")
    assert {tuple(a) for a in cluster.arrays if "d" in a} == {("d",)}


def test_an_array_that_is_not_taken_is_an_error_of_its_members_alone(tmp_path: Path, cluster: Cluster) -> None:
    wanted = {"a": request(tmp_path, "a"), "b": request(tmp_path, "b", partition="nowhere")}
    found = together(tmp_path, cluster, wanted)
    assert found == {"a": "1_0", "b": "invalid partition"}


def test_the_batch_of_a_leader_that_died_is_cancelled_and_asked_for_again(tmp_path: Path, cluster: Cluster) -> None:
    """It had sent the array and not yet answered: nobody knows the ids, and submitit's files may be missing."""
    import cloudpickle

    batch = tmp_path / "batch-dead"
    batch.mkdir()
    for token in "ab":  # the sender of b is dead too
        (batch / f"{token}.request").write_bytes(cloudpickle.dumps(request(tmp_path, token)))
    cluster.comments["batch-dead"] = "7"
    found = together(tmp_path, cluster, {"a": request(tmp_path, "a")})
    assert cluster.cancelled[0] == "7" and not batch.exists()
    assert found == {"a": "1_0"} and cluster.arrays == [["a"]]


def test_a_request_that_is_taken_back_is_not_sent(tmp_path: Path, cluster: Cluster) -> None:
    import cloudpickle

    (tmp_path / "b.request").write_bytes(cloudpickle.dumps(request(tmp_path, "b")))
    assert gather.withdraw(tmp_path, "b") is None
    assert together(tmp_path, cluster, {"a": request(tmp_path, "a")}) == {"a": "1_0"}
    assert cluster.arrays == [["a"]] and gather.withdraw(tmp_path, "a") == "1_0"


def test_an_array_is_no_larger_than_the_cluster_takes(tmp_path: Path, cluster: Cluster) -> None:
    cluster.largest = 3
    found = together(tmp_path, cluster, {t: request(tmp_path, t) for t in "abcdefgh"})
    assert sorted(len(array) for array in cluster.arrays) == [2, 3, 3]
    assert sorted(t for array in cluster.arrays for t in array) == list("abcdefgh") and len(set(found.values())) == 8


def test_an_array_that_is_refused_as_too_large_is_halved(
    tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Slurm, "largest_array", lambda self: None)  # SLURM does not say
    cluster.largest = 2
    together(tmp_path, cluster, {t: request(tmp_path, t) for t in "abcde"})
    assert sorted(t for array in cluster.arrays for t in array) == list("abcde")
    assert max(map(len, cluster.arrays)) == 2


def test_a_full_queue_gets_what_it_takes_and_the_rest_later(
    tmp_path: Path, cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.room = 3
    timer = threading.Timer(4.0, lambda: setattr(cluster, "room", 100))
    timer.start()
    found = together(tmp_path, cluster, {t: request(tmp_path, t) for t in "abcdef"})
    assert sorted(t for array in cluster.arrays for t in array) == list("abcdef") and len(set(found.values())) == 6
    assert "SLURM takes it not yet (QOSMaxSubmitJobPerUserLimit; Batch job submission failed: Job violates" in (
        capsys.readouterr().out
    )


def test_no_controller_is_waited_for_and_what_it_took_is_undone(tmp_path: Path, cluster: Cluster) -> None:
    cluster.down = 2
    assert together(tmp_path, cluster, {"a": request(tmp_path, "a")}) == {"a": "1_0"}
    assert cluster.cancelled[0] == "77" and cluster.arrays == [["a"]]


def test_a_refusal_that_lasts_too_long_is_an_error(
    tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "PATIENCE", 0.5)
    cluster.room = 0
    found = together(tmp_path, cluster, {"a": request(tmp_path, "a")})
    assert "job submit limit" in found["a"] and "That has lasted for 0 hours" in found["a"]
    assert not list(tmp_path.glob("*.request"))
