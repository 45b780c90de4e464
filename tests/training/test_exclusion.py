"""Pre-training leaves out what `vlp data leaks` says, and its model lists exactly the images it was trained on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.training.tiny_run import experiment, paths
from vlp.batching.inputs import Paths
from vlp.config.launch import Resources
from vlp.data.leaks import check, seen
from vlp.data.leaks.identity import FILE, IDENTITY
from vlp.errors import InputError
from vlp.files import read_json
from vlp.launch import run
from vlp.runs.pretrain import pretrain

IMAGES = [f"t/{i:02}" for i in range(20)]
LEFT_OUT = IMAGES[:5]


def with_leaks(inputs: Path, folder: Path, known: list[str]) -> Paths:
    folder.mkdir()
    blank = dict.fromkeys(IDENTITY.names)
    rows = [blank | {"image_id": i, "split": "train", "coco_id": i[2:]} for i in known]
    pq.write_table(pa.Table.from_pylist(rows, schema=IDENTITY), folder / FILE)
    shared = [
        {"image_id": i, "task": "retrieval", "split": "test", "evaluated": "coco/1", "by": "hash", "excluded": out}
        for i, out in [*((i, True) for i in LEFT_OUT), (IMAGES[9], False)]
    ]
    pq.write_table(pa.Table.from_pylist(shared, schema=check.SHARED), folder / check.SHARED_FILE)
    return replace(paths(inputs), leaks=folder)


def train(places: Paths, folder: Path) -> Path:
    arguments = {"experiment": experiment(epochs=0.5), "stage": "stage1", "paths": places, "init": None}
    arguments |= {"out": folder / "model", "run_dir": folder / "run"}
    run(pretrain, arguments, Resources(executor="inline"), folder / "run", "tiny")
    return folder / "model"


@pytest.mark.slow
def test_the_images_of_evaluations_are_not_trained_on(tiny_inputs: Path, tmp_path: Path) -> None:
    model = train(with_leaks(tiny_inputs, tmp_path / "leaks", IMAGES), tmp_path)
    had = seen.of_phases(model, {seen.PRETRAINING})
    assert had is not None and had["image_id"].to_pylist() == IMAGES[5:]
    assert had["coco_id"].to_pylist() == [i[2:] for i in IMAGES[5:]]
    assert read_json(model / "inputs.json")["seen"]["images"] == 15


@pytest.mark.slow
def test_without_the_list_a_model_does_not_say_what_it_saw(tiny_inputs: Path, tmp_path: Path) -> None:
    model = train(paths(tiny_inputs), tmp_path)
    assert read_json(model / "inputs.json")["seen"] is None and seen.read(model) is None


def test_an_image_that_was_not_compared_is_refused(tiny_inputs: Path, tmp_path: Path) -> None:
    """Tables of another reading: an image that is trained on, but was not looked at."""
    places = with_leaks(tiny_inputs, tmp_path / "leaks", IMAGES[:-1])
    with pytest.raises(InputError, match=r"t/19.*nothing of 1 images"):
        train(places, tmp_path)
    assert not (tmp_path / "model").exists()
