"""What a training's log says of its speed: tokens, the share of waiting for data, MFU, memory."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any, Protocol, runtime_checkable

import torch

from vlp.batching.batch import Batch
from vlp.models import flops
from vlp.models.products import linear
from vlp.training.estimate import GPUS

_PRODUCT = 768
_ROUNDS = 3


class Sized(Protocol):
    """Lengths of a batch."""

    @property
    def positions(self) -> float:
        """Tokens, of all inputs together."""
        ...


@runtime_checkable
class Counted(Protocol):
    """A step module that knows its work."""

    leading: Collection[str]
    """The parts of `forward_flops` that pass no gradient on."""

    def sizes(self, batch: Any, padded: bool = False) -> Sized:
        """The valid positions of a batch on the host, or with `padded` all of them."""
        ...

    def forward_flops(self, sizes: Any, global_size: int) -> dict[str, float]:
        """Forward FLOPs of a micro-batch of these `sizes`, by part; `global_size`: samples of all ranks together."""
        ...


class Meter:
    """Of one rank. Tokens are real ones, and with padding.

    Args:
        module: the step module; where it is not `Counted` there are no tokens and no MFU.
        samples: of a global batch.
        peak: FLOP/s of this rank's device; None: not known, so no MFU.
    """

    def __init__(self, module: object, world: int, samples: int, peak: float | None) -> None:
        self._counted = module if isinstance(module, Counted) else None
        self._world, self._samples, self._peak = world, samples, peak
        self._began = time.monotonic()
        self._steps, self._all_waited = 0, 0.0
        self._anew()

    def _anew(self) -> None:
        self._since = time.monotonic()
        self._steps_before = self._steps
        self._waited = self._real = self._padded = self._flops = 0.0

    def waited(self, seconds: float) -> None:
        self._waited += seconds
        self._all_waited += seconds

    def saw(self, batches: Sequence[Batch]) -> None:
        """A step's batches on the host, before they move to a device: reading them there would make the host wait."""
        self._steps += 1
        if self._counted is None:
            return
        for batch in batches:
            s = self._counted.sizes(batch)
            self._real += s.positions
            self._padded += self._counted.sizes(batch, padded=True).positions
            forward = self._counted.forward_flops(s, len(batch) * self._world)
            self._flops += sum(flops.training(forward, self._counted.leading).values())

    def rates(self) -> dict[str, float]:
        """Since the last call. Of all ranks, as if they did as much as this one; MFU counts useful FLOPs."""
        seconds = max(1e-9, time.monotonic() - self._since)
        found = {
            "samples_per_second": (self._steps - self._steps_before) * self._samples / seconds,
            "data_wait": self._waited / seconds,
        }
        if self._counted is not None:
            found["real_tokens_per_second"] = self._real * self._world / seconds
            found["padded_tokens_per_second"] = self._padded * self._world / seconds
        if self._counted is not None and self._peak is not None:
            found["mfu"] = self._flops / seconds / self._peak
        self._anew()
        return found | {"memory_bytes": float(peak_memory())}

    def whole(self) -> dict[str, float]:
        """Since the start."""
        seconds = max(1e-9, time.monotonic() - self._began)
        return {
            "samples_per_second": self._steps * self._samples / seconds,
            "data_wait": self._all_waited / seconds,
        }


def line(step: int, total: int, values: dict[str, float], samples_per_second: float, batch_size: int) -> str:
    """What the log says after `step`: each loss, the learning rate, speed, and the time left.

    Args:
        values: losses, learning rate and `Meter.rates`.
        samples_per_second: of the whole training, for the time left: it has pauses for validation in it.
    """
    losses = " ".join(f"{k.removeprefix('loss_')} {v:.3f}" for k, v in values.items() if k.startswith("loss"))
    left = (total - step) * batch_size / max(samples_per_second, 1e-9)
    speed = f"{values['samples_per_second']:.0f} samples/s  {shown(values)}"
    lr = f"lr {values['learning_rate']:.2e}"
    return f"step {step}/{total}  {losses}  {lr}  {speed}  {timedelta(seconds=round(left))} left"


def shown(values: dict[str, float]) -> str:
    """The rates in a few words."""
    parts = [f"wait {values['data_wait']:.1%}"]
    if "real_tokens_per_second" in values:
        real, padded = (values[f"{kind}_tokens_per_second"] / 1e3 for kind in ("real", "padded"))
        parts.insert(0, f"{real:.1f}k/{padded:.1f}k tokens/s")
    if "mfu" in values:
        parts.append(f"MFU {values['mfu']:.0%}")
    return "  ".join([*parts, f"{values['memory_bytes'] / 1e9:.1f} GB"])


def peak_rate(device: torch.device, precision: str) -> float | None:
    """FLOP/s of a device: of a known GPU from the table, of a CPU the best of a few products as the model's layers
    compute them, with its threads.

    A CPU is measured in float32 whatever the precision: there half precision is seldom faster.
    """
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device).upper()
        gpu = next((g for known, g in GPUS.items() if known in name), None)
        return None if gpu is None else gpu.single if precision == "fp32" else gpu.half
    if device.type != "cpu":
        return None
    x, best = torch.ones(_PRODUCT, _PRODUCT), float("inf")
    with torch.no_grad():
        for _ in range(_ROUNDS):
            began = time.perf_counter()
            linear(x, x, None)
            best = min(best, time.perf_counter() - began)
    return flops.linear(_PRODUCT, _PRODUCT, _PRODUCT) / best


def peak_memory() -> int:
    """Bytes: the most that was allocated on the GPU, else the most that this process held."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
