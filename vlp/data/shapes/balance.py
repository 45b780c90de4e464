"""Choosing from a pool of candidates so that a text alone does not tell its answer.

Texts are taken in rounds: a round of a text takes one candidate of each answer that is left, so within a split each
text has its answers (nearly) equally often. A text is given up when too few of its answers are left. A text that the
split offers only one answer for is never used.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np

_LEFT = 0.7
"""A text is used while this share of the answers it began with is left: all of them, where they are two or three."""
_LOOK = 12
"""So many candidates of an answer are compared; the one whose image has the fewest texts yet is taken."""


class Candidate(NamedTuple):
    image: int
    text: str
    answer: str
    template: str
    type: str = ""
    """Answer type, for questions."""


Pool = dict[str, dict[str, list[Candidate]]]
"""text -> answer -> candidates"""


def select(
    candidates: Iterable[Candidate],
    targets: Mapping[str, int],
    capacity: int,
    least: Callable[[str], int],
    fill: str,
    rng: np.random.Generator,
) -> list[Candidate]:
    """About `targets[template]` candidates of each template, at most `capacity` of an image, sorted by image.

    Args:
        least: with how many different answers a text of this template must begin.
        fill: the template that takes the room that is left when all others are done.
    """
    pools: dict[str, Pool] = {template: {} for template in targets}
    sizes: Counter[str] = Counter()
    images: set[int] = set()
    for c in candidates:
        pools[c.template].setdefault(c.text, {}).setdefault(c.answer, []).append(c)
        sizes[c.template] += 1
        images.add(c.image)
    state = _State(capacity, rng)
    for template in sorted(targets, key=lambda t: (sizes[t], t)):  # the least choice first
        state.take(pools[template], targets[template], least(template))
    state.take(pools[fill], capacity * len(images) - len(state.chosen), least(fill))
    return sorted(state.chosen, key=lambda c: c.image)


class _State:
    """What has been chosen; a pool loses what is taken from it."""

    def __init__(self, capacity: int, rng: np.random.Generator) -> None:
        self.capacity, self.rng = capacity, rng
        self.chosen: list[Candidate] = []
        self._of_image: Counter[int] = Counter()
        self._of_answer: Counter[tuple[int, str]] = Counter()

    def take(self, pool: Pool, wanted: int, least: int) -> None:
        needed: dict[str, int] = {}
        for text in sorted(pool):
            if len(pool[text]) >= least:
                needed[text] = math.ceil(_LEFT * len(pool[text]))
                for answer in sorted(pool[text]):
                    self._shuffle(pool[text][answer])
        while needed and wanted > 0:
            texts = list(needed)
            self._shuffle(texts)
            for text in texts:
                if wanted <= 0:
                    break
                best = [self._best(pool[text][answer]) for answer in sorted(pool[text])]
                taken = [c for c in best if c is not None]
                if len(taken) < needed[text]:
                    del needed[text]
                    continue
                for c in taken:
                    pool[text][c.answer].remove(c)
                    self._of_image[c.image] += 1
                    self._of_answer[c.image, c.answer] += 1
                self.chosen += taken
                wanted -= len(taken)

    def _best(self, candidates: list[Candidate]) -> Candidate | None:
        """Among the last few whose image has room; those whose image is full are dropped for good."""
        free: list[Candidate] = []
        for n in range(len(candidates) - 1, -1, -1):
            if self._of_image[candidates[n].image] >= self.capacity:
                del candidates[n]
                continue
            free.append(candidates[n])
            if len(free) == _LOOK:
                break
        return min(free, key=lambda c: (self._of_answer[c.image, c.answer], self._of_image[c.image]), default=None)

    def _shuffle(self, items: list) -> None:
        items[:] = [items[int(i)] for i in self.rng.permutation(len(items))]
