"""Figures 4, 5 and 6 from a tiny model that was really trained."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.training import tiny_run
from vlp.batching.inputs import Inputs
from vlp.config.launch import Resources
from vlp.data.tables import read_table, write_table
from vlp.methods.mvptr import directory, reader
from vlp.methods.mvptr import figures as probe
from vlp.phrases.vocabulary import PhraseRecord, PhraseVocabulary


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    inputs, run = tmp_path_factory.mktemp("inputs"), tmp_path_factory.mktemp("run")
    tiny_run.write_inputs(inputs)
    tiny_run.train(inputs, run, "stage2", Resources(executor="inline"), epochs=0.5)
    return inputs, run / "model"


@pytest.mark.slow
def test_maps_are_of_the_named_rows_and_columns(trained: tuple[Path, Path]) -> None:
    inputs, model = trained
    found = probe.probe(tiny_run.experiment(), tiny_run.paths(inputs), model, "train")
    assert len(found["attention"]) == probe.PAIRS
    texts = {r["caption_id"]: r["text"] for r in read_table(inputs / "tables", "captions").to_pylist()}
    for pair in found["attention"]:
        assert texts[pair["caption_id"]].split() == pair["words"]
        shapes = {
            "phrase_to_word": (len(pair["phrases"]), len(pair["words"])),
            "region_to_tag": (len(pair["boxes"]), len(pair["tags"])),
            "phrase_to_region": (len(pair["phrases"]), len(pair["boxes"])),
            "word_to_region": (len(pair["words"]), len(pair["boxes"])),
        }
        assert {name: np.shape(pair[name]) for name in shapes} == shapes
        assert all(np.sum(pair[name], axis=1) == pytest.approx(1.0, abs=1e-3) for name in shapes)


@pytest.mark.slow
def test_each_tag_of_figure_6_stands_with_the_phrases_that_contain_it(trained: tuple[Path, Path]) -> None:
    inputs, model = trained
    points = probe.probe(tiny_run.experiment(), tiny_run.paths(inputs), model, "train")["embedding"]
    kinds = {p["kind"] for p in points}
    assert kinds == {"tag", "attribute"} and len({p["name"] for p in points}) == len(points)
    tags = [p["name"] for p in points if p["kind"] == "tag"]
    assert 0 < len(tags) <= probe.TAGS and all(p["tag"] in tags for p in points)
    for tag in tags:
        own = [p["name"].split() for p in points if p["tag"] == tag and p["kind"] != "tag"]
        assert 0 < len(own) <= probe.PHRASES and all(tag in parts for parts in own)


def test_a_phrase_stands_with_the_tag_it_names_first_and_rare_ones_are_left_out() -> None:
    def record(*parts: str, count: int, kind: str = "relation") -> PhraseRecord:
        return PhraseRecord(100 + count, parts, kind, count)  # pyright: ignore[reportArgumentType]

    records = [record("man", "in", "car", count=5), record("car", "red", count=7, kind="attribute")]
    records += [record("dog", count=9, kind="object"), record("man", "tall", count=1, kind="attribute")]
    records += [record("car", f"kind{n}", count=10 + n, kind="attribute") for n in range(probe.PHRASES)]
    found = probe._chosen(["Car", "dog", "man"], PhraseVocabulary(200, tuple(records)))
    assert list(found) == ["Car", "man"]  # no phrase of two parts contains a dog
    assert [r.count for r in found["man"]] == [5, 1]
    assert [r.count for r in found["Car"]] == list(range(9 + probe.PHRASES, 9, -1))  # red, more seldom, is left out


def _phrase_boxes(caption: dict[str, Any]) -> list[dict[str, Any]]:
    """`a red star` has one box, `one more blue ring` another."""
    found = []
    for number, text in enumerate(caption["text"].split(" and ")):
        start = caption["text"].index(text)
        row = {"phrase_id": f"{caption['caption_id']}/{number}", "start": start, "end": start + len(text)}
        same = {name: caption[name] for name in ("caption_id", "image_id", "split")}
        boxes = [[30.0, 30.0, 60.0, 60.0]] if number else [[0.0, 0.0, 20.0, 20.0]]
        found.append({**row, **same, "text": text, "phrase_type": "other", "boxes": boxes})
    return found


def test_truth_of_an_extracted_phrase() -> None:
    first, second = {"boxes": [[0, 0, 1, 1]]}, {"boxes": [[2, 2, 3, 3], [4, 4, 5, 5]]}
    marked = [(first, np.array([1, 2, 3])), (second, np.array([6, 7]))]
    assert probe._truth("attribute", [2, 3], marked) == first["boxes"]
    assert probe._truth("attribute", [3, 4], marked) == []  # a word of it stands outside
    assert probe._truth("relation", [3, 4, 7], marked) == [*first["boxes"], *second["boxes"]]
    assert probe._truth("relation", [4, 7], marked) == second["boxes"]
    assert probe._truth("attribute", [], marked) == [] == probe._truth("relation", [9], marked)


@pytest.mark.slow
@pytest.mark.parametrize("annotated", [True, False])
def test_figure_5_has_the_nearest_region_of_annotated_and_extracted_phrases(
    trained: tuple[Path, Path], tmp_path: Path, annotated: bool
) -> None:
    inputs, model = trained
    shutil.copytree(inputs, tmp_path / "inputs")
    paths = tiny_run.paths(tmp_path / "inputs")
    if annotated:
        captions = read_table(paths.tables, "captions").to_pylist()
        write_table(paths.tables, "phrase_boxes", [p for c in captions for p in _phrase_boxes(c)])
    experiment = tiny_run.experiment()
    found = probe.probe(experiment, paths, model, "train")["grounding"]
    store, network = Inputs(experiment, paths).store, directory.load(model).float().eval()
    collator = reader.collator(Inputs(experiment, paths), "captions")
    assert len(found) == probe.GROUNDED
    for pair in found:
        row = collator.texts.ids.index(pair["caption_id"])
        words, phrases, _ = collator.text(row)
        assert len(pair["extracted"]) == len(phrases) > 1 and bool(pair["annotated"]) == annotated
        with torch.inference_mode():
            states = network.joint(collator(np.array([row]), [pair["image_id"]]))[0][0]  # layer 1 is WPG's here
        boxes = store.regions(pair["image_id"]).boxes.astype(float)
        regions = torch.nn.functional.normalize(states[len(words) + len(phrases) + 2 :][: len(boxes)], dim=-1)
        for number, phrase in enumerate(pair["extracted"]):
            own = torch.nn.functional.normalize(states[1 + len(words) + number], dim=-1)
            assert phrase["box"] == pytest.approx(boxes[int((regions @ own).argmax())], abs=0.01)
            # The words of an attribute stand in an annotated phrase: its boxes are the truth.
            inside = [
                a
                for a in pair["annotated"]
                if phrase["words"] and all(a["start"] <= s and e <= a["end"] for s, e in phrase["words"])
            ]
            assert phrase["kind"] == "attribute" and phrase["boxes"] == [b for a in inside for b in a["boxes"]]
        assert any(phrase["boxes"] for phrase in pair["extracted"]) or not annotated


def test_the_parts_are_cut_where_the_sequences_have_them() -> None:
    """Layers [1,H,L,L] in which each row attends to one position alone."""
    words, phrases, tags, regions = 3, 2, 2, 4
    text, visual = words + phrases + 2, tags + 2 + regions

    def only(size: int, where: dict[int, int]) -> torch.Tensor:
        layer = torch.full((1, 2, size, size), 1e-9)
        for row, column in where.items():
            layer[:, :, row, column] = 1.0
        return layer

    layers = {
        "text": [only(text, {1 + words: 2, 2 + words: 3})],  # the phrases look at the second and third word
        "visual": [only(visual, {tags + 2: 2, tags + 3: 1})],  # two regions, at the second and first tag
        "multimodal": [only(text + visual, {1 + words: text + 3, 1: text})],
    }
    found = probe._maps(layers, (words, phrases, tags, regions))
    assert found["phrase_to_word"].argmax(1).tolist() == [1, 2]
    assert found["region_to_tag"].argmax(1).tolist()[:2] == [1, 0]
    assert found["phrase_to_region"][0].argmax() == 3 and found["word_to_region"][0].argmax() == 0
