"""An experiment in a temporary folder."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from vlp.config import Experiment, build

Make = Callable[..., Experiment]


def toy(folder: Path, **over: Any) -> Experiment:
    stage = {"epochs": 1, "batch_size": 4, "learning_rate": 1e-3, "losses": []}
    value = {
        "name": "toy",
        "results": str(folder / "results"),
        "data": {
            "name": "shapes",
            "generator": {},
            "captions": {"format": "karpathy"},
            "objects": {"format": "coco_instances"},
        },
        "pretraining": {"stage1": stage, "stage2": stage},
        "tracking": {"enabled": False},
    }
    return build(value | over, "test")


@pytest.fixture
def make(tmp_path: Path) -> Make:
    return partial(toy, tmp_path)
