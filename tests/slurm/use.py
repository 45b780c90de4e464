"""What tests on SLURM share."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from tests.slurm.lab import PARTITION
from vlp.config.launch import Resources


def on_slurm(nodes: int, tasks: int, partition: str = PARTITION, **more: object) -> Resources:
    value = {"partition": partition, "nodes": nodes, "tasks_per_node": tasks, "memory_gb": 2, "minutes": 10, **more}
    return Resources.model_validate({"executor": "slurm", **value})


class when:  # noqa: N801
    """Calls `act` in a thread as soon as `true`; the block ends after both."""

    def __init__(self, true: Callable[[], object], act: Callable[[], object]) -> None:
        self.thread = threading.Thread(target=self._run, args=(true, act), daemon=True)
        self.problem: BaseException | None = None

    def _run(self, true: Callable[[], object], act: Callable[[], object]) -> None:
        try:
            end = time.monotonic() + 120
            while not true():
                assert time.monotonic() < end, "it did not happen"
                time.sleep(0.1)
            act()
        except BaseException as problem:
            self.problem = problem

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.thread.join(130)
        if self.problem is not None:
            raise self.problem
