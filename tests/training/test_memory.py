"""Freed memory stays with the process, so that the next step does not fault it in again."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from vlp.training.memory import keep_freed

# In a process of its own: the setting holds for good.
SCRIPT = """
import resource
from vlp.training.memory import keep_freed

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        block = bytearray(64 << 20)
        block[::4096] = bytes(len(block[::4096]))
        del block
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

by_default = faults()
kept = keep_freed()
faults()
print(by_default, faults(), kept)
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_a_block_is_faulted_in_once() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    by_default, after, kept = done.stdout.split()
    assert kept == "True"
    assert int(by_default) >= 4 * (64 << 20) // 4096 / 512  # whole, or in huge pages
    assert int(after) < int(by_default) / 8


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert keep_freed() is False
