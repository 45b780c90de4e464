"""What the host does while a run is at work, under the names that MLflow's view of system metrics knows."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vlp.tracking.run import Run

EVERY = 10.0
"""Seconds between two samples; a run shorter than this has none."""


@contextlib.contextmanager
def sampled(run: Run) -> Iterator[None]:
    """Log the host's processors, memory and network every `EVERY` seconds, from a thread of its own."""
    done = threading.Event()
    thread = threading.Thread(target=_sample, args=(run, done), name="system-metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _sample(run: Run, done: threading.Event) -> None:
    step = run.last_step("system/cpu_utilization_percentage") + 1
    if done.wait(EVERY):
        return
    import psutil

    psutil.cpu_percent()  # counts from here
    sent = psutil.net_io_counters()
    while not done.wait(EVERY):
        now, memory = psutil.net_io_counters(), psutil.virtual_memory()
        values = {
            "cpu_utilization_percentage": psutil.cpu_percent(),
            "system_memory_usage_megabytes": memory.used / 2**20,
            "system_memory_usage_percentage": memory.percent,
            "network_receive_megabytes": (now.bytes_recv - sent.bytes_recv) / 2**20,
            "network_transmit_megabytes": (now.bytes_sent - sent.bytes_sent) / 2**20,
        }
        for key, value in values.items():
            run.series(f"system/{key}", step, value)
        step += 1
