"""The driver against a scheduler that lies, is late, silent or gone: mocked, with a clock of its own."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.launch import jobs
from vlp.config.launch import Resources
from vlp.errors import VlpError
from vlp.launch import fence, record, states, submit, waiting
from vlp.launch.on_slurm import OnSlurm
from vlp.launch.record import Record
from vlp.launch.scheduler import Answer, Slurm

RESOURCES = Resources(executor="slurm", tasks_per_node=2)
LIMIT = 7200.0


class StillWaiting(BaseException):
    """The driver has waited for two hours of its clock: neither success nor failure."""


@dataclass
class World:
    """A clock and a queue. `says` gives what a command answers; what is sent gets the ids 1, 2, ..."""

    folder: Path
    says: Callable[[Sequence[str]], Answer | None]
    sent: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    at: dict[float, Callable[[], object]] = field(default_factory=dict)
    now: float = 0.0

    def ask(self, command: Sequence[str]) -> Answer | None:
        if command[0] == "scancel":
            self.cancelled.append(command[1])
        return self.says(command)

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        for due in [t for t in self.at if t <= self.now]:
            self.at.pop(due)()
        if self.now > LIMIT:
            raise StillWaiting

    def results(self, *outcomes: str, job: str = "1", value: Any = "made") -> None:
        last = record.read(self.folder)
        assert last is not None
        for i, outcome in enumerate(outcomes):
            file = self.folder / "jobs" / last.token / job / f"{job}_{i}_result.pkl"
            file.parent.mkdir(exist_ok=True, parents=True)
            file.write_bytes(pickle.dumps((outcome, value)))

    def launch(self, value: float = 2.0) -> Any:
        return OnSlurm(jobs.about, {"value": value}, RESOURCES, self.folder, "about", {}, slurm=Slurm(self.ask)).run()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    world = World(tmp_path, queue("RUNNING"))
    monkeypatch.setattr(waiting.time, "monotonic", lambda: world.now)
    monkeypatch.setattr(waiting.time, "sleep", world.sleep)

    def send(self: OnSlurm, last: Record) -> Record:
        job = str(len(world.sent) + 1)
        world.sent.append(job)
        folder = str(world.folder / "jobs" / last.token / job)
        return record.write(self.folder, last, status="sent", job=job, folder=folder)

    monkeypatch.setattr(OnSlurm, "send", send)
    return world


def queue(word: str) -> Callable[[Sequence[str]], Answer | None]:
    """squeue says so of every job; there is no accounting."""
    return lambda command: Answer(0, f"{word}|n1|None\n", "") if command[0] == "squeue" else NO_ACCOUNTING


NO_ACCOUNTING = Answer(1, "", "Slurm accounting storage is disabled")
GONE = Answer(1, "", "slurm_load_jobs error: Invalid job id specified")


@pytest.mark.parametrize(
    "answer",
    [
        Answer(0, "UNKNOWN|n1|None\n", ""),
        None,
        Answer(1, "", "slurm_load_jobs error: Unable to contact slurm controller"),
        Answer(0, "\x00\xff|lp0 on fire||\n", ""),
        Answer(0, "RUNNING|n1|None\nCOMPLETED|n2|None\n", ""),
        Answer(139, "COMPLETED|n1|None\n", "Segmentation fault"),
    ],
    ids=["unknown", "late", "down", "nonsense", "two jobs", "crash"],
)
def test_answers_without_meaning_are_waited_through(world: World, answer: Answer | None) -> None:
    """For as long as it takes: an outage of the controller must not end days of training."""
    world.says = lambda command: answer
    with pytest.raises(StillWaiting):
        world.launch()
    assert world.sent == ["1"]
    world.now = 0
    world.results("success", "success")
    assert world.launch() == "made" and world.sent == ["1"]


@pytest.mark.parametrize("answer", [Answer(0, "", ""), GONE], ids=["empty", "no such job"])
def test_a_job_that_nobody_knows_has_failed(world: World, answer: Answer) -> None:
    world.says = lambda command: answer if command[0] == "squeue" else Answer(0, "", "")
    with pytest.raises(VlpError, match="no longer in the queue and left no result"):
        world.launch()
    assert world.now < 30


def test_results_that_come_after_the_end_are_waited_for(world: World) -> None:
    world.says = queue("COMPLETED")
    world.at[states.GRACE_COMPLETED - 5] = lambda: world.results("success", "success")
    assert world.launch() == "made"


def test_completed_without_results_is_a_failure(world: World) -> None:
    world.says = queue("COMPLETED")
    world.at[5] = lambda: world.results("success")
    with pytest.raises(VlpError, match="COMPLETED, but the job left no result"):
        world.launch()


def test_a_damaged_result_is_none(world: World) -> None:
    world.says = queue("COMPLETED")

    def damage() -> None:
        world.results("success", "success")
        for file in world.folder.glob("jobs/*/1/*.pkl"):
            file.write_bytes(file.read_bytes()[:-3])

    world.at[1] = damage
    with pytest.raises(VlpError, match="left no result"):
        world.launch()


@pytest.mark.parametrize("accounting", [False, True], ids=["queue", "sacct"])
@pytest.mark.parametrize(
    "word, told",
    [("FAILED", "the job failed"), ("OUT_OF_MEMORY", "memory_gb"), ("CANCELLED by 0", "was cancelled")],
)
def test_an_end_is_told_as_it_was_within_30_seconds(world: World, word: str, told: str, accounting: bool) -> None:
    """Once the queue has lost the job, accounting says how it ended."""
    in_queue = queue(word)
    sacct = Answer(0, f"{word}|n1\n", "")
    world.says = (lambda command: GONE if command[0] == "squeue" else sacct) if accounting else in_queue
    with pytest.raises(VlpError, match=told):
        world.launch()
    assert world.now < 30 and world.sent == ["1"]
    last = record.read(world.folder)
    assert last is not None and last.status == ("cancelled" if "CANCELLED" in word else "failed")


def test_accounting_that_lags_is_not_believed(world: World) -> None:
    world.says = lambda command: GONE if command[0] == "squeue" else Answer(0, "RUNNING|n1\n", "")
    with pytest.raises(VlpError, match="no longer in the queue"):
        world.launch()


@pytest.mark.parametrize("word", ["PREEMPTED", "NODE_FAIL", "BOOT_FAIL", "TIMEOUT"])
def test_what_the_cluster_took_away_is_sent_again(world: World, word: str) -> None:
    """As long as it gets on: after three submissions in a row without a new checkpoint no more."""
    steps = itertools.count(1)

    def says(command: Sequence[str]) -> Answer | None:
        if len(world.sent) < 6:
            (world.folder / "checkpoints" / f"step-{next(steps):09d}").mkdir(parents=True)
        return queue(word)(command)

    world.says = says
    with pytest.raises(VlpError, match="It is not sent again: no new checkpoint"):
        world.launch()
    assert len(world.sent) == 6 + waiting.FRUITLESS


def test_a_job_that_slurm_requeues_by_itself_is_not_sent_again(world: World) -> None:
    words = itertools.chain(["RUNNING", "PREEMPTED", "PENDING", "NODE_FAIL", "REQUEUED"], itertools.repeat("RUNNING"))
    world.says = lambda command: queue(next(words))(command)
    world.at[200] = lambda: world.results("success", "success")
    assert world.launch() == "made" and world.sent == ["1"]


def test_a_running_job_is_taken_over(world: World) -> None:
    with pytest.raises(StillWaiting):
        world.launch()
    world.now = 0
    world.at[100] = lambda: world.results("success", "success")
    assert world.launch() == "made" and world.sent == ["1"]


def test_a_job_that_ended_while_nobody_looked_gives_its_result_once(world: World) -> None:
    with pytest.raises(StillWaiting):
        world.launch()
    world.results("success", "success")
    world.says = lambda command: GONE
    world.now = 0
    assert world.launch() == "made" and world.sent == ["1"]
    submit.taken(world.folder)
    world.at[5] = lambda: world.results("success", "success", job="2", value="made anew")
    assert world.launch() == "made anew" and world.sent == ["1", "2"]


def test_a_job_that_died_while_nobody_looked_is_sent_again(world: World) -> None:
    with pytest.raises(StillWaiting):
        world.launch()
    world.now, world.says = 0, lambda command: GONE if len(world.sent) < 2 else Answer(0, "RUNNING|n1|None\n", "")
    world.at[60] = lambda: world.results("success", "success", job="2")
    assert world.launch() == "made" and world.sent == ["1", "2"]


def test_a_job_of_other_inputs_is_cancelled_and_gone_before_the_next_is_sent(world: World) -> None:
    with pytest.raises(StillWaiting):
        world.launch()
    world.now = 0
    ends = 40.0

    def says(command: Sequence[str]) -> Answer | None:
        return GONE if world.now > ends and not world.sent[1:] else Answer(0, "COMPLETING|n1|None\n", "")

    world.says = says
    world.at[100] = lambda: world.results("success", "success", job="2", value="other")
    assert world.launch(value=3.0) == "other"
    assert "1" in world.cancelled and world.sent == ["1", "2"]


def test_a_job_whose_sender_died_before_it_had_the_id_is_found_and_cancelled(world: World) -> None:
    last = record.new("20260101-000000-abcdef", "about", "key", "slurm", 2, 1)
    record.path(world.folder).parent.mkdir(parents=True)
    record.write(world.folder, last)

    def says(command: Sequence[str]) -> Answer | None:
        if "--me" in command:
            return Answer(0, "77|other\n78|20260101-000000-abcdef\n", "") if world.now > 30 else None
        return (GONE if world.cancelled else Answer(0, "PENDING||Priority\n", "")) if "--jobs=78" in command else GONE

    world.says = says
    with pytest.raises(VlpError, match="no longer in the queue"):
        world.launch()
    assert world.cancelled == ["78"] and world.sent == ["1"]


def test_only_the_last_start_of_the_last_submission_may_write(tmp_path: Path) -> None:
    fence.hand_over(tmp_path, "one")
    first, second = fence.Fence(tmp_path, "one", 0), fence.Fence(tmp_path, "one", 1)
    first.claim()
    first.check()
    second.claim()
    with pytest.raises(fence.Fenced, match="start 1"):
        first.check()
    fence.hand_over(tmp_path, "two")
    with pytest.raises(fence.Fenced, match="submission two"):
        second.check()
    with pytest.raises(fence.Fenced):
        second.claim()
    fence.Fence(tmp_path, "two", 0).claim()
