"""Which proposals become regions, on constructed scores."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.regions.detectors import slow
from vlp.regions.detectors.recipes import RECIPES, Recipe, best_attribute, choose

RELEASED, README, DEMO = RECIPES["vinvl_released"], RECIPES["vinvl_readme"], RECIPES["vinvl_demo"]


def apart(count: int) -> Tensor:
    """Boxes that do not touch."""
    x = 20.0 * torch.arange(count)
    return torch.stack([x, torch.zeros(count), x + 9, torch.full((count,), 9.0)], dim=1)


def peaked(scores: list[float], labels: list[int], classes: int = 5) -> Tensor:
    """Probabilities [P,C] with `scores` at `labels`, the rest at the background."""
    rows = torch.zeros(len(scores), classes)
    for row, (score, label) in enumerate(zip(scores, labels, strict=True)):
        rows[row, 0], rows[row, label] = 1 - score, score
    return rows


@pytest.mark.parametrize("recipe", [RELEASED, README], ids=lambda r: r.name)
@pytest.mark.parametrize(
    ("sure", "unsure", "kept"),
    [(0, 30, 10), (4, 30, 10), (10, 30, 10), (11, 30, 11), (99, 30, 99), (100, 30, 100), (120, 5, 100), (3, 2, 5)],
)
def test_at_least_10_at_most_100(recipe: Recipe, sure: int, unsure: int, kept: int) -> None:
    scores = [0.3 + i / 1000 for i in range(sure)] + [0.1 + i / 1000 for i in range(unsure)]
    labels = [1 + i % 4 for i in range(sure + unsure)]
    chosen = choose(recipe, apart(sure + unsure), peaked(scores, labels))
    expected = sorted(range(sure + unsure), key=lambda i: -scores[i])[:kept]
    assert chosen.rows.tolist() == expected
    assert chosen.labels.tolist() == [labels[i] for i in expected]
    assert chosen.scores.tolist() == pytest.approx([scores[i] for i in expected])


@pytest.mark.parametrize("recipe", [RELEASED, README], ids=lambda r: r.name)
def test_a_score_at_the_threshold_is_sure(recipe: Recipe) -> None:
    chosen = choose(recipe, apart(14), peaked([0.2] * 12 + [0.1999] * 2, [1] * 14))
    assert len(chosen.rows) == 12


def test_the_background_is_no_class() -> None:
    probabilities = torch.tensor([[0.9, 0.06, 0.04], [0.1, 0.2, 0.7]])
    for recipe in (RELEASED, README):
        chosen = choose(recipe, apart(2), probabilities)
        assert chosen.labels.tolist() == [2, 1] and chosen.scores.tolist() == pytest.approx([0.7, 0.06])


def test_released_suppresses_across_classes_and_readme_within() -> None:
    # 10 x 10 pixels, moved by 3: IoU 70 / 130 = 0.54
    boxes = torch.tensor([[0.0, 0, 9, 9], [3.0, 0, 12, 9], [0.0, 40, 9, 49]])
    probabilities = peaked([0.8, 0.7, 0.6], [1, 2, 1])
    assert choose(RELEASED, boxes, probabilities).rows.tolist() == [0, 2]
    assert choose(README, boxes, probabilities).rows.tolist() == [0, 1, 2]
    # moved by 4: IoU 60 / 140 = 0.43, above 0.3 and not above 0.5
    boxes[1, ::2] += 1
    probabilities = peaked([0.8, 0.7, 0.6], [1, 1, 1])
    assert choose(RELEASED, boxes, probabilities).rows.tolist() == [0, 1, 2]
    assert choose(README, boxes, probabilities).rows.tolist() == [0, 2]


def test_readme_falls_back_to_the_best_class_that_stays() -> None:
    boxes = torch.tensor([[0.0, 0, 9, 9], [1.0, 0, 10, 9]])
    probabilities = torch.tensor([[0.1, 0.8, 0.1, 0.0], [0.1, 0.6, 0.0, 0.3]])
    chosen = choose(README, boxes, probabilities)
    assert chosen.rows.tolist() == [0, 1] and chosen.labels.tolist() == [1, 3]
    assert chosen.scores.tolist() == pytest.approx([0.8, 0.3])


def test_released_leaves_out_scores_up_to_a_hundredth_of_the_threshold() -> None:
    chosen = choose(RELEASED, apart(4), peaked([0.002, 0.0021, 0.0019, 0.5], [1, 2, 3, 4]))
    assert chosen.rows.tolist() == [3, 1]
    assert len(choose(RELEASED, apart(2), peaked([0.001, 0.0], [1, 1])).rows) == 0


def scene(seed: int, classes: int = 6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 100, (60, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(10, 70, (60, 2))], axis=1)
    return boxes, np.array([slow.softmax(row) for row in rng.normal(0, 2, (60, classes))])


@pytest.mark.parametrize("seed", range(5))
def test_equals_the_slow_choice(seed: int) -> None:
    boxes, probabilities = scene(seed)
    for recipe, slowly in ((RELEASED, slow.choose_released), (README, slow.choose_readme)):
        chosen = choose(recipe, torch.tensor(boxes), torch.tensor(probabilities))
        assert list(zip(chosen.rows.tolist(), chosen.labels.tolist(), strict=True)) == slowly(boxes, probabilities)


@pytest.mark.parametrize("seed", range(3))
def test_boxes_of_each_class_equal_the_slow_choice(seed: int) -> None:
    boxes, probabilities = scene(seed)
    moved = boxes[:, None] + np.random.default_rng(seed).uniform(0, 8, (60, 6, 4))
    chosen = choose(DEMO, torch.tensor(moved), torch.tensor(probabilities))
    expected = slow.choose_readme(boxes, probabilities, moved)
    assert list(zip(chosen.rows.tolist(), chosen.labels.tolist(), strict=True)) == expected
    same = torch.tensor(np.repeat(boxes[:, None], 6, axis=1))
    assert torch.equal(
        choose(DEMO, same, torch.tensor(probabilities)).rows,
        choose(README, torch.tensor(boxes), torch.tensor(probabilities)).rows,
    )


def test_best_attribute_is_none_below_the_threshold_and_never_place_0() -> None:
    logits = torch.tensor([[5.0, 1.0, 2.0, 0.0], [0.0, 0.0, 3.0, 0.0], [9.0, 0.0, 0.0, 0.0]])
    places, scores = best_attribute(logits, 0.04)
    assert places.tolist() == [1, 1, -1]
    assert scores[0].item() == pytest.approx(slow.softmax(np.array([5.0, 1, 2, 0]))[2], rel=1e-5)
    assert torch.isnan(scores[2])
