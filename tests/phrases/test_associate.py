"""What captions teach of prepositions."""

from __future__ import annotations

import pytest

from vlp.phrases.associate import Case, Observed, learn, observe
from vlp.phrases.attachment import Word

MODEL = "en_core_web_sm"
EAT: Word = ("verb", "eat")
PIZZA: Word = ("noun", "pizza")
MAN: Word = ("noun", "man")


def test_unsure_cases_follow_the_sure_ones() -> None:
    sure = [Case("with", "fork", (EAT,), 0, True)] * 30 + [Case("with", "cheese", (PIZZA,), 0, True)] * 30
    unsure = [Case("with", thing, (PIZZA, EAT), now, False) for thing in ("fork", "cheese") for now in (0, 1)]
    seen = Observed(cases=[*sure, *unsure * 5])
    seen.words.update({EAT: 80, PIZZA: 80})
    known = learn(seen, fewest=0)
    fork = [known.attached.get((*word, "with", "fork"), 0) for word in (EAT, PIZZA)]
    cheese = [known.attached.get((*word, "with", "cheese"), 0) for word in (PIZZA, EAT)]
    assert fork[0] + fork[1] == 40 and fork[0] >= 35  # every case is counted once
    assert cheese[0] + cheese[1] == 40 and cheese[0] >= 35


def test_rare_triples_and_words_without_any_are_left_out() -> None:
    seen = Observed(cases=[Case("on", "bed", (MAN,), 0, True)] * 3 + [Case("on", "bed", (PIZZA,), 0, True)] * 2)
    seen.words.update({MAN: 3, PIZZA: 2, EAT: 9})
    known = learn(seen)
    assert known.attached == {(*MAN, "on", "bed"): 3}
    assert known.words == {MAN: 3}


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_what_stands_in_texts(processes: int) -> None:
    *_, seen = observe(["a man eats pizza with a fork", "a man on a bed", "Two men on a bed"], MODEL, processes)
    assert seen.words[MAN] == 3 and seen.words[EAT] == 1
    assert seen.cases == [
        Case("with", "fork", (EAT,), 0, True),
        *[Case("on", "bed", (MAN,), 0, True)] * 2,
    ]
