"""Batches made ahead of the step that needs them: by a thread, or beside a GPU by processes."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Generic, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

T = TypeVar("T")
MOST_WORKERS = 8


def workers(device: torch.device) -> int:
    """Processes that make batches for this rank: on a CPU none, since the step has its cores; beside a GPU the rank's
    cores but one, since one thread collates some hundred samples a second of many thousand that are wanted."""
    if device.type == "cpu":
        return 0
    cores = len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(1, min(MOST_WORKERS, cores - 1))


def early(load: Callable[[int], T], step: int) -> Future[T]:
    """What `step` needs, made by a thread while the caller is busy; for `ahead`."""
    pool = ThreadPoolExecutor(1)
    made = pool.submit(load, step)
    pool.shutdown(wait=False)
    return made


@contextmanager
def ahead(
    load: Callable[[int], T], start: int, end: int, processes: int, pin: bool, first: Future[T] | None = None
) -> Iterator[Iterator[T]]:
    """The batches of the steps `start` to `end` - 1 in their order, whatever makes them.

    Args:
        load: what a step needs, a pure function of the step; with `pin` it has `pin_memory`, or is a list of such.
        processes: 0: one thread, one step ahead; else so many forked processes, two steps ahead each.
        pin: in page-locked memory, from which a copy to a GPU runs beside its kernels.
        first: of `start`, where a thread makes the batches and it was asked for before (`early`).

    Raises:
        What `load` raises; from a process as text, with its trace.
    """
    if not processes:
        with ThreadPoolExecutor(1) as pool:
            yield _by_thread(load, start, end, pool, first)
        return
    # Each tensor on its way from a process holds an open file.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    steps = DataLoader(
        _Steps(load, start, end),
        batch_size=None,
        collate_fn=_unchanged,
        num_workers=processes,
        pin_memory=pin,
        multiprocessing_context="fork",
        worker_init_fn=_leave_signals,
    )
    yield iter(steps)


def _by_thread(
    load: Callable[[int], T], start: int, end: int, pool: ThreadPoolExecutor, first: Future[T] | None
) -> Iterator[T]:
    waiting = first or (pool.submit(load, start) if start < end else None)
    for step in range(start, end):
        assert waiting is not None
        batches = waiting.result()
        waiting = pool.submit(load, step + 1) if step + 1 < end else None
        yield batches


class _Steps(Dataset[T], Generic[T]):
    def __init__(self, load: Callable[[int], T], start: int, end: int) -> None:
        self.load, self.start, self.end = load, start, end

    def __len__(self) -> int:
        return self.end - self.start

    def __getitem__(self, index: int) -> T:
        return self.load(self.start + index)


def _unchanged(made: T) -> T:
    return made


def _leave_signals(_: int) -> None:
    """A signal to stop reaches every process of a job: the rank saves and ends, and its workers end with it."""
    for name in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT):
        signal.signal(name, signal.SIG_IGN)
