from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from vlp.data.tables import SCHEMAS, write_table
from vlp.phrases.parser import SceneGraphParser

MODEL = "en_core_web_sm"


@pytest.fixture(scope="session")
def parser() -> SceneGraphParser:
    return SceneGraphParser(MODEL)


@dataclass
class FakeStore:
    found: dict[str, list[str]]
    annotated: dict[str, list[str]] | None = None

    @property
    def image_ids(self) -> Sequence[str]:
        return list(self.found)

    @property
    def has_truth(self) -> bool:
        return self.annotated is not None

    def tags(self, image_id: str, source: str = "detector") -> list[str]:
        truth = self.truth(image_id) if source == "ground_truth" else None
        return self.found[image_id] if truth is None else truth

    def truth(self, image_id: str) -> list[str] | None:
        return (self.annotated or {}).get(image_id)


@pytest.fixture
def store() -> FakeStore:
    """Images s/0 to s/3; s/4 has no regions, s/3 no tags."""
    return FakeStore({"s/0": ["star", "fire hydrant"], "s/1": ["ring"], "s/2": ["star", "ring"], "s/3": []})


def _texts(table: str, *rows: tuple[str, str, str]) -> list[dict[str, Any]]:
    """Rows (image, text, split) of a text table, with ids and empty other columns."""
    key = SCHEMAS[table].names[0]
    fill = {
        "answer_type": "other",
        "question_type": "what",
        "answers": [],
        "label": "neutral",
        "box": [0.0, 0.0, 1.0, 1.0],
    }
    extra = {c: fill[c] for c in SCHEMAS[table].names if c in fill}
    return [{key: f"{i}#{n}", "image_id": i, "text": t, "split": s, **extra} for n, (i, t, s) in enumerate(rows)]


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    folder = tmp_path / "tables"
    captions = _texts(
        "captions",
        ("s/0", "a red star above a ring", "train"),
        ("s/0", "a red star", "train"),
        ("s/1", "a blue ring", "train"),
        ("s/2", "hello", "train"),
        ("s/3", "a red star is next to a red star", "val"),
        ("s/4", "a red star in a box", "test"),
    )
    boxes = [
        {
            "phrase_id": "p0", "caption_id": "s/0#1", "image_id": "s/0", "text": "a red star", "start": 0, "end": 10,
            "phrase_type": "other", "boxes": [[0.0, 0.0, 5.0, 5.0]], "split": "train",
        }
    ]  # fmt: skip
    records: dict[str, list[dict[str, Any]]] = {
        "captions": captions,
        "questions": _texts("questions", ("s/1", "what color is the ring?", "train"), ("s/4", "where?", "test")),
        "entailment": _texts("entailment", ("s/2", "a blue ring", "val")),
        "phrase_boxes": boxes,
        "referring": _texts("referring", ("s/2", "the big star", "train")),
    }
    for name in SCHEMAS:
        write_table(folder, name, records.get(name, []))
    return folder
