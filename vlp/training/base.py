"""What the training loop asks of what it trains: a source of batches, a step module, state beside the parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from vlp.objectives.reduction import LossSum

if TYPE_CHECKING:
    from vlp.batching.batch import Batch
    from vlp.batching.draw import Draw


class Source(Protocol):
    """Where a run's batches come from: a pure function of the step."""

    @property
    def lengths(self) -> np.ndarray:
        """Length of each sample's text: samples of similar length share a batch."""
        ...

    def ids(self, indices: np.ndarray) -> list[str]:
        """What the samples are called in the tables."""
        ...

    def batch(self, indices: np.ndarray, draw: Draw) -> Batch:
        """The samples `indices`, as `draw` says."""
        ...


@dataclass(frozen=True)
class Group:
    """Parameters that the optimiser treats alike."""

    names: Sequence[str]
    """Of `named_parameters()` of the step module."""
    decay: float = 1.0
    """Factor of the config's `weight_decay`."""
    rate: float = 1.0
    """Factor of the config's `learning_rate`."""
    betas: tuple[float, float] | None = None
    """None: the config's."""


class Beyond(Protocol):
    """State that is no parameter: a momentum teacher, queues, averaged weights (`vlp/training/beyond.py`).

    It is kept outside the module that DeepSpeed wraps, in float32, the same on every rank. Moved inside `forward` it
    would be poisoned by a step that is left out, and move twice with accumulation; as buffers of the engine's module
    it would be lost when the number of ranks changes, and a teacher in bf16 stops moving.
    """

    def to(self, device: torch.device, dtype: torch.dtype) -> None:
        """Before the first step: where it is kept; `dtype`: of the engine's parameters, for copies that run."""
        ...

    def state(self) -> Mapping[str, Tensor]:
        """All of it, by name: what a checkpoint holds. Floating-point tensors are float32."""
        ...

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Raises InputError: a tensor is missing, unexpected or of another shape."""
        ...

    def advance(self, module: nn.Module, applied: bool) -> None:
        """After the optimiser's step, once, on every rank; not `applied`: the step was left out, so nothing moves and
        what the forward passes have offered is forgotten."""
        ...


class StepModule(Protocol):
    """Maps a batch to named losses. What it may have besides stands below."""

    def counts(self, batch: Any) -> dict[str, int]:
        """What the `LossSum.count` of `forward(batch)` will be; `batch` lies on the host."""
        ...

    def __call__(self, batch: Any) -> dict[str, LossSum]:
        """Moves no state."""
        ...


@runtime_checkable
class Grouped(Protocol):
    """A step module whose parameters are not all trained alike; where it is none: matrices decay, vectors do not."""

    def groups(self) -> Sequence[Group]:
        """Every trained parameter is in one of them."""
        ...


@runtime_checkable
class Leaved(Protocol):
    """A step module with parts that are called alike whatever the batch.

    With ZeRO 3 weights are gathered as modules are called; ranks that gather in different orders, since one calls a
    module and the other does not, wait for each other for ever. A leaf's weights are gathered together.
    """

    leaves: Sequence[type[nn.Module]]


@runtime_checkable
class Telling(Protocol):
    """A step module with more to log than its losses."""

    def logged(self, together: int) -> dict[str, float]:
        """Metrics, by key; `together`: samples of all ranks that one forward pass, or an embedding cache, compares."""
        ...


def beyond_of(module: nn.Module) -> Beyond | None:
    """What the step module keeps beside its parameters: its attribute `beyond`, if it has one."""
    return getattr(module, "beyond", None)
