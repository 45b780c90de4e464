"""Where a prepositional phrase hangs."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlp.errors import InputError
from vlp.phrases.attachment import Associations, Choice, Word, associations, attach, choices
from vlp.phrases.parser import SceneGraphParser

RIDE, BIKE = ("verb", "ride"), ("noun", "bike")


def found(parser: SceneGraphParser, text: str) -> list[Choice]:
    return list(choices(next(parser.sentences([text]))))


def test_candidates_are_the_words_that_no_other_phrase_parts_from_the_preposition(parser: SceneGraphParser) -> None:
    down, on = found(parser, "a man rides a bike down a street on a hill")
    assert (down.name, down.thing.text, [t.text for _, t in down.candidates]) == ("down", "street", ["bike", "rides"])
    assert (on.name, [t.text for _, t in on.candidates]) == ("on", ["street", "rides"])
    assert not down.sure and not on.sure


@pytest.mark.parametrize(
    ("text", "name", "sure"),
    [
        ("a cat on a bed", "on", True),
        ("a cat sleeps on a bed", "on", True),
        ("a cat in a box next to a bed", "next to", False),
        ("a cat in a box in front of a bed", "in front of", False),
    ],
)
def test_names_and_sure_cases(parser: SceneGraphParser, text: str, name: str, sure: bool) -> None:
    last = found(parser, text)[-1]
    assert (last.name, last.sure) == (name, sure)


def test_of_times_and_deeds_are_left_alone(parser: SceneGraphParser) -> None:
    assert not found(parser, "a group of people")
    assert not found(parser, "a man rides a bike at night")
    (on,) = found(parser, "a woman plays tennis on a court")
    assert [t.text for _, t in on.candidates] == ["plays"]


def test_what_a_corpus_has_decides_and_else_the_model(parser: SceneGraphParser) -> None:
    text = "a man rides a bike with a basket"
    for word, head in ((BIKE, "bike"), (RIDE, "rides")):
        sentence = next(parser.sentences([text]))
        attach(sentence, Associations({RIDE: 50, BIKE: 50}, {(*word, "with", "basket"): 20}))  # type: ignore[dict-item]
        assert next(t for t in sentence.doc if t.text == "with").head.text == head
    unknown = Associations({}, {})
    assert unknown.best((BIKE, RIDE), "with", "basket", 0) == 0  # type: ignore[arg-type]
    assert unknown.best((BIKE, RIDE), "with", "basket", 1) == 1  # type: ignore[arg-type]


lemma = st.sampled_from(["a", "b", "c"])
words = st.tuples(st.sampled_from(["noun", "verb"]), lemma)
triples = st.tuples(st.sampled_from(["noun", "verb"]), lemma, st.sampled_from(["in", "on"]), lemma)


@given(
    st.dictionaries(triples, st.integers(1, 50)), st.lists(words, min_size=1, max_size=4), st.sampled_from(["in", "by"])
)
def test_shares_are_a_distribution_and_any_words_have_one(
    attached: dict[tuple[str, str, str, str], int], candidates: list[Word], name: str
) -> None:
    counts: dict[Word, int] = {}
    for key, number in attached.items():
        counts[key[:2]] = counts.get(key[:2], 0) + number  # type: ignore[index]
    shares = Associations(counts, attached).shares(tuple(candidates), name, "a")  # type: ignore[arg-type]
    assert all(share > 0 for share in shares) and sum(shares) == pytest.approx(1)


def test_files_go_both_ways_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "attachments.tsv"
    known = Associations({RIDE: 7, BIKE: 5}, {(*BIKE, "with", "basket"): 3})  # type: ignore[dict-item]
    known.save(path)
    again = Associations.read(path)
    assert (again.words, again.attached) == (known.words, known.attached)
    for damage in ("noun\tbike\twith\t\t3\n", "adverb\tbike\t\t\t3\n", "noun\tbike\t\t\tmany\n", "noun\n"):
        path.write_text("noun\tbike\t\t\t5\n" + damage)
        with pytest.raises(InputError, match=r"attachments\.tsv.*line 2"):
            Associations.read(path)


def test_those_of_the_package() -> None:
    known = associations()
    assert len(known.attached) > 10_000
    assert all(key[:2] in known.words for key in known.attached)
    assert known.best((("noun", "table"), ("verb", "eat")), "with", "fork", 0) == 1
    assert known.best((("noun", "bird"), ("verb", "feed")), "on", "branch", 1) == 0
