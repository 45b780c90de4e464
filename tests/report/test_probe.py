"""Figures 4 and 6 from a tiny model that was really trained."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training import tiny_run
from vlp.config.launch import Resources
from vlp.data.tables import read_table
from vlp.report import probe


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    inputs, run = tmp_path_factory.mktemp("inputs"), tmp_path_factory.mktemp("run")
    tiny_run.write_inputs(inputs)
    tiny_run.train(inputs, run, "stage2", Resources(executor="inline"), epochs=0.5)
    return inputs, run / "model"


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
    kinds = {p["kind"] for p in found["embedding"]}
    assert kinds == {"tag", "attribute"} and len({p["name"] for p in found["embedding"]}) == len(found["embedding"])


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
