"""The columns that say whether a row's images were seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.data.test_leaks import image, save_model, write
from vlp.config import Experiment, build, tasks
from vlp.config.tasks import known
from vlp.data.leaks import identity, seen
from vlp.report.seen import Marks

STAGE = {"losses": ["vsc"], "epochs": 1, "batch_size": 2, "learning_rate": 1e-4}
VINVL = {"source": "pretrained", "pretrained": {"name": "vinvl_readme", "weights": "w.pth"}}


def experiment(regions: dict[str, Any]) -> Experiment:
    data = {"name": "coco", "root": ".", "captions": {"format": "karpathy"}, "objects": {"format": "coco_instances"}}
    return build({"name": "x", "data": data, "regions": regions, "pretraining": {"stage2": STAGE}}, "test")


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """Three test images: COCO's 1 and 2, and one that is none of COCO's; two train images have an object."""
    images = [image(f"coco/{i}", "train", coco_id=str(i)) for i in (10, 11, 12)]
    images += [image("coco/1", "test", coco_id="1"), image("coco/2", "test", coco_id="2"), image("coco/x", "test")]
    images += [image("gqa/1", "train", coco_id="1")]
    objects = [
        {"object_id": f"{i}-0", "image_id": i, "class_name": "cat", "box": [0.0, 0.0, 9.0, 9.0], "split": "train"}
        for i in ("coco/10", "gqa/1")
    ]
    write(tmp_path / "tables", images, objects=objects)
    every = ("coco", "gqa")
    identity.identify(tmp_path / "tables", tmp_path, tmp_path / "leaks" / identity.FILE, every)
    return tmp_path


def test_the_model_of_a_row_tells_how_many_of_its_images_it_saw(made: Path) -> None:
    marks = Marks(experiment({}), made / "tables", made / "leaks")
    file = made / "leaks" / identity.FILE
    for name, used, wanted in (("clean", {"coco/11"}, "no"), ("leaky", {"coco/11", "gqa/1"}, "1 of 3")):
        rows = identity.of_images(identity.read(file), used, file)
        save_model(made / name, seen.record(made / name, seen.PRETRAINING, rows, None))
        assert marks.model(made / name, "retrieval", "test") == wanted
    save_model(made / "unsaid", None)
    assert marks.model(made / "unsaid", "retrieval", "test") == "unknown"
    assert marks.model(made / "absent", "retrieval", "test") == "unknown"


def test_of_two_tasks_of_one_table_both_are_marked(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    again = {**known(), "again": replace(known()["retrieval"], name="again")}
    monkeypatch.setattr(tasks, "known", lambda: again)
    marks = Marks(experiment({}), made / "tables", made / "leaks")
    assert marks.detector("again", "test") == marks.detector("retrieval", "test") == "1 of 3"


@pytest.mark.parametrize(
    "regions, mark",
    [
        ({}, "1 of 3"),  # trained in the chain, on the images with objects: gqa/1 is COCO's 1
        ({"detector": {"train_images": 1}}, "no"),
        (VINVL, "stated 2 of 3"),
        ({"source": "vinvl_tsv", "tsv": "x"}, "unknown"),
        ({"source": "vinvl_tsv", "tsv": "x", "trained_on": ["vg", "coco"]}, "stated 2 of 3"),
        ({"source": "vinvl_tsv", "tsv": "x", "trained_on": ["openimages"]}, "unknown"),
    ],
)
def test_the_detector_is_known_stated_or_unknown(made: Path, regions: dict[str, Any], mark: str) -> None:
    assert Marks(experiment(regions), made / "tables", made / "leaks").detector("retrieval", "test") == mark


def test_without_the_comparison_nothing_is_known(made: Path) -> None:
    marks = Marks(experiment({}), made / "tables", None)
    assert marks.detector("retrieval", "test") == marks.model(made, "retrieval", "test") == "unknown"
