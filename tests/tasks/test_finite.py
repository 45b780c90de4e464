"""A number that is not finite is no choice: every task refuses it before an argmax or a sort makes one of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.tasks import lab as making
from vlp.batching.inputs import Inputs, Paths
from vlp.config.tasks import known
from vlp.errors import InputError
from vlp.methods.base import Ranked
from vlp.methods.mvptr import directory
from vlp.runs.finetune import finetune
from vlp.runs.predict import predict
from vlp.tasks import make
from vlp.tasks.classification import Classification
from vlp.tasks.grounding import Grounding
from vlp.tasks.retrieval import candidates, demand_finite

NAN, INF = float("nan"), float("inf")
SETTINGS = {"vqa": {"min_answer_count": 3}, "grounding": {"layer": 1}}


def job(task: str, lab: Paths) -> Any:
    return make(task, Inputs(making.experiment(**{task: SETTINGS.get(task, {})}), lab), "full")


@pytest.mark.parametrize("value", [NAN, INF])
@pytest.mark.parametrize("task", known())
def test_a_model_that_says_nan_predicts_nothing(task: str, value: float, lab: Paths, start: Path) -> None:
    """The model came in finite, and its numbers ran over since: of `inf` the next layer makes NaN."""
    own = job(task, lab)
    model = own.side.new(start).eval()
    with torch.no_grad():
        model.multimodal_encoder.layers[0].norm.bias[3] = value
    with pytest.raises(InputError, match=r"row t/|row t1") as told:
        own.predict(model, "test")
    assert re.search(r"the model's scores: [\d,]+ of [\d,]+ numbers? (is|are) NaN or infinite", str(told.value))


class Side:
    """One score of a batch is not finite, all others are."""

    phrases: Any = None

    def __init__(self, own: Any, scores: torch.Tensor) -> None:
        self.reader, self.batch, self._scores = own.reader, own.batch, scores

    def scores(self, model: Any, batch: Any) -> torch.Tensor:
        return self._scores

    def readings(self, model: Any) -> tuple[str]:
        return ("",)

    def boxes(self, model: Any, rows: Any, images: Any, readings: Any) -> Any:
        boxes = np.array([[0.0, 0, 9, 9], [0, 0, 5, 5]], np.float32)
        of = self._scores.numpy()
        return [[[Ranked(boxes, boxes, of)] for _ in self.phrases(int(row))] for row in rows]


@pytest.mark.parametrize(("task", "classes"), [("vqa", 2), ("entailment", 3)])
@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_one_score_of_one_text_is_enough(task: str, classes: int, value: float, lab: Paths) -> None:
    own = job(task, lab)
    assert isinstance(own, Classification)
    if task == "vqa":
        own.adopt({"answers": ["no", "yes"]})
    scores = torch.zeros(3, classes)
    scores[1, 1] = value
    own.side = Side(own.side, scores)
    named = own.text_set.ids[int(own.batches(own.rows("test"))[0][1])]
    with pytest.raises(InputError, match=rf"row {re.escape(named)}: the model's scores: 1 of {classes} numbers is NaN"):
        own.predict(torch.nn.Linear(1, 1), "test")


@pytest.mark.parametrize(("task", "classes"), [("vqa", 3), ("entailment", 2)])
def test_a_head_of_another_size_than_its_list_is_refused(task: str, classes: int, lab: Paths) -> None:
    """Beyond the shorter of both every answer would be another one."""
    own = job(task, lab)
    if task == "vqa":
        own.adopt({"answers": ["no", "yes"]})
    own.side = Side(own.side, torch.zeros(3, classes))
    wanted = {"vqa": 2, "entailment": 3}[task]
    with pytest.raises(InputError, match=rf"the model's head has {classes} rows for {wanted} classes"):
        own.predict(torch.nn.Linear(1, 1), "test")


@pytest.mark.parametrize("task", ["grounding", "referring"])
def test_a_box_chosen_by_nan_is_refused(task: str, lab: Paths) -> None:
    """Such as the first box, whatever it is: 31.86% of grounding were right so."""
    own = job(task, lab)
    assert isinstance(own, Grounding)
    side = Side(own.side, torch.tensor([NAN, 0.5]))
    side.phrases = own.phrases
    own.side = side
    with pytest.raises(InputError, match=r"row t/\d\d\S+: the model's scores: 1 of 2 numbers is NaN"):
        own.predict(torch.nn.Linear(1, 1), "test")


def test_scores_of_pairs_are_named_by_text_and_image() -> None:
    score_IS, names = np.zeros((2, 3), np.float32), (["a", "b"], ["x", "y", "z"])
    demand_finite(score_IS, *names)
    score_IS[1, 2] = NAN
    with pytest.raises(InputError, match=r"row z: the model's scores: 1 of 6 numbers is NaN or \w+, the first with b"):
        demand_finite(score_IS, *names)
    wanted_IS = np.ones_like(score_IS, bool)
    wanted_IS[1, 2] = False
    demand_finite(score_IS, *names, wanted_IS)  # what was not asked for is NaN, and is no candidate
    assert candidates(np.nan_to_num(score_IS), np.arange(2), np.arange(3), 1, 1)["i2t"].tolist() == [[0, 0], [1, 0]]


@pytest.fixture
def spoilt(lab: Paths, start: Path, tmp_path: Path) -> Path:
    directory.save(directory.load(start), tmp_path / "model", lab.vocabulary, {}, {})
    file = tmp_path / "model" / "model.safetensors"
    tensors = load_file(file)
    tensors["pooler.weight"][2, 3] = NAN
    save_file(tensors, file)
    return tmp_path / "model"


@pytest.mark.parametrize("task", ["retrieval", "entailment"])
def test_fine_tuning_from_such_a_model_blames_the_model(task: str, lab: Paths, spoilt: Path, tmp_path: Path) -> None:
    e = making.experiment(**{task: {}})
    told = r"model/model\.safetensors: has weights that are not finite: pooler\.weight \(1 of 256 numbers is NaN"
    with pytest.raises(InputError, match=told):
        finetune(e, task, "full", lab, spoilt, tmp_path / "out", tmp_path / "run")
    with pytest.raises(InputError, match=told):
        predict(e, task, "pretrained", "test", lab, spoilt, tmp_path / "p.parquet")
    assert not (tmp_path / "p.parquet").exists() and not (tmp_path / "run").exists()
