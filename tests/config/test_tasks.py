"""The one table of tasks."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from vlp.config.tasks import Task, facts, known, tasks_with
from vlp.data.tables import SCHEMAS
from vlp.errors import ConfigError

HERE = Path(__file__).parents[2] / "vlp" / "config" / "tasks"


def test_a_file_is_a_task_and_the_order_stays() -> None:
    assert list(known()) == ["retrieval", "vqa", "entailment", "grounding", "referring"]
    assert {path.stem for path in HERE.glob("*.py")} - {"__init__", "base"} == set(known())
    for name, task in known().items():
        assert task.name == name and issubclass(task.config, Task)
        module, _, kind = task.samples.partition(":")
        assert getattr(importlib.import_module(module), kind).name == name
        assert task.table in SCHEMAS and task.nullable <= set(task.columns)


def test_an_unknown_task_is_told_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match="--task tagging: there is no such task; there are retrieval, vqa"):
        facts("tagging")


def test_a_method_adds_fields_to_a_task() -> None:
    class Deep(known()["grounding"].config):
        depth: int = 2

    tasks = tasks_with(grounding=Deep)
    chosen = tasks.model_validate({"grounding": {"optimisation": {"epochs": 1, "batch_size": 4, "learning_rate": 0.1}}})
    assert chosen.model_dump()["grounding"]["depth"] == 2 and chosen.model_dump()["vqa"] is None
