"""Readings of the divergence ledger (docs/divergences.md) that are of the tasks."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from tests.batching.draws import draw
from tests.tasks.lab import experiment as lab_experiment
from tests.tasks.lab import settings
from tests.training.tiny_run import experiment, paths
from vlp.batching.inputs import Inputs, Paths
from vlp.errors import ConfigError, InputError
from vlp.methods.mvptr import directory
from vlp.methods.mvptr import tasks as sides
from vlp.methods.mvptr.config import Lengths
from vlp.methods.mvptr.reading import Reading
from vlp.methods.mvptr.start import new_model
from vlp.tasks import make
from vlp.tasks.classification import Vqa
from vlp.tasks.grounding import Grounding
from vlp.tasks.retrieval import Retrieval

OPTIMISATION: Any = {"epochs": 1, "batch_size": 4, "learning_rate": 1e-3}


def bare(kind: type, **parts: Any) -> Any:
    """A task of which only the named parts are there."""
    task = object.__new__(kind)
    task.__dict__.update(parts)
    return task


def test_a_task_has_its_own_lengths_or_those_of_pretraining(tiny_inputs: Path) -> None:
    inputs, own = Inputs(experiment(), paths(tiny_inputs)), Lengths(words=5, phrases=1, regions=1, tags=4)
    for lengths, wanted in ((None, inputs.experiment.lengths), (own, own)):
        task = Retrieval(inputs, settings("retrieval", lengths=lengths), blind=False)
        assert task.side.lengths == task.side.reader.lengths == wanted
        batch = task.side.reader(np.array([1]), task.image_ids(np.array([1])))
        assert batch.text_ids_BL.shape[1] <= wanted.words + wanted.phrases
        assert batch.regions_BRF.shape[1] == min(2, wanted.regions)


def test_retrieval_starts_from_the_pretrained_itm_head(tiny_inputs: Path, tmp_path: Path) -> None:
    inputs = Inputs(experiment(), paths(tiny_inputs))
    pretrained = new_model(inputs)
    directory.save(pretrained, tmp_path / "m", inputs.paths.vocabulary, {}, {})
    start = directory.load(tmp_path / "m", sides.Retrieval.head, 0)
    assert {k for k in start.state_dict()} == {k for k in pretrained.state_dict()}
    for key in ("itm_head.weight", "itm_head.bias", "pooler.weight"):
        assert torch.equal(start.state_dict()[key], pretrained.state_dict()[key])


def test_answers_are_the_frequent_ones_of_train_or_a_files(tmp_path: Path) -> None:
    commons = ["red"] * 9 + ["Blue.", "blue"] * 5 + ["two"] * 8
    records = [{"answer": common, "answers": ["one"] * 10} for common in commons]
    task = bare(
        Vqa,
        config=settings("vqa"),
        rows={"train": range(len(records))}.__getitem__,
        record=records.__getitem__,
    )
    assert task.answers == ["blue", "red"]  # ten and nine questions, normalised; "2" is rare
    (tmp_path / "answers.json").write_text(json.dumps(["no", "yes"]))
    task = bare(
        Vqa,
        config=settings("vqa", answers="answers.json"),
        inputs=SimpleNamespace(experiment=SimpleNamespace(data_root=tmp_path)),
    )
    assert task.answers == ["no", "yes"]


def test_the_reading_of_a_pretrained_model_is_chosen_on_val() -> None:
    def fake(readings: list[Reading]) -> pa.Table:
        boxes = [[float(r.layer), float(r.source == "concepts")] for r in readings]
        return pa.table({"box": [boxes[0]], "readings_boxes": [boxes]})

    asked: list[tuple[str, Reading]] = []
    best = Reading(2, "concepts")
    side = bare(sides.Grounding, config=SimpleNamespace(layer=3))
    task = bare(
        Grounding,
        side=side,
        predict_with=lambda model, split, readings: (asked.extend((split, r) for r in readings), fake(readings))[1],
        score=lambda table: float(table["box"][0].as_py() == [2.0, 1.0]),
    )
    model = SimpleNamespace(architecture=SimpleNamespace(multimodal_layers=3))
    assert task.choose_reading(model) == best and str(best) == "layer 2, concepts"
    assert {split for split, _ in asked} == {"val"} and len({reading for _, reading in asked}) == 6
    assert side.readings(model)[0] == Reading(3, "tokens")  # what is trained wins where others are as good


def test_the_target_is_the_best_overlap_with_one_of_the_boxes() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 20], [50, 50, 60, 60]], np.float32)
    phrases = [{"boxes": [[0.0, 0.0, 10.0, 10.0], [0.0, 10.0, 10.0, 20.0]]}, {"boxes": []}]
    batch = SimpleNamespace(text_ids_BL=torch.zeros(1, 5), regions_BRF=torch.zeros(1, 3, 4))
    side = bare(
        sides.Grounding,
        reader=lambda rows, images: batch,
        task=SimpleNamespace(phrases=lambda row: phrases),
        positions=lambda row, phrase, source: [1],
        lengths=SimpleNamespace(regions=3),
        inputs=SimpleNamespace(store=SimpleNamespace(regions=lambda image, limit: SimpleNamespace(boxes=boxes))),
    )
    made = side.batch(np.array([0]), ["a"], draw(1))
    assert made.iou_BGR[0, 0].tolist() == pytest.approx([1.0, 0.5, 0.0])
    assert made.grounded_BG.tolist() == [[True, False]]


def test_minival_shares_no_image_with_training(lab: Paths) -> None:
    def task(variant: str = "full", **own: Any) -> Vqa:
        made = make("vqa", Inputs(lab_experiment(vqa={"min_answer_count": 1, **own}), lab), variant)
        assert isinstance(made, Vqa)
        return made

    def images(job: Vqa, split: str) -> set[str]:
        return {job.side.reader.texts.image_ids[row] for row in job.rows(split)}

    plain, final = task(), task(minival=1, train_on_val=True)
    assert images(final, "val") < images(plain, "val") and len(images(final, "val")) == 1
    assert images(final, "val") == images(task(minival=1), "val")  # fixed, whatever is trained on
    assert images(final, "train") == images(plain, "train") | images(plain, "val") - images(final, "val")
    assert images(final, "test") == images(plain, "test")
    blind = task("blind", minival=2, train_on_val=True)
    shown = {split: set(blind.image_ids(blind.rows(split))) for split in ("train", "val")}
    assert len(shown["val"]) == 2 and not shown["train"] & shown["val"]  # nor the images that it exchanges
    with pytest.raises(ConfigError, match="selection would read what is trained on"):
        settings("vqa", train_on_val=True)
    with pytest.raises(InputError, match="val has 3 images, minival wants 9"):
        task(minival=9).rows("val")
