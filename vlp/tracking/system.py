"""What the host does while a run is at work, under the names that MLflow's view of system metrics knows."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vlp.tracking.run import Run

EVERY = 10.0
"""Seconds between two samples."""


@contextlib.contextmanager
def sampled(run: Run, folder: Path) -> Iterator[None]:
    """Log the host's processors, memory, network, GPUs and the disk of `folder`, from a thread of its own."""
    done = threading.Event()
    thread = threading.Thread(target=_sample, args=(run, folder, done), name="system-metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _sample(run: Run, folder: Path, done: threading.Event) -> None:
    """Every `EVERY` seconds and at the end: so a run shorter than that has one sample, its mean."""
    import psutil

    step = run.last_step("system/cpu_utilization_percentage") + 1
    psutil.cpu_percent()  # counts from here
    sent, over = psutil.net_io_counters(), False
    while not over:
        over = done.wait(EVERY)
        now, memory, disk = psutil.net_io_counters(), psutil.virtual_memory(), psutil.disk_usage(str(folder))
        values = {
            "cpu_utilization_percentage": psutil.cpu_percent(),
            "system_memory_usage_megabytes": memory.used / 2**20,
            "system_memory_usage_percentage": memory.percent,
            "disk_usage_percentage": disk.percent,
            "disk_available_megabytes": disk.free / 2**20,
            "network_receive_megabytes": (now.bytes_recv - sent.bytes_recv) / 2**20,
            "network_transmit_megabytes": (now.bytes_sent - sent.bytes_sent) / 2**20,
            **({} if over else gpus()),  # nvidia-smi takes a second, which nobody shall wait for
        }
        for key, value in values.items():
            run.series(f"system/{key}", step, value)
        step += 1


def gpus() -> dict[str, float]:
    """What `nvidia-smi` says of each GPU of this host; empty where there is none, or where it does not answer."""
    if shutil.which("nvidia-smi") is None:
        return {}
    asked = ["nvidia-smi", f"--query-gpu=index,{','.join(_GPU)}", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(asked, capture_output=True, text=True, timeout=EVERY / 2, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    found = {}
    for line in said.splitlines():
        index, *numbers = (word.strip() for word in line.split(","))
        known = {name: float(n) for name, n in zip(_GPU.values(), numbers, strict=True) if n.replace(".", "").isdigit()}
        found |= {f"gpu_{index}_{name}": number for name, number in known.items()}
    return found


_GPU = {
    "utilization.gpu": "utilization_percentage",
    "memory.used": "memory_usage_megabytes",
    "power.draw": "power_usage_watts",
}
