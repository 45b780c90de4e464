"""Fine-tuning with ZeRO 3 on two ranks: scored, selected and exported as with the default."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from safetensors.torch import load_file

from tests.tasks import lab as making
from tests.training.kills import Trainings
from tests.training.tiny_run import paths
from vlp.batching.inputs import Paths
from vlp.config.tasks import known
from vlp.models.directory import WEIGHTS
from vlp.runs.finetune import finetune
from vlp.tracking.journal import read
from vlp.training import engine

ROUNDING = 2e-5
OWN: dict[str, dict[str, Any]] = {"vqa": {"min_answer_count": 3}, "grounding": {"layer": 1}}


def finetuned(folder: Path, inputs: Path, settings: dict[str, Any]) -> None:
    """A rank of the fine-tuning of each of `tasks`, one after the other."""
    start, tasks = settings["start"], settings["tasks"]
    own = {"optimisation": making.OPTIMISATION | {"epochs": 2, "log_every": 1, "zero_stage": settings["zero_stage"]}}
    with mock.patch.object(engine, "PERSISTENT", 0):
        for task in tasks:
            e = making.experiment(**{task: {"evaluations": 2} | own | OWN.get(task, {})})
            finetune(e, task, "full", paths(inputs), start, folder / task / "model", folder / task / "run")


@pytest.mark.slow
@pytest.mark.parametrize(
    "tasks", [["grounding"], pytest.param(list(known()), marks=pytest.mark.long)], ids=["one", "all"]
)
def test_fine_tuning_is_that_of_the_default(tasks: list[str], lab: Paths, start: Path, tmp_path: Path) -> None:
    trainings = Trainings(lab.corpus.parent)
    for stage in (2, 3):
        trainings.finish(tmp_path / str(stage), 2, finetuned, zero_stage=stage, tasks=tasks, start=start)
    for task in tasks:
        one, other = (tmp_path / str(stage) / task for stage in (2, 3))
        for key in ("loss", "val_score"):
            wanted = said(one, key)
            assert len(wanted) > 1 and said(other, key) == pytest.approx(wanted, rel=ROUNDING)
        found, wanted = (load_file(folder / "model" / WEIGHTS) for folder in (other, one))
        assert found.keys() == wanted.keys()
        for name, value in wanted.items():
            torch.testing.assert_close(found[name], value, rtol=0.0, atol=ROUNDING, msg=f"{task} {name}")


def said(folder: Path, key: str) -> list[float]:
    events = read(folder / "run" / "journal.jsonl")
    return [float(e["value"]) for e in events if e["event"] == "metric" and e["key"] == key]
