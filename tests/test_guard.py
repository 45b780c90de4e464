"""A test that is not marked slow can start no process and import no DeepSpeed; what it tries is named."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from tests import guard


def _thread() -> None:
    def work() -> None:
        with contextlib.suppress(pytest.fail.Exception):
            subprocess.run(["true"])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    guard.tell()


def _deepspeed() -> None:
    import deepspeed  # noqa: F401


@pytest.mark.parametrize(
    ("work", "what"),
    [
        (lambda: subprocess.run([sys.executable, "-c", ""]), "starts python"),
        (lambda: os.system("true"), "starts a process"),
        (os.fork, "starts a process"),
        (lambda: multiprocessing.get_context("spawn").Process(target=print).start(), "starts a process"),
        (lambda: multiprocessing.get_context("fork").Process(target=print).start(), "starts a process"),
        (_thread, "starts true"),
    ],
)
def test_processes_are_refused(work: Callable[[], object], what: str) -> None:
    with pytest.raises(pytest.fail.Exception, match=f"test_processes_are_refused.* {what}.*: mark it slow"):
        work()
    guard.forget()


def test_deepspeed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "deepspeed"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(pytest.fail.Exception, match="imports DeepSpeed: mark it slow"):
        _deepspeed()
    guard.forget()


def test_small_programs_may_run() -> None:
    assert subprocess.run(["git", "--version"], capture_output=True, check=True).stdout


@pytest.mark.slow
def test_what_is_marked_may_start_processes() -> None:
    assert subprocess.run([sys.executable, "-c", "print(7)"], capture_output=True, check=True).stdout == b"7\n"
