"""What SLURM says when it takes no job: what passes is waited for, the rest is one clear line."""

from __future__ import annotations

import pytest

from vlp.errors import VlpError
from vlp.launch import refusals
from vlp.launch.refusals import Refusal, kind, line, until_taken

POLICY = "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"
SAID = {
    "Unable to contact slurm controller (connect failure)": Refusal.AWAY,
    "Socket timed out on send/recv operation": Refusal.AWAY,
    "Zero Bytes were transmitted or received": Refusal.AWAY,
    "slurm_receive_msg: Transport endpoint is not connected": Refusal.AWAY,
    "Connection refused": Refusal.AWAY,
    "Protocol authentication error": Refusal.AWAY,
    'Munge encode failed: Failed to access "/run/munge/munge.socket.2"': Refusal.AWAY,
    "Slurm temporarily unable to accept job, sleeping and retrying": Refusal.FULL,
    "Resource temporarily unavailable": Refusal.FULL,
    f"QOSMaxSubmitJobPerUserLimit\nsbatch: error: {POLICY}": Refusal.FULL,
    f"AssocMaxSubmitJobLimit\nsbatch: error: {POLICY}": Refusal.FULL,
    f"AssocGrpSubmitJobsLimit\nsbatch: error: {POLICY}": Refusal.FULL,
    "Required partition not available (inactive or drain)": Refusal.FULL,
    POLICY: Refusal.FULL,
    f"QOSMaxWallDurationPerJobLimit\nsbatch: error: {POLICY}": Refusal.FINAL,
    f"QOSMaxGRESPerUser, AssocMaxNodePerJobLimit\nsbatch: error: {POLICY}": Refusal.FINAL,
    "Invalid job array specification": Refusal.ARRAY,
    "invalid partition specified: nowhere": Refusal.FINAL,
    "Invalid account or account/partition combination specified": Refusal.FINAL,
    "Invalid qos specification": Refusal.FINAL,
    "Requested node configuration is not available": Refusal.FINAL,
    "Requested time limit is invalid (missing or exceeds some limit)": Refusal.FINAL,
    "Memory specification can not be satisfied": Refusal.FINAL,
}


@pytest.mark.parametrize(("said", "meant"), SAID.items(), ids=[s[:40] for s in SAID])
def test_each_wording_is_what_it_means(said: str, meant: Refusal) -> None:
    assert kind(f"sbatch: error: Batch job submission failed: {said}\n") is meant


def test_the_line_is_what_sbatch_calls_its_error() -> None:
    whole = "srun: x\nsbatch: error: invalid partition specified: x\nsbatch: error: Batch job submission failed: no\n"
    assert line(whole) == "invalid partition specified: x; Batch job submission failed: no"
    assert line('Could not detect "srun", are you indeed on a slurm cluster?') == (
        'Could not detect "srun", are you indeed on a slurm cluster?'
    )


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(refusals.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(refusals.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    return now


def test_a_job_is_sent_again_until_it_is_taken_and_that_is_said(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    """For two hours; what the controller took before it went away is undone before."""
    undone: list[float] = []

    def send() -> str:
        if clock[0] < 7200:
            raise RuntimeError("sbatch: error: Unable to contact slurm controller (connect failure)")
        return "7"

    def undo() -> None:
        if clock[0] < 3600:
            raise OSError("squeue: no answer")
        undone.append(clock[0])

    assert until_taken("stage1", send, undo) == "7"
    assert undone and undone[0] >= 3600
    said = capsys.readouterr().out.splitlines()
    assert 10 <= len(said) <= 13 and said[0].startswith("stage1: SLURM takes it not yet (Unable to contact slurm")


def test_it_has_an_end(clock: list[float]) -> None:
    def send() -> str:
        raise RuntimeError("sbatch: error: Resource temporarily unavailable")

    with pytest.raises(VlpError, match=r"Resource temporarily unavailable\. That has lasted for 24 hours"):
        until_taken("stage1", send, lambda: None)
    assert 24 * 3600 < clock[0] < 25 * 3600


def test_what_does_not_pass_ends_at_once(clock: list[float]) -> None:
    def send() -> str:
        raise RuntimeError("sbatch: error: Batch job submission failed: Invalid qos specification")

    with pytest.raises(VlpError, match=r"^Batch job submission failed: Invalid qos specification\. Mend `launch` in"):
        until_taken("stage1", send, lambda: None)
    assert clock[0] == 0
