import math
from itertools import combinations, permutations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlp.data.answers import normalise_answer
from vlp.metrics import bootstrap, entailment, grounding, retrieval, vqa


# -- bootstrap ---------------------------------------------------------------------------------------------------
def test_by_image_sums_and_counts() -> None:
    sums, counts = bootstrap.by_image([1.0, 2.0, 4.0], ["b", "a", "b"])
    assert sums.tolist() == [[2.0], [5.0]] and counts.tolist() == [1.0, 2.0]


def test_interval_has_the_width_of_the_binomial_and_is_the_same_each_time() -> None:
    values = np.repeat([0.0, 1.0], 500)
    low, high = bootstrap.interval(values, [f"{i:04d}" for i in range(1000)])
    assert low == pytest.approx(0.5 - 1.96 * 0.5 / math.sqrt(1000), abs=0.005)
    assert high == pytest.approx(0.5 + 1.96 * 0.5 / math.sqrt(1000), abs=0.005)
    assert (low, high) == bootstrap.interval(values, [f"{i:04d}" for i in range(1000)])


def test_items_of_one_image_are_drawn_together() -> None:
    values = np.repeat([0.0, 1.0], 500)
    alone = bootstrap.interval(values, [str(i) for i in range(1000)])
    together = bootstrap.interval(values, [str(i // 100) for i in range(1000)])  # ten images of 100 equal items
    assert together[1] - together[0] > 5 * (alone[1] - alone[0])


@given(st.floats(-10, 10), st.lists(st.sampled_from("abcdef"), min_size=1, max_size=30))
def test_a_constant_has_no_spread(value: float, images: list[str]) -> None:
    assert bootstrap.interval([value] * len(images), images) == pytest.approx((value, value))


# -- retrieval ---------------------------------------------------------------------------------------------------
def _table(rows: list[tuple[str, str, str, float, float, bool]]) -> pa.Table:
    names = ("direction", "query_id", "candidate_id", "coarse", "score", "positive")
    return pa.table({name: [row[i] for row in rows] for i, name in enumerate(names)})


HAND = _table(
    [
        # image A: its caption a1 is 2nd by score, 1st by coarse; image B: both captions missed.
        ("i2t", "A", "a1", 0.9, 0.6, True),
        ("i2t", "A", "b1", 0.8, 0.7, False),
        ("i2t", "B", "a1", 0.5, 0.9, False),
        ("i2t", "B", "a2", 0.4, 0.1, False),
        # captions a1, b1 right at once; a2 second by both; b2: the positive was not kept.
        ("t2i", "a1", "A", 0.9, 0.6, True),
        ("t2i", "a1", "B", 0.1, 0.5, False),
        ("t2i", "a2", "B", 0.7, 0.9, False),
        ("t2i", "a2", "A", 0.6, 0.8, True),
        ("t2i", "b1", "B", 0.2, 0.3, True),
        ("t2i", "b2", "A", 0.2, 0.3, False),
    ]
)
OWNER = {"a1": "A", "a2": "A", "b1": "B", "b2": "B"}


def test_recalls_of_a_hand_worked_case() -> None:
    found = retrieval.recalls(HAND)
    assert found == {
        "TR@1": 0.0, "TR@5": 50.0, "TR@10": 50.0, "IR@1": 50.0, "IR@5": 75.0, "IR@10": 75.0, "RSUM": 300.0,
        "Uni-TR@1": 50.0, "Uni-TR@5": 50.0, "Uni-TR@10": 50.0,
        "Uni-IR@1": 50.0, "Uni-IR@5": 75.0, "Uni-IR@10": 75.0, "Uni-RSUM": 350.0,
    }  # fmt: skip


def test_recalls_with_intervals_agree_and_tell_chance() -> None:
    kept = retrieval.directions(HAND)
    fine, coarse = retrieval.tally(kept, OWNER), retrieval.tally(kept, OWNER, coarse=True)
    rows = {r.metric: r for r in retrieval.recalls_with_intervals([fine])}
    rows |= {r.metric: r for r in retrieval.recalls_with_intervals([coarse], "Uni-")}
    assert {name: row.value for name, row in rows.items()} == retrieval.recalls(HAND)
    assert rows["IR@1"].chance == 50.0 and rows["IR@5"].chance == 100.0  # one of two images
    assert rows["TR@1"].chance == 50.0 and rows["TR@5"].chance == 100.0  # two of four captions
    assert rows["RSUM"].chance == 500.0
    assert (rows["TR@1"].n, rows["IR@1"].n, rows["RSUM"].n) == (2, 4, 6)
    assert all(row.low <= row.value <= row.high for row in rows.values())
    lost = {r.metric: r for r in retrieval.lost(fine, coarse)}  # the same queries in another order
    assert (lost["TR@1"].value, lost["IR@5"].value, lost["RSUM"].value) == (50.0, 0.0, 50.0)
    assert lost["IR@5"].low == lost["IR@5"].high == 0.0  # paired: no spread where nothing differs
    twice = retrieval.recalls_with_intervals([fine, coarse])
    assert twice[0].value == (0.0 + 50.0) / 2 and twice[0].n == 4
    assert (rows["IR@1"].low, rows["IR@1"].high) == (50.0, 50.0)  # each image has one right caption of two


def test_equal_scores_go_by_coarse_then_id() -> None:
    rows = [("t2i", "q", c, coarse, 1.0, c == "y") for c, coarse in (("x", 0.1), ("y", 0.5), ("z", 0.5))]
    (rank,) = retrieval.first_positive(retrieval.directions(_table(rows))["t2i"])[1]
    assert rank == 0  # y before z by id, both before x by coarse
    for order in permutations(rows):
        assert retrieval.first_positive(retrieval.directions(_table(list(order)))["t2i"])[1].tolist() == [rank]


@given(total=st.integers(1, 7), positives=st.integers(0, 7), k=st.integers(1, 10))
def test_chance_is_the_share_of_draws_that_hold_a_positive(total: int, positives: int, k: int) -> None:
    positives = min(positives, total)
    draws = list(combinations(range(total), min(k, total)))
    assert retrieval.chance(positives, total, k) == pytest.approx(sum(d[0] < positives for d in draws) / len(draws))


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(2, 8), st.integers(1, 3))
def test_recalls_equal_a_plain_loop(seed: int, images: int, captions: int) -> None:
    random = np.random.default_rng(seed)
    rows, wanted = [], {"TR": [], "IR": []}
    texts = [(f"{i}#{c}", str(i)) for i in range(images) for c in range(captions)]
    for direction, name, queries in (
        ("i2t", "TR", [(str(i), texts) for i in range(images)]),
        ("t2i", "IR", [(t, [(str(i), str(i)) for i in range(images)]) for t, _ in texts]),
    ):
        for query, candidates in queries:
            kept = [c for c in candidates if random.random() < 0.7] or candidates[:1]
            scored = [(float(random.random()), c, owner == query.split("#")[0]) for c, owner in kept]
            rows += [(direction, query, c, 0.0, s, p) for s, c, p in scored]
            order = [p for _, _, p in sorted(scored, reverse=True)]
            wanted[name].append(order.index(True) if True in order else math.inf)
    found = retrieval.recalls(_table(rows))
    for name, ranks in wanted.items():
        for k in retrieval.KS:
            assert found[f"{name}@{k}"] == pytest.approx(100 * np.mean([rank < k for rank in ranks]))
    assert sum(found[f"{n}@{k}"] for n in ("TR", "IR") for k in retrieval.KS) == pytest.approx(found["RSUM"])


# -- VQA ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("answer", "references", "wanted"),
    [
        ("red", ["red"] * 10, 1.0),
        ("blue", ["red"] * 10, 0.0),
        ("red", ["red"] * 4 + ["blue"] * 6, 1.0),
        ("red", ["red"] * 3 + ["blue"] * 7, 0.9),  # (7 x 1 + 3 x 2/3) / 10
        ("red", ["red"] * 2 + ["blue"] * 8, 0.6),  # (8 x 2/3 + 2 x 1/3) / 10
        ("red", ["red"] + ["blue"] * 9, 0.3),  # (9 x 1/3 + 0) / 10
        ("two", ["2"] * 3 + ["3"] * 7, 0.9),
        ("a sky-blue", ["sky-blue"] * 10, 0.0),  # annotators who agree are compared as written
        ("sky-blue", ["sky-blue"] * 10, 1.0),
        ("Sky-blue", ["sky-blue"] * 10, 0.0),
        ("sky-blue\n", [" sky-blue\t"] * 10, 1.0),
        ("a sky-blue", ["sky-blue"] * 9 + ["red"], 1.0),
        ("none", ["none"] * 7 + ["1"] * 3, 1.0),  # both become 0
        ("0", ["none"] * 7 + ["1"] * 3, 1.0),
        ("0", ["none"] * 10, 0.0),
        ("none", ["none"] * 10, 1.0),
        ("the dog", ["A dog!"] * 2 + ["cat"] * 8, 0.6),
        ("1,000", ["1000"] * 5 + ["one thousand"] * 5, 1.0),
    ],
)
def test_accuracy_of_hand_worked_cases(answer: str, references: list[str], wanted: float) -> None:
    assert vqa.accuracy(answer, references) == pytest.approx(wanted)


@given(st.integers(0, 10))
def test_accuracy_equals_the_mean_over_the_subsets_of_nine(matches: int) -> None:
    references = ["yes"] * matches + ["no"] * (10 - matches)
    subsets = [references[:i] + references[i + 1 :] for i in range(10)]
    assert vqa.accuracy("yes", references) == pytest.approx(np.mean([min(1, s.count("yes") / 3) for s in subsets]))


WORDS = st.sampled_from(
    ["none", "0", "a dog", "the dog", "dog", "t-shirt", "t shirt", "Yes", "yes", "two", "2", "dont"]
)


@given(WORDS, st.lists(WORDS, min_size=10, max_size=10))
def test_accuracy_equals_the_public_evaluation(answer: str, references: list[str]) -> None:
    """Written again as the evaluation goes: annotator by annotator, against the nine others."""
    if any(reference != references[0] for reference in references):
        answer, references = normalise_answer(answer), [normalise_answer(r) for r in references]
    each = []
    for left_out in range(10):
        others = [r for n, r in enumerate(references) if n != left_out]
        each.append(min(1.0, sum(r == answer for r in others) / 3))
    assert vqa.accuracy(answer, references) == pytest.approx(sum(each) / 10)


def test_accuracies_by_type_and_most_frequent() -> None:
    table = pa.table(
        {
            "answer_type": ["yes/no", "number", "yes/no"],
            "answer": ["yes", "3", "no"],
            "answers": [["yes"] * 10, ["4"] * 10, ["yes"] * 7 + ["no"] * 3],
        }
    )
    assert vqa.accuracies(table) == pytest.approx(
        {"accuracy": 1.9 / 3, "accuracy (yes/no)": 0.95, "accuracy (number)": 0.0}
    )
    assert vqa.most_frequent([["b", "a"], ["a", "b"]]) == "a"
    assert vqa.most_frequent([]) is None


def test_majority_goes_to_the_lower_class_on_ties() -> None:
    assert entailment.majority(["entailment", "neutral", "neutral", "entailment"]) == "neutral"
    assert entailment.majority([]) is None


# -- grounding ---------------------------------------------------------------------------------------------------
coordinate = st.floats(0, 100)
box = st.tuples(coordinate, coordinate, coordinate, coordinate).map(
    lambda c: [min(c[0], c[2]), min(c[1], c[3]), max(c[0], c[2]) + 1, max(c[1], c[3]) + 1]
)


def test_exactly_half_is_not_right() -> None:
    true = [[0.0, 0.0, 10.0, 10.0]]
    assert grounding.right([[0, 0, 10, 5], [0, 0, 10, 5.1]], true, "any").tolist() == [False, True]


def test_any_box_and_merged_box_part_ways() -> None:
    true = [[0.0, 0.0, 10.0, 10.0], [10.0, 0.0, 20.0, 10.0]]
    chosen = [true[0], [0.0, 0.0, 20.0, 10.0]]
    assert grounding.right(chosen, true, "any").tolist() == [True, False]
    assert grounding.right(chosen, true, "merged").tolist() == [False, True]


@given(st.lists(box, min_size=1, max_size=4))
def test_an_oracle_is_right_under_both_rules(true: list[list[float]]) -> None:
    assert grounding.right(true, true, "any").all()
    assert grounding.right(grounding.merged(true), true, "merged").all()


def test_phrases_without_box_are_left_out() -> None:
    table = pa.table({"box": [[0.0, 0, 1, 1]] * 3, "boxes": [[[0.0, 0, 1, 1]], [], [[5.0, 5, 6, 6]]]})
    assert grounding.hits(table).tolist() == [True, False]


def test_prior_boxes() -> None:
    regions = np.array([[0, 0, 4, 4], [40, 40, 60, 60], [0, 0, 90, 50]], dtype=float)
    assert grounding.prior_boxes(regions, (100, 100)).tolist() == [
        [0, 0, 100, 100],
        [0, 0, 90, 50],
        [0, 0, 4, 4],
        [40, 40, 60, 60],
    ]
    assert grounding.prior_boxes(np.zeros((0, 4)), (8, 6)).tolist() == [[0, 0, 8, 6]] * 4


def test_recall_among_the_best_boxes_is_counted_and_its_chance_is_that_of_drawing() -> None:
    right, wrong = [0.0, 0.0, 10.0, 10.0], [50.0, 50.0, 60.0, 60.0]
    ranked = [[wrong] * place + [right] + [wrong] * (9 - place) for place in (0, 4, 5, 9)] + [[wrong] * 10]
    table = pa.table({"ranked": ranked, "box": [r[0] for r in ranked], "boxes": [[right]] * 5})
    first = grounding.first_right(table)
    assert first is not None and first.tolist() == [0, 4, 5, 9, grounding.NOWHERE]
    assert np.array_equal(first < 1, grounding.hits(table))  # R@1 is the accuracy
    rows = [row | {"image_id": str(n), "num_regions": 20} for n, row in enumerate(table.to_pylist())]
    measures = list(grounding.recalls_within(table, rows, "any", "", [0.05] * 5))
    assert [(m.metric, m.value, m.chance) for m in measures] == [("R@5", 40.0, 25.0), ("R@10", 80.0, 50.0)]
    assert grounding.first_right(table.drop_columns("ranked")) is None  # of an earlier version


@given(st.integers(1, 12), st.data())
def test_chance_among_k_equals_counting_every_draw(regions: int, data: st.DataObject) -> None:
    hits, k = data.draw(st.integers(0, regions)), data.draw(st.integers(1, 12))
    draws = list(combinations(range(regions), min(k, regions)))
    counted = sum(any(region < hits for region in draw) for draw in draws) / len(draws)
    assert grounding.chance_within(k, hits / regions, regions) == pytest.approx(counted)
