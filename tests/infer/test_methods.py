"""Inference and search on a method that has neither regions nor a parser: nothing of another one is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from vlp.errors import InputError
from vlp.files import write_json
from vlp.infer import Predictor
from vlp.infer.search import Searcher


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model = tmp_path / "model"
    (model / "tokenizer").mkdir(parents=True)
    write_json(model / "config.json", {"method": "tests.infer.constant"})
    write_json(model / "inputs.json", {})
    (model / "model.safetensors").touch()
    for name, grey in (("dark.png", 10), ("bright.png", 250), ("grey.png", 100)):
        Image.new("L", (40, 20), grey).save(tmp_path / name)
    return model


def test_the_directory_says_whose_it_is(folder: Path, tmp_path: Path) -> None:
    answer = Predictor.from_pretrained(folder)(tmp_path / "dark.png", "a thing")
    assert answer.match == pytest.approx(10 / 255)
    (phrase,) = answer.phrases
    assert phrase.box == (0.0, 0.0, 20.0, 20.0) and phrase.region is None and phrase.region_class is None
    assert answer.draw(tmp_path / "drawn.png").stat().st_size > 0
    assert answer.as_dict()["phrases"][0]["text"] == "a thing"
    with pytest.raises(InputError, match="it scores the match, grounds phrases; none of its objectives fills masks"):
        _ = answer.words


def test_search_without_an_order_scores_every_pair(folder: Path, tmp_path: Path) -> None:
    searcher = Searcher(folder)
    files = [tmp_path / name for name in ("dark.png", "bright.png", "grey.png")]
    gallery = searcher.gallery({path.name: seen for path, seen in searcher.look(files)})
    hits = searcher.images("a thing", gallery, list(gallery), keep=1)
    assert [h.name for h in hits] == ["bright.png", "grey.png", "dark.png"]
    with pytest.raises(InputError, match="reads no regions"):
        searcher.open(tmp_path / "regions.h5")


def test_an_unknown_method_is_named(folder: Path) -> None:
    write_json(folder / "config.json", {"method": "nobody"})
    with pytest.raises(InputError, match=r"config\.json: .*'nobody' is no method; there are mvptr"):
        Predictor.from_pretrained(folder)
