"""What the loop asks of a batch; each method has its own fields."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import torch


@dataclass
class Batch(ABC):
    """A dataclass of tensors, of None, and of parts that have `to` and `pin_memory` themselves."""

    @abstractmethod
    def __len__(self) -> int:
        """Samples."""

    def to(self, device: torch.device | str) -> Self:
        return self._each(lambda value: value.to(device, non_blocking=True))

    def pin_memory(self) -> Self:
        """In page-locked memory, from which a copy to a GPU runs beside its kernels."""
        return self._each(lambda value: value.pin_memory())

    def _each(self, change: Callable[[Any], Any]) -> Self:
        changed: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            changed[field.name] = None if value is None else change(value)
        return type(self)(**changed)
