"""What Pillow's decoders warn of, per picture: its warnings go to the process, and threads decode side by side."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_ear = threading.local()
_lock = threading.Lock()
_open = 0
_others: Any = None


@contextmanager
def listening() -> Iterator[list[str]]:
    """The list gets the warnings of this thread, as they come; those of other threads go where they would have gone."""
    global _open, _others
    outer, heard = getattr(_ear, "heard", None), []
    with _lock:
        _open += 1
        if _open == 1:
            _others, warnings.showwarning = warnings.showwarning, _hear
            warnings.filterwarnings("always", module=r"PIL\.")  # each picture, not the first alone
    _ear.heard = heard
    try:
        yield heard
    finally:
        _ear.heard = outer
        with _lock:
            _open -= 1
            if not _open and warnings.showwarning is _hear:
                warnings.showwarning = _others


def _hear(message: Any, *where: Any, **more: Any) -> None:
    """In the place of `warnings.showwarning`."""
    heard = getattr(_ear, "heard", None)
    if heard is None:
        _others(message, *where, **more)
    else:
        heard.append(f"the decoder warns: {' '.join(str(message).split())}")
