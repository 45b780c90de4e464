"""The objectives as slow, plain loops over Python numbers: what the vectorised ones are held to.

Each returns (sum, count) as the objective of the same name does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import permutations

Vector = Sequence[float]
Matrix = Sequence[Vector]


def dot(a: Vector, b: Vector) -> float:
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def cosine(a: Vector, b: Vector) -> float:
    return dot(a, b) / (math.sqrt(dot(a, a)) * math.sqrt(dot(b, b)))


def softmax(logits: Vector) -> list[float]:
    top = max(logits)
    terms = [math.exp(x - top) for x in logits]
    return [t / math.fsum(terms) for t in terms]


def cross_entropy(logits: Vector, label: int) -> float:
    top = max(logits)
    return math.log(math.fsum(math.exp(x - top) for x in logits)) + top - logits[label]


def mcr(logits: Matrix, label: Sequence[int], concept: Sequence[int], sample: Sequence[int]) -> tuple[float, int]:
    """Eq. 1 by trying every order of the concepts of a sample that have equally many pieces, then eq. 2 or 3."""
    rows: dict[int, list[int]] = {}
    for position, c in enumerate(concept):
        rows.setdefault(c, []).append(position)
    groups: dict[tuple[int, int], list[int]] = {}
    for c, at in rows.items():
        groups.setdefault((sample[at[0]], len(at)), []).append(c)
    total = 0.0
    for members in groups.values():
        best_cost, best_loss = math.inf, 0.0
        for order in permutations(members):
            cost, loss = 0.0, 0.0
            for slot, other in zip(members, order, strict=True):
                pairs = list(zip(rows[slot], rows[other], strict=True))
                cost += sum(1 - softmax(logits[m])[label[n]] for m, n in pairs) / len(pairs)
                loss += sum(cross_entropy(logits[m], label[n]) for m, n in pairs) / len(pairs)
            if cost < best_cost:
                best_cost, best_loss = cost, loss
        total += best_loss
    return total, len(rows)


def negatives_of(i: int, images: Sequence[int], texts: Sequence[int], matchable: Sequence[bool]) -> list[int]:
    """What sample i may be told apart from: matchable, another image, another text."""
    if not matchable[i]:
        return []
    return [j for j in range(len(images)) if matchable[j] and images[j] != images[i] and texts[j] != texts[i]]


def vsc(
    text: Matrix,
    image: Matrix,
    scale: float,
    images: Sequence[int],
    texts: Sequence[int],
    group: int | None,
    matchable: Sequence[bool],
) -> tuple[float, int]:
    """Eq. 4 and 5, group by group of consecutive places."""
    total, count, size = 0.0, 0, len(text)
    for i in range(size):
        if not matchable[i]:
            continue
        near = [j for j in negatives_of(i, images, texts, matchable) if group is None or j // group == i // group]
        among = [i, *near]
        v2s = cross_entropy([scale * dot(image[i], text[j]) for j in among], 0)
        s2v = cross_entropy([scale * dot(text[i], image[j]) for j in among], 0)
        total += (v2s + s2v) / 2
        count += 1
    return total, count


def draw_probabilities(
    similarity: Matrix | None, images: Sequence[int], texts: Sequence[int], matchable: Sequence[bool]
) -> tuple[list[list[float]], list[list[float]]]:
    """p(s2v) of the images for each text, and p(v2s) of the texts for each image, over what may be drawn."""
    size = len(images)
    s2v, v2s = ([[0.0] * size for _ in range(size)] for _ in range(2))
    for i in range(size):
        others = negatives_of(i, images, texts, matchable)
        if not others:
            continue
        of_text = softmax([0.0 if similarity is None else similarity[j][i] for j in others])
        of_image = softmax([0.0 if similarity is None else similarity[i][j] for j in others])
        for j, p, q in zip(others, of_text, of_image, strict=True):
            s2v[i][j], v2s[i][j] = p, q
    return s2v, v2s


def s_wpg(phrases: Matrix, has_phrase: Sequence[bool], regions: Matrix, has_region: Sequence[bool]) -> float:
    """Eq. 6 for one text and one image."""
    best = []
    for phrase, used in zip(phrases, has_phrase, strict=True):
        scores = [cosine(phrase, r) for r, there in zip(regions, has_region, strict=True) if there]
        if used and scores:
            best.append(max(scores))
    return sum(best) / len(best) if best else 0.0


def wpg(positive: Vector, negative: Vector, valid: Sequence[bool]) -> tuple[float, int]:
    """Eq. 7 with max(0, .)."""
    hinges = [max(0.0, 0.2 + n - p) for p, n, v in zip(positive, negative, valid, strict=True) if v]
    return sum(hinges), len(hinges)


def itm(logits: Matrix, matched: Sequence[bool], valid: Sequence[bool]) -> tuple[float, int]:
    """Eq. 8; class 0 is match."""
    losses = [cross_entropy(row, 0 if m else 1) for row, m, v in zip(logits, matched, valid, strict=True) if v]
    return sum(losses), len(losses)


def mlm(logits: Matrix, label: Sequence[int]) -> tuple[float, int]:
    """Eq. 9."""
    return sum(cross_entropy(row, n) for row, n in zip(logits, label, strict=True)), len(label)


def answers(logits: Matrix, scores: Matrix) -> tuple[float, int]:
    total = 0.0
    for row, wanted in zip(logits, scores, strict=True):
        for x, s in zip(row, wanted, strict=True):
            p = 1 / (1 + math.exp(-x))
            total -= s * math.log(p) + (1 - s) * math.log(1 - p)
    return total, len(logits)


def grounding(
    similarity: Sequence[Matrix], iou: Sequence[Matrix], valid: Sequence[Sequence[Sequence[bool]]], objective: str
) -> tuple[float, int]:
    total, count = 0.0, 0
    for b, phrases in enumerate(similarity):
        for g, regions in enumerate(phrases):
            for r, s in enumerate(regions):
                if not valid[b][g][r]:
                    continue
                t, count = iou[b][g][r], count + 1
                p = min(max((s + 1) / 2, 1e-6), 1 - 1e-6)
                total += (s - t) ** 2 if objective == "mse" else -t * math.log(p) - (1 - t) * math.log(1 - p)
    return total, count
