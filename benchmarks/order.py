"""What the order of the samples costs at the paper's scale: an epoch's, drawn once, and each step's share of it.

    python -m benchmarks.order [--samples 9370000] [--batch 1024]

CPU time of one process, so that other work on the machine counts little.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

from vlp.batching.order import batch_indices, generator, grouped_indices, permutation


def cpu_seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--samples", type=int, default=9_370_000)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=200)
    o = parser.parse_args()
    n, batch = o.samples, o.batch
    lengths = generator(0, 0).integers(3, 40, n)
    drawn = cpu_seconds(lambda: permutation(n, 0, 0))
    held = permutation(n, 0, 0).nbytes / 1e6
    print(f"an epoch of {n:,} samples: {drawn:.2f} s to draw, {held:.0f} MB, two are held")
    print(f"  over its {n // batch:,} steps of {batch}: {drawn / max(1, n // batch) * 1e6:.0f} us a step")
    for name, indices in (
        ("plain", lambda step: batch_indices(n, batch, 0, step)),
        ("grouped by length", lambda step: grouped_indices(lengths, batch, 0, step)),
    ):
        times = [cpu_seconds(lambda s=step, f=indices: f(s)) for step in range(min(o.steps, n // batch))]
        print(f"  {name}: {statistics.median(times) * 1e6:,.0f} us a step, at most {max(times) * 1e6:,.0f}")


if __name__ == "__main__":
    main()
