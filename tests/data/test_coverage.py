"""Coverage of a corpus: what was read beside what is published, part by part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.data import corpora
from tests.data.corpora import experiment
from vlp.config.presets import PRESETS, mark_of_id
from vlp.data.coverage import coverage
from vlp.data.readers import read_experiment, source_files
from vlp.data.tables import to_table
from vlp.errors import ConfigError, InputError

SIX = {"coco", "flickr30k", "gqa", "conceptual_captions", "sbu", "openimages"}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return corpora.write(tmp_path / "raw")


def named(**extra: Any) -> dict[str, Any]:
    """The toy corpora under the names of the six of the paper."""
    of = {"coco": "toy", "flickr30k": "toy", "conceptual_captions": "cc"}
    plain = {k: v for k, v in corpora.SETS["toy"].items() if k != "texts"}
    sets = {name: {**corpora.SETS[of.get(name, name)], "root": of.get(name, name)} for name in SIX}
    return {**sets, "coco": {**plain, "root": "toy"}, "flickr30k": {**plain, "root": "toy"}, **extra}


def test_the_large_corpus_has_885_million_texts() -> None:
    large = PRESETS["vinvl_large"]
    assert sum(part.texts for part in large) == pytest.approx(8.85e6, rel=1e-3)
    assert all(part.source for name in PRESETS for part in PRESETS[name])
    assert {part.set for part in PRESETS["paper_named"]} == SIX
    parts = [(part.set, part.mark) for part in PRESETS["available"]]
    assert len(parts) == len(set(parts)) and set(parts) == {(part.set, part.mark) for part in large}


def test_each_part_is_counted_apart(base: Path, tmp_path: Path) -> None:
    summary = read_experiment(experiment(base), tmp_path / "out")
    found = {row["part"]: (row["texts"], row["images"], row["read"], row["listed"]) for row in summary["coverage"]}
    assert found == {
        "toy": (4, 2, 8, 8),
        "vqa_v2": (2, 2, 2, 2),
        "gqa": (3, 2, 3, 3),
        "visual_genome": (1, 1, 1, 1),
        "cc": (2, 2, 3, 4),
        "sbu": (3, 2, 3, 3),
        "openimages": (1, 1, 2, 2),
        "localized_narratives": (2, 1, 2, 2),
        "refcoco": (0, 0, 0, 0),
    }
    share = {row["part"]: row["share"] for row in summary["coverage"]}
    assert (share["cc"], share["toy"], share["refcoco"]) == (75.0, 100.0, None)
    assert all(row["expected_texts"] is None for row in summary["coverage"])


def test_coverage_is_of_the_published_count() -> None:
    rows = [
        {"caption_id": f"coco/{n}#{m}", "image_id": f"coco/{n}", "text": "t", "kind": "caption", "split": "train"}
        for n in range(10) for m in range(5)
    ]  # fmt: skip
    found = {row["part"]: row for row in coverage(to_table("captions", rows), "paper_named", {("coco", ""): 50})}
    assert set(found) == SIX
    assert (found["coco"]["texts"], found["coco"]["images"]) == (50, 10)
    assert found["coco"]["share"] == pytest.approx(100 * 50 / 566_747, abs=1e-4)
    assert found["sbu"] == {
        "part": "sbu", "texts": 0, "images": 0, "read": 0, "listed": 0, "expected_texts": 1_000_000,
        "expected_images": 1_000_000, "source": "dataset card, Hugging Face", "share": 0.0,
    }  # fmt: skip


@pytest.mark.parametrize(("caption_id", "mark"), [("coco/5#0", ""), ("gqa/1#vg17", "vg"), ("gqa/1#gqa02", "gqa")])
def test_the_id_tells_the_part(caption_id: str, mark: str) -> None:
    assert mark_of_id(caption_id) == mark


def test_a_preset_wants_all_its_parts(base: Path) -> None:
    assert experiment(base, sets=named(), name="coco", corpus="available").data.corpus == "available"
    with pytest.raises(ConfigError, match=r"corpus: paper_named needs sets\.sbu"):
        experiment(base, sets=named(sbu=None), name="coco", corpus="paper_named")
    with pytest.raises(ConfigError, match=r"corpus: vinvl_large needs sets\.coco with texts of the kind 'vqa'"):
        experiment(base, sets=named(), name="coco", corpus="vinvl_large")


def test_available_takes_what_is_there_and_tells_the_rest(base: Path, tmp_path: Path) -> None:
    (base / "cc" / "train.tsv").unlink()
    (base / "cc" / "val.tsv").unlink()
    (base / "openimages" / "captions.jsonl").unlink()
    whole = experiment(base, sets=named(), name="coco", corpus="available")
    summary = read_experiment(whole, tmp_path / "out")
    assert "conceptual_captions: captions is not on disk (cc/train.tsv is missing)" in [
        note.replace("conceptual_captions/", "cc/") for note in summary["notes"]
    ]
    assert any(note.startswith("openimages: texts is not on disk") for note in summary["notes"])
    found = {row["part"]: row["texts"] for row in summary["coverage"]}
    assert found["conceptual_captions"] == found["openimages"] == 0
    assert found["coco"] == 4
    assert not any(key.startswith("conceptual_captions") for key in source_files(whole))
    with pytest.raises(InputError, match="holds none of the data sets"):
        read_experiment(
            experiment(tmp_path / "raw" / "toy", sets=named(), name="coco", corpus="available"), tmp_path / "x"
        )
    with pytest.raises(InputError, match=r"train\.tsv: the file is missing"):
        read_experiment(experiment(base, sets=named() | {"openimages": None}, name="coco"), tmp_path / "x")
