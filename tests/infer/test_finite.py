"""What a method says is checked before it is an answer: no number that is none reaches a user or a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vlp.errors import InputError
from vlp.files import write_json
from vlp.infer import Predictor
from vlp.infer.search import Searcher
from vlp.methods.answers import Filled, Grounded, GroundedConcept, Said

NAN, INF = float("nan"), float("inf")
BOX = (0.0, 0.0, 5.0, 5.0)


class Own:
    """A method's predictor that says what it is told to."""

    abilities, remedy = frozenset({"match"}), ""

    def __init__(self, found: dict[str, Any]) -> None:
        self.found = found

    def answer(self, *_: Any) -> Said:
        return Said("a dog", self.found)

    def scorer(self, texts: Any, gallery: Any, images: Any) -> Own:
        return self

    @property
    def coarse_IS(self) -> np.ndarray:  # noqa: N802
        return self.found["coarse"]

    def match(self, pairs_N2: np.ndarray) -> np.ndarray:
        return self.found["match"][tuple(pairs_N2.T)]


def made(kind: type, **found: Any) -> Any:
    one = object.__new__(kind)
    one.folder, one.own = Path("models/m"), Own(found)
    return one


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("match", NAN),
        ("cosine", INF),
        ("answers", [("yes", 0.9), ("no", NAN)]),
        ("entailment", {"contradiction": NAN, "neutral": NAN, "entailment": NAN}),
        ("words", [Filled(0, (("dog", NAN),))]),
        ("phrases", [Grounded("dog", 0, 3, BOX, NAN, 0)]),
        ("phrases", [Grounded("dog", 0, 3, (0.0, 0.0, INF, 5.0), 0.5)]),
        ("concepts", [GroundedConcept(("dog", "red"), "attribute", BOX, NAN, 0)]),
    ],
)
def test_every_part_of_an_answer(part: str, value: Any) -> None:
    with pytest.raises(
        InputError, match=rf"models/m, row 1: what it says \({part}\): \d+ of \d+ numbers? (is|are) NaN"
    ):
        made(Predictor, **{part: value})(None, "a dog", image_id="1")


def test_a_sound_answer_passes_and_is_json(tmp_path: Path) -> None:
    found = {"match": 0.5, "phrases": [Grounded("dog", 0, 3, BOX, 0.25, 0)], "answers": [("yes", 1.0)]}
    answer = made(Predictor, **found)(None, "a dog", image_id="1")
    write_json(tmp_path / "a.json", answer.as_dict())
    assert '"match": 0.5' in (tmp_path / "a.json").read_text()


@pytest.mark.parametrize("name", ["coarse", "match"])
def test_search_ranks_by_no_nan(name: str) -> None:
    scores = {"coarse": np.zeros((2, 1), np.float32), "match": np.zeros((2, 1), np.float32)}
    searcher = made(Searcher, **scores)
    assert [h.name for h in searcher.images("a dog", None, ["a", "b"], 2)] == ["a", "b"]
    scores[name][1] = NAN
    with pytest.raises(InputError, match=r"row a dog: the model's scores: 1 of 2 numbers is NaN .*the first with b"):
        searcher.images("a dog", None, ["a", "b"], 2)
