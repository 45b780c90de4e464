"""Where in a training a micro-batch stands: all that chance and every ramp depend on.

Masks, crops, negatives and dropout are drawn from counters, never from a generator with a state. So they are the same
whatever ranks, workers or threads share the batch, and after a kill.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vlp.batching.order import generator


@dataclass(frozen=True)
class Draw:
    """Of one micro-batch of a training."""

    seed: int
    step: int
    """Number of the global batch, from 0."""
    places: slice
    """Of these samples in the global batch."""
    global_size: int
    """Samples of the global batch."""
    part: int
    """Number of this micro-batch among those of the global batch."""
    total: int
    """Steps of the whole run."""

    @property
    def progress(self) -> float:
        """How much of the run lies behind this step, in [0, 1]."""
        return min(1.0, self.step / self.total)

    def ramp(self, share: float) -> float:
        """From 0 at the first step to 1 after `share` of the steps, linearly; 0: 1 at once."""
        rising = share * self.total
        return 1.0 if self.step >= rising else self.step / rising

    def whole(self, stream: int) -> np.random.Generator:
        """Of the global batch: every part has the same."""
        return generator(self.seed, stream, self.step)

    def rng(self, stream: int) -> np.random.Generator:
        """Of this micro-batch."""
        return generator(self.seed, stream, self.step, self.part)

    def of(self, sample: int, stream: int) -> np.random.Generator:
        """Of one sample, the `sample`-th of this micro-batch: it depends on its place in the global batch alone.

        A stream is read by one of `whole`, `rng`, `of` and `of_group`: their first numbers are counted alike.
        """
        return self.of_group(sample, 1, stream)

    def of_group(self, sample: int, size: int, stream: int) -> np.random.Generator:
        """Of the group of `size` consecutive places that the `sample`-th of this micro-batch stands in."""
        return generator(self.seed, stream, self.step, (self.places.start + sample) // size)
