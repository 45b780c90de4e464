"""State beside the parameters (`Beyond`, `vlp/training/base.py`): what moves once a step, after the optimiser.

A step module builds it and keeps it as a plain attribute: these classes are no modules, so neither the engine nor
`state_dict` sees their tensors.

    self.beyond = Several(teacher=Momentum(self, "model", 0.995), queue=Queue(text=torch.zeros(4096, 256)))

`forward` reads it (`self.beyond["teacher"](x)`) and `offer`s rows to queues; it moves nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from vlp.errors import InputError
from vlp.training.base import Beyond


class Momentum:
    """An average of a part of the step module: a teacher, or weights averaged over the run.

    Attributes:
        module: a copy that runs, in the engine's precision. It keeps its mode: `eval()` it where the teacher is to have
            no dropout. Call the `Momentum` itself to run it without gradients.
    """

    def __init__(self, owner: nn.Module, path: str, momentum: float) -> None:
        """
        Args:
            owner: the step module, in float32.
            path: of the part in it: `model.image_encoder`; empty: all of it.
            momentum: m of average <- m average + (1 - m) parameter, after each step.
        """
        self.path, self.momentum = path, momentum
        part = owner.get_submodule(path)
        self.module = copy.deepcopy(part).requires_grad_(False)
        self._average = {name: p.detach().float().clone() for name, p in part.named_parameters()}

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        with torch.no_grad():
            return self.module(*arguments, **named)

    def to(self, device: torch.device, dtype: torch.dtype) -> None:
        self.module.to(device, dtype)
        self._average = {name: a.to(device) for name, a in self._average.items()}
        self._refresh()

    def state(self) -> dict[str, Tensor]:
        return dict(self._average)

    def restore(self, state: Mapping[str, Tensor]) -> None:
        _copy(self._average, state)
        self._refresh()

    @torch.no_grad()
    def advance(self, module: nn.Module, applied: bool) -> None:
        if applied:
            now = dict(module.get_submodule(self.path).named_parameters())
            for name, average in self._average.items():
                average.lerp_(now[name].float(), 1 - self.momentum)
            self._refresh()

    @torch.no_grad()
    def _refresh(self) -> None:
        held = dict(self.module.named_parameters())
        for name, average in self._average.items():
            held[name].copy_(average)


class Queue:
    """A ring of rows of the last global batches, in the order of their places there: whatever ranks and accumulation
    steps share the batch, it is the same.

    Attributes:
        filled: rows that have been written; they are the first ones.
        pointer: the row that is written next.
    """

    def __init__(self, **start: Tensor) -> None:
        """`start`: [N,...] for each kind of row, float32, int64 or uint8; what it holds before it is filled."""
        self.size = len(next(iter(start.values())))
        for name, rows in start.items():
            if len(rows) != self.size or rows.dtype not in (torch.float32, torch.int64, torch.uint8):
                raise ValueError(f"{name}: {len(rows)} rows of {rows.dtype}; {self.size} of float32, int64 or uint8")
        self._rows = {name: rows.detach().clone() for name, rows in start.items()}
        self._offered: dict[str, list[Tensor]] = {name: [] for name in start}
        self.pointer = self.filled = 0

    def __getitem__(self, name: str) -> Tensor:
        """[N,...], also the rows that are not filled yet. No view of it stays true after the step."""
        return self._rows[name]

    def offer(self, **rows: Tensor) -> None:
        """Once in each forward pass of training: [B,...] of every kind, of as many samples on every rank (mark those
        that are not to be used by a kind of row of its own). They come in after the step."""
        for name, held in self._offered.items():
            held.append(rows[name].detach().to(self._rows[name].dtype))

    def to(self, device: torch.device, dtype: torch.dtype) -> None:
        """`dtype` is that of the engine: rows keep their own."""
        self._rows = {name: rows.to(device) for name, rows in self._rows.items()}

    def state(self) -> dict[str, Tensor]:
        return {**self._rows, "pointer": torch.tensor(self.pointer), "filled": torch.tensor(self.filled)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        own = self.state()
        _copy(own, state)
        self.pointer, self.filled = int(own["pointer"]), int(own["filled"])
        self._forget()

    def advance(self, module: nn.Module, applied: bool) -> None:
        if applied and all(self._offered.values()):
            new = {name: _in_order_of_places(parts) for name, parts in self._offered.items()}
            count = len(next(iter(new.values())))
            kept = min(count, self.size)
            first = self.pointer + count - kept
            for name, rows in new.items():
                at = torch.arange(first, first + kept, device=rows.device) % self.size
                self._rows[name].index_copy_(0, at, rows[count - kept :])
            self.pointer, self.filled = (self.pointer + count) % self.size, min(self.size, self.filled + count)
        self._forget()

    def _forget(self) -> None:
        for held in self._offered.values():
            held.clear()


class Several:
    """Some of them, each under a name."""

    def __init__(self, **parts: Beyond) -> None:
        self._parts = parts

    def __getitem__(self, name: str) -> Any:
        return self._parts[name]

    def to(self, device: torch.device, dtype: torch.dtype) -> None:
        for part in self._parts.values():
            part.to(device, dtype)

    def state(self) -> dict[str, Tensor]:
        return {f"{name}.{key}": x for name, part in self._parts.items() for key, x in part.state().items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        _check(self.state(), state)
        for name, part in self._parts.items():
            start = f"{name}."
            part.restore({key.removeprefix(start): x for key, x in state.items() if key.startswith(start)})

    def advance(self, module: nn.Module, applied: bool) -> None:
        for part in self._parts.values():
            part.advance(module, applied)


def _in_order_of_places(offered: list[Tensor]) -> Tensor:
    """Rows [A*W*B,...] from those of A accumulation steps on W ranks: in each step ranks hold consecutive places."""
    own_AB = torch.stack(offered)
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return own_AB.flatten(0, 1)
    parts = [torch.empty_like(own_AB) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, own_AB)
    return torch.stack(parts, 1).flatten(0, 2)


def _check(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    """Raises InputError: they are not the same tensors."""
    other = {name for name in own.keys() & state.keys() if _kind(own[name]) != _kind(state[name])}
    wrong = {"missing": own.keys() - state.keys(), "unexpected": state.keys() - own.keys(), "of another kind": other}
    found = [f"{what}: {', '.join(sorted(names))}" for what, names in wrong.items() if names]
    if found:
        raise InputError("state beyond the parameters", "; ".join(found) + ".", "It is of another training.")


def _kind(x: Tensor) -> tuple[torch.Size, torch.dtype]:
    return x.shape, x.dtype


def _copy(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    _check(own, state)
    for name, x in own.items():
        x.copy_(state[name])
