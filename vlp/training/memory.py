"""How a training on a CPU holds its memory."""

from __future__ import annotations

import ctypes
import platform

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""glibc's numbers of the two settings (mallopt(3))."""
_NEVER = 2**31 - 1


def keep_freed() -> bool:
    """Let glibc keep what is freed for the next step; False where the C library is another one.

    By default it hands large blocks back at once, and each step faults all its activations in again, page by page: a
    fifth to a third of a step's time on a CPU (docs/log.md). The process holds on to its peak.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return bool(libc.mallopt(_MMAP_MAX, 0)) and bool(libc.mallopt(_TRIM_THRESHOLD, _NEVER))
