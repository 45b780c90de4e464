"""What is looked at while a model trains, without a part in the training."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from vlp.launch import fence
from vlp.tracking.journal import Journal


@dataclass
class Probe:
    """Measured before the first step, after every `every` steps and after the last one."""

    name: str
    """Of its event in the journal, which holds `about`; its metrics are `name/key`."""
    measure: Callable[[], Mapping[str, float]]
    """Draws nothing: a training with it has the bits of one without it."""
    every: int
    about: Mapping[str, Any]
    seconds: float = field(default=0.0, init=False)
    """Spent so far, by this process."""

    def due(self, step: int, total: int) -> bool:
        return step % self.every == 0 or step == total

    def look(self, module: nn.Module, step: int, journal: Journal | None) -> None:
        """Measure with `module` in evaluation mode and without gradients; it is in training mode afterwards."""
        began = time.monotonic()
        module.eval()
        try:
            with torch.inference_mode():
                values = {f"{self.name}/{key}": value for key, value in self.measure().items()}
        finally:
            module.train()
        if journal is not None:
            fence.check()
            if step == 0:
                journal.write(self.name, **self.about)
            journal.metrics(step, values)
        self.seconds += time.monotonic() - began
