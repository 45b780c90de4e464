"""One writer of a results folder at a time: workflows, sweeps, commands by hand."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vlp.errors import InputError
from vlp.launch import driver, writers
from vlp.launch.writers import Claim, hold, writing


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(writers, "TURN", 0.2)
    monkeypatch.setattr(writers, "PATIENCE", 0.4)
    monkeypatch.setattr(writers, "_starting", [])
    yield


def begun(folder: Path) -> Claim:
    claim = Claim(folder)
    claim.insist()
    return claim


def ended(claim: Claim) -> None:
    assert claim._held is not None
    claim._held.close()


def test_a_workflow_is_alone(tmp_path: Path) -> None:
    first = begun(tmp_path)
    with pytest.raises(InputError, match=rf"another run is at work in it \(process {os.getpid()} on .*, since 20"):
        Claim(tmp_path).insist()
    with Claim(tmp_path).briefly() as free:  # a dry run beside it changes nothing
        assert not free
    with pytest.raises(InputError, match="a workflow is at work in it"), writing(tmp_path, "tables"):
        pass
    other = begun(tmp_path / "other")
    ended(first)
    with Claim(tmp_path).briefly() as free:
        assert free
    ended(begun(tmp_path))
    ended(other)


def test_commands_by_hand_share_a_folder_but_not_a_rule(tmp_path: Path) -> None:
    with writing(tmp_path, "regions.1-of-2"), writing(tmp_path, "regions.2-of-2"):
        with pytest.raises(InputError, match="another run is at work"):
            Claim(tmp_path).insist()
        told = r"another process makes regions\.1-of-2"
        with pytest.raises(InputError, match=told), writing(tmp_path, "regions.1-of-2"):
            pass
    ended(begun(tmp_path))


def test_what_a_killed_workflow_has_left_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = begun(tmp_path)
    monkeypatch.setattr(driver, "started_by", os.getpid())
    with writing(tmp_path, "stage1"), writing(tmp_path, "tables"):
        ended(first)
        monkeypatch.setattr(driver, "started_by", None)
        with pytest.raises(InputError, match="commands of an earlier run are still at work"), writing(tmp_path, "vqa"):
            pass
        claim = Claim(tmp_path)
        with pytest.raises(InputError, match="commands of an earlier run are still at work"):
            claim.insist()
        ended(claim)
    ended(begun(tmp_path))


def test_a_command_whose_workflow_is_gone_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "started_by", 2**22 + 1)  # above the highest process id
    with pytest.raises(InputError, match="the workflow that has started this command is gone"), writing(tmp_path, "x"):
        pass


def test_a_workflow_of_many_parts_writes_the_configs_of_those_that_it_has(tmp_path: Path) -> None:
    done: list[str] = []
    for name in ("a", "b"):
        writers.at_start(Claim(tmp_path / name), lambda name=name: done.append(name))
    held = begun(tmp_path / "b")
    with pytest.raises(InputError, match=f"{tmp_path}/b: another run"):
        writers.begin()
    assert done == ["a"]
    ended(held)


def test_a_file_system_without_locks_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    for _ in range(2):
        ended(begun(tmp_path))
    assert capsys.readouterr().err.count("/.lock: no locks here (No locks available)") == 1


@pytest.mark.slow
def test_the_lock_goes_with_the_process_that_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`kill -9` of a sweep leaves its workflow at work, and the folder locked until that ends too."""
    code = (
        "import subprocess, sys, time; from pathlib import Path; from vlp.launch.writers import hold\n"
        "lock = hold(Path(sys.argv[1]))\n"
        "child = subprocess.Popen(['sleep', '60'], pass_fds=[lock.fileno()], stdout=subprocess.DEVNULL)\n"
        "print(child.pid, flush=True); time.sleep(60)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / ".lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as sweep:
        assert sweep.stdout is not None
        child = int(sweep.stdout.readline())
        sweep.kill()
        sweep.wait()
        with pytest.raises(InputError, match=rf"another run is at work in it \(process {sweep.pid} on"):
            hold(tmp_path / ".lock")
        os.kill(child, signal.SIGKILL)
        monkeypatch.setattr(writers, "TURN", 10.0)
        hold(tmp_path / ".lock").close()
