from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlp.config.data import Shapes
from vlp.config.tasks.entailment import LABELS
from vlp.data.shapes import entailment, questions
from vlp.data.shapes.balance import Candidate, select
from vlp.data.shapes.questions import prefix
from vlp.data.shapes.render import outline
from vlp.data.shapes.scene import Scene, Thing, scenes

DIALS = Shapes(train_images=250, val_images=100, test_images=1)
NOUNS = ("circle", "square", "triangle", "star", "cross", "ring", "heart", "diamond", "moon", "arrow")


@pytest.fixture(scope="module")
def splits() -> tuple[list[Scene], list[Scene]]:
    drawn = [outline(s) for s in scenes(DIALS)]
    return drawn[:250], drawn[250:350]


@pytest.fixture(scope="module")
def asked(splits: tuple[list[Scene], list[Scene]]) -> list[list[Candidate]]:
    return [questions.choose(part, DIALS, n) for n, part in enumerate(splits)]


@pytest.fixture(scope="module")
def said(splits: tuple[list[Scene], list[Scene]]) -> list[list[Candidate]]:
    return [entailment.choose(part, DIALS, n) for n, part in enumerate(splits)]


def guess(train: Sequence[Candidate], test: Sequence[Candidate], key: Callable[[Candidate], str]) -> float:
    """Accuracy of the answer that is most frequent in train, given the key of the text."""
    known: dict[str, Counter[str]] = defaultdict(Counter)
    for c in train:
        known[key(c)][c.answer] += 1
    overall = Counter(c.answer for c in train)
    return float(np.mean([(known[key(c)] or overall).most_common(1)[0][0] == c.answer for c in test]))


def test_guessing_from_the_question_gains_nothing(asked: list[list[Candidate]]) -> None:
    train, test = asked
    for key in (lambda c: c.text, lambda c: c.template, lambda c: prefix(c.text)):
        floors = {"yes/no": 0.5, "number": 0.36, "other": 0.25}
        for kind, floor in floors.items():
            part = [c for c in test if c.type == kind]
            assert len(part) > 50
            assert guess([c for c in train if c.type == kind], part, key) <= floor, kind


def test_yes_and_no_are_even_per_question_and_per_word(asked: list[list[Candidate]]) -> None:
    for part in asked:
        yes_no = [c for c in part if c.type == "yes/no"]
        assert 0.4 < len(yes_no) / len(part) < 0.65
        for keys in (lambda c: [c.text], lambda c: set(c.text.split()), lambda c: [c.template]):
            balance: Counter[str] = Counter()
            for c in yes_no:
                for k in keys(c):
                    balance[k] += 1 if c.answer == "yes" else -1
            assert set(balance.values()) == {0}


def test_questions_are_many_and_answered_truly(
    asked: list[list[Candidate]], splits: tuple[list[Scene], list[Scene]]
) -> None:
    for part, drawn in zip(asked, splits, strict=True):
        assert len(part) > 0.9 * DIALS.questions_per_image * len(drawn)
        per_image = Counter(c.image for c in part)
        assert max(per_image.values()) <= DIALS.questions_per_image
        assert len({(c.image, c.text) for c in part}) == len(part)
        by_index = {s.index: s for s in drawn}
        for c in part:
            _check(c, by_index[c.image].things)


def _check(c: Candidate, things: Sequence[Thing]) -> None:
    """Answers of the questions that need no geometry, from the words alone."""
    words = c.text.rstrip("?").split()
    if c.template.startswith("exist"):
        value, noun = words[-2:]
        found = any(t.shape == noun and value in (t.size, t.colour, t.texture) for t in things)
        assert c.answer == ("yes" if found else "no")
    elif c.template == "count":
        word = words[2]
        shape = next((n for n in NOUNS if word in (f"{n}s", f"{n}es")), None)
        assert c.answer == str(sum(shape == t.shape or word in (t.size, t.colour, t.texture) for t in things))
    elif c.template == "colour_of":
        named = [t for t in things if t.shape == words[-1] and set(words[4:-1]) <= {t.size, t.texture}]
        assert [c.answer] == [t.colour for t in named]


