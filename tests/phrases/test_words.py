from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlp.phrases import words
from vlp.phrases.words import noun_lemma, quality, third_person, verb_lemma, verb_of_participle


def _set(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


VERBS = _set("rid ride sit run hit bike hop hope plan plane star stare set bath tap tape swim walk go do be wear cover")
NOUNS = _set("square box cross hexagon puppy glass dog vas vase crosse horse bus parking")
LEXICON = words.Lexicon(VERBS, NOUNS, frozenset(("striped", "broken", "covered")), frozenset(), {"geese": "goose"})


@pytest.mark.parametrize(
    ("form", "model", "lemma"),
    [
        ("riding", "rid", "ride"),
        ("rides", "rid", "ride"),
        ("ridding", "ridd", "rid"),
        ("rid", "rid", "rid"),
        ("sitting", "sit", "sit"),
        ("running", "run", "run"),
        ("hitting", "hit", "hit"),
        ("biking", "bike", "bike"),
        ("staring", "star", "stare"),
        ("stared", "star", "stare"),
        ("hopping", "hop", "hop"),
        ("hoping", "hop", "hope"),
        ("swimming", "swim", "swim"),
        ("walking", "walk", "walk"),
        ("goes", "go", "go"),
        ("does", "do", "do"),
        ("lying", "lie", "lie"),
        ("is", "be", "be"),
        ("multicolored", "multicolore", "multicolored"),
    ],
)
def test_verb_lemma(form: str, model: str, lemma: str) -> None:
    assert verb_lemma(form, model, VERBS) == lemma


@given(st.sampled_from(sorted(v for v in VERBS if v.endswith("e") and len(v) > 2)), st.sampled_from(("ing", "ed")))
def test_a_verb_on_e_comes_back_whatever_the_model_says(verb: str, ending: str) -> None:
    assert verb_lemma(verb[:-1] + ending, verb[:-1], VERBS) == verb


@pytest.mark.parametrize(
    ("form", "model", "tag", "lemma"),
    [
        ("people", "people", "NNS", "people"),
        ("men", "man", "NNS", "man"),
        ("jeans", "jean", "NNS", "jeans"),
        ("hexagons", "hexagons", "NNP", "hexagon"),
        ("boxes", "boxes", "NNPS", "box"),
        ("puppies", "puppies", "VBZ", "puppy"),
        ("cross", "cross", "VB", "cross"),
        ("glass", "glass", "NNP", "glass"),
        ("vases", "vas", "NNS", "vase"),
        ("horses", "horse", "NNS", "horse"),
        ("crosses", "cross", "NNS", "cross"),  # `crosse` is a noun too
        ("buses", "bus", "NNS", "bus"),
        ("geese", "geese", "JJ", "goose"),
        ("dogs", "dogs", "NN", "dog"),
        ("parking", "parking", "NN", "parking"),
    ],
)
def test_noun_lemma(form: str, model: str, tag: str, lemma: str) -> None:
    assert noun_lemma(form, model, tag, LEXICON) == lemma


@pytest.mark.parametrize(
    ("form", "model", "tag", "value"),
    [
        ("striped", "strip", "VBN", "striped"),
        ("striped", "striped", "JJ", "striped"),
        ("walking", "walking", "JJ", "walk"),
        ("walking", "walk", "VBG", "walk"),
        ("covered", "cover", "VBN", "cover"),
        ("covered", "covered", "JJ", "covered"),
        ("swimming", "swim", "VBG", "swimming"),
        ("two", "two", "CD", "two"),
    ],
)
def test_a_participle_is_its_verb_an_adjective_stays(form: str, model: str, tag: str, value: str) -> None:
    assert quality(form, model, tag, LEXICON) == value


def test_third_person_and_participle_know_only_verbs() -> None:
    assert [third_person(f, VERBS) for f in ("stares", "goes", "squares")] == ["stare", "go", None]
    assert [verb_of_participle(f, VERBS) for f in ("riding", "sitting", "clothing")] == ["ride", "sit", None]
