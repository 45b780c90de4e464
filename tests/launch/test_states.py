"""Every order of answers of a scheduler: no success without results, no end that is not one, every end noticed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlp.launch import states
from vlp.launch.states import ENDED, GRACE, GRACE_COMPLETED, Judge, Result, State

STATES = st.sampled_from(list(State))
RESULTS = st.lists(st.sampled_from([None, "success", "error"]), min_size=2, max_size=2)


@given(st.lists(st.tuples(STATES, RESULTS, st.floats(0, 100)), max_size=40))
def test_only_the_results_of_all_tasks_make_a_success(looks: list[tuple[State, list[Result | None], float]]) -> None:
    judge, now = Judge(), 0.0
    for state, results, seconds in looks:
        now += seconds
        verdict = judge.see(state, results, now)
        if verdict is not None and verdict.outcome == "success":
            assert results == ["success", "success"]
        if results == ["success", "success"]:
            assert verdict is not None and verdict.outcome == "success"


@given(st.lists(st.sampled_from([State.WAITING, State.RUNNING, State.UNKNOWN]), max_size=50))
def test_a_job_that_waits_runs_or_is_not_heard_of_has_not_ended(looks: list[State]) -> None:
    judge = Judge()
    assert all(judge.see(s, [None, None], 3600.0 * i) is None for i, s in enumerate(looks))


@given(st.sampled_from(sorted(ENDED, key=str)), st.lists(st.booleans(), max_size=8))
def test_every_end_is_noticed_within_its_grace_though_answers_fail_in_between(end: State, heard: list[bool]) -> None:
    judge, grace = Judge(), GRACE_COMPLETED if end is State.COMPLETED else GRACE
    assert judge.see(end, [None], 0.0) is None
    for i, answered in enumerate(heard):
        assert judge.see(end if answered else State.UNKNOWN, [None], grace * i / 10) is None
    assert judge.see(State.UNKNOWN, [None], grace) == ENDED[end]


def test_a_job_that_is_back_in_the_queue_had_not_ended() -> None:
    judge = Judge()
    assert judge.see(State.TAKEN_AWAY, [None], 0.0) is None
    assert judge.see(State.WAITING, [None], 5.0) is None
    assert judge.see(State.TAKEN_AWAY, [None], 20.0) is None


def test_accounting_that_comes_late_says_why() -> None:
    judge = Judge()
    judge.see(State.GONE, [None], 0.0)
    verdict = judge.see(State.OUT_OF_MEMORY, [None], GRACE)
    assert verdict is not None and "memory" in verdict.reason


@pytest.mark.parametrize(
    "word, state, outcome",
    [
        ("PENDING", State.WAITING, None),
        ("REQUEUED", State.WAITING, None),
        ("COMPLETING", State.RUNNING, None),
        ("PREEMPTED", State.TAKEN_AWAY, "again"),
        ("NODE_FAIL", State.TAKEN_AWAY, "again"),
        ("TIMEOUT", State.TIMEOUT, "again"),
        ("OUT_OF_MEMORY", State.OUT_OF_MEMORY, "failed"),
        ("FAILED", State.FAILED, "failed"),
        ("CANCELLED by 1000", State.CANCELLED, "cancelled"),
        ("CANCELLED+", State.CANCELLED, "cancelled"),
        ("COMPLETED", State.COMPLETED, "failed"),
        ("", State.UNKNOWN, None),
        ("UNKNOWN", State.UNKNOWN, None),
        ("slurm_load_jobs error", State.UNKNOWN, None),
    ],
)
def test_slurms_words(word: str, state: State, outcome: str | None) -> None:
    assert states.of(word) is state
    assert (ENDED[state].outcome if state in ENDED else None) == outcome


def test_a_task_that_failed_while_the_job_starts_again_is_no_failure() -> None:
    """The ranks that a dead node left behind fail too, and SLURM then starts the job again."""
    judge = Judge()
    assert judge.see(State.RUNNING, [None, "error"], 0.0) is None
    assert judge.see(State.WAITING, [None, "error"], 8.0) is None
    assert judge.see(State.RUNNING, [None, None], 100.0) is None
    assert judge.see(State.RUNNING, [None, "error"], 200.0) is None
    verdict = judge.see(State.RUNNING, ["error", "error"], 200.0 + GRACE)
    assert verdict is not None and verdict.outcome == "failed"