def test_annotators_mostly_agree_and_dissent_plausibly(asked: list[list[Candidate]]) -> None:
    lists = [(c, questions.answers(c, 0, n)) for n, c in enumerate(asked[0])]
    assert all(len(a) == 10 and a.count(c.answer) >= 7 for c, a in lists)
    assert 0.1 < np.mean([len(set(a)) > 1 for _, a in lists]) < 0.6
    for c, given_ in lists:
        for other in set(given_) - {c.answer}:
            if c.type == "number":
                assert abs(int(other) - int(c.answer)) == 1
            elif c.type == "yes/no":
                assert other in ("yes", "no") and given_.count(other) == 1


def test_guessing_from_the_hypothesis_gains_nothing(said: list[list[Candidate]]) -> None:
    train, test = said
    for part in said:
        labels: dict[str, Counter[str]] = defaultdict(Counter)
        for c in part:
            labels[c.text][c.answer] += 1
        assert all(len(set(n.values())) == 1 and len(n) == 3 for n in labels.values())
    assert guess(train, test, lambda c: c.text) == pytest.approx(1 / 3, abs=0.01)
    assert len(test) > 0.8 * DIALS.hypotheses_per_image * 100 and len({c.text for c in train}) > 200


def test_bag_of_words_learns_no_label(said: list[list[Candidate]]) -> None:
    """Naive Bayes over words and pairs of words, trained on train, is at chance on the other split."""
    train, test = said

    def features(c: Candidate) -> set[str]:
        words = c.text.split()
        return {*words, *map(" ".join, pairwise(words))}

    counts: dict[str, Counter[str]] = {label: Counter() for label in LABELS}
    for c in train:
        counts[c.answer].update(features(c))
    right = [
        max(counts, key=lambda label: sum(np.log(counts[label][f] + 1) for f in features(c))) == c.answer for c in test
    ]
    assert np.mean(right) <= 0.42


def test_labels_depend_on_all_referents() -> None:
    red = Thing("circle", "red", "small", "solid", box=(0, 0, 20, 20))
    blue = Thing("circle", "blue", "small", "dotted", box=(0, 60, 20, 80))
    star = Thing("star", "green", "large", "solid", box=(80, 60, 140, 120))
    scene = Scene(0, 0, 160, (red, blue, star), "light", "flat")
    labels = {c.text: c.answer for c in entailment.candidates(scene, DIALS)}
    assert labels["the circle is small"] == "entailment"
    assert labels["the circle is red"] == "neutral"
    assert labels["the circle is large"] == "contradiction"
    assert labels["the solid object is red"] == "neutral"
    assert labels["the circle is to the left of the star"] == "entailment"
    assert labels["the circle is inside the star"] == "contradiction"
    assert labels["the green object is a star"] == "entailment"
    assert "the star is above the star" not in labels


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_laws_of_selection(data: st.DataObject) -> None:
    """Whatever the pool: no image over its capacity, nothing twice, every text even over two or three answers."""
    possible = data.draw(st.sampled_from([("yes", "no"), ("a", "b", "c")]))
    drawn = data.draw(
        st.dictionaries(st.tuples(st.integers(0, 9), st.sampled_from("pqrs")), st.sampled_from(possible), max_size=40)
    )
    pool = [Candidate(image, text, answer, "t") for (image, text), answer in drawn.items()]
    capacity = data.draw(st.integers(1, 4))
    target = data.draw(st.integers(0, 40))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    chosen = select(pool, {"t": target}, capacity, lambda _: len(possible), "t", rng)
    assert len(set(chosen)) == len(chosen) and set(chosen) <= set(pool)
    assert max(Counter(c.image for c in chosen).values(), default=0) <= capacity
    for text in "pqrs":
        counts = Counter(c.answer for c in chosen if c.text == text)
        assert not counts or (set(counts) == set(possible) and len(set(counts.values())) == 1)
