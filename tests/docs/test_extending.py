"""The examples of docs/extending.md do what the page says they do."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.tasks import lab as making
from vlp.batching.draw import Draw
from vlp.batching.inputs import Inputs, Paths
from vlp.config import methods
from vlp.data.readers.common import Report
from vlp.data.tables import read_table
from vlp.methods.mvptr.tasks import Classes
from vlp.metrics.measure import Evaluated

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"
BLOCK = re.compile(r"^```python\n# (\S+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
EXAMPLES = {name: code for name, code in BLOCK.findall(PAGE.read_text(encoding="utf-8"))}
Load = Callable[[str], Any]


@pytest.fixture
def example() -> Iterator[Load]:
    """Runs an example as the module that it would be."""
    made: list[str] = []

    def load(file: str) -> ModuleType:
        name = file.removesuffix(".py").replace("/", ".")
        module = ModuleType(name)
        made.append(name)
        sys.modules[name] = module
        exec(compile(EXAMPLES[file], file, "exec"), module.__dict__)
        return module

    yield load
    for name in made:
        del sys.modules[name]


def test_every_example_is_run_here() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    assert EXAMPLES and [name for name in EXAMPLES if f'example("{name}")' not in text] == []
    assert len(EXAMPLES) == PAGE.read_text(encoding="utf-8").count("```python")


def test_the_loss(example: Load) -> None:
    triplet = example("vlp/methods/mvptr/objectives/triplet.py").triplet
    similarity = torch.tensor([[0.9, 0.8, 0.1], [0.2, 0.5, 0.6], [0.0, 0.0, 0.7]], requires_grad=True)
    numbers = torch.arange(3)
    found = triplet(similarity, numbers, numbers)
    # Rows: 0.2 + 0.8 - 0.9, 0.2 + 0.6 - 0.5, 0; columns: 0, 0.2 + 0.8 - 0.5, 0.2 + 0.6 - 0.7.
    assert float(found.total.detach()) == pytest.approx(0.1 + 0.3 + 0.5 + 0.1) and int(found.count) == 6
    asked = torch.tensor([True, False, True])  # the second text is a question: nobody's match, nobody's wrong one
    some = triplet(similarity, numbers, numbers, asked)
    assert float(some.total.detach()) == pytest.approx(0) and int(some.count) == 4
    found.total.backward()
    assert similarity.grad is not None and similarity.grad.isfinite().all()


def test_the_task(example: Load, lab: Paths, start: Path) -> None:
    facts = example("vlp/config/tasks/truth.py").FACTS
    kind = example("vlp/tasks/truth.py").Truth
    measures = example("vlp/metrics/truth.py").measures
    assert '+    "truth": Classes,' in PAGE.read_text(encoding="utf-8")
    task_class = type("Here", (kind,), {"_side": lambda self: Classes(self)})
    inputs = Inputs(making.experiment(entailment={}), lab)
    task = task_class(inputs, making.settings("entailment"), blind=False)
    model = task.side.new(start)
    assert task.side.step(model).model.head["classes"].out_features == 2
    rows = task.rows("train")[:4]
    batch = task.side.batch(rows, task.image_ids(rows), Draw(0, 0, slice(0, 4), 4, 0, 1))
    loss = task.side.step(model)(batch)["labels"]
    assert (
        int(loss.count) == 4
        and float(loss.total.detach()) > 0
        and batch.labels_B.tolist() == task.targets(rows).tolist()
    )
    table = task.predict(model.eval(), "test")
    assert set(table["prediction"].to_pylist()) <= {0, 1}
    assert set(table.column_names) == set(facts.columns) and facts.samples == "vlp.tasks.truth:Truth"
    truth = read_table(lab.tables, "entailment", "test")
    certain = [label for label in truth["label"].to_pylist() if label != "neutral"]
    assert 0 < table.num_rows == len(certain) < truth.num_rows
    (measure,) = measures(Evaluated(Path("p"), table, lab.tables))
    assert measure.value == pytest.approx(100 * task.score(table))
    train = read_table(lab.tables, "entailment", "train")["label"].to_pylist()
    guess = max(("entailment", "contradiction"), key=train.count)
    assert measure.chance == pytest.approx(100 * certain.count(guess) / len(certain))
    assert task.targets(task.rows("train")).tolist() == [
        int(label == "entailment")
        for label in read_table(lab.tables, "entailment", "train")["label"].to_pylist()
        if label != "neutral"
    ]


def test_the_data_format(example: Load, tmp_path: Path) -> None:
    read = example("vlp/data/readers/captions_tsv.py").read
    (tmp_path / "c.tsv").write_text("a.jpg\ta dog\nb.jpg\nb.jpg\ta cat\na.jpg\ta big dog\n", encoding="utf-8")
    report = Report(tmp_path, stop=False)
    files: Any = SimpleNamespace(of=lambda role: [("train", tmp_path / "c.tsv")], report=report)
    entries = read(files)
    assert [len(e.captions) for e in entries] == [2, 1]
    (skipped,) = report.summary()["skipped"]
    assert skipped["row"] == 2 and "no caption" in skipped["reason"]


def test_the_detector(example: Load, tmp_path: Path) -> None:
    build = example("vlp/regions/detectors/grid.py").build
    (tmp_path / "grid.json").write_text('{"cells": 2}')
    other, detector = build(tmp_path / "grid.json"), build(None)
    assert other.settings == {"cells": 2} and other.weights_sha256 != detector.weights_sha256
    assert len(other([other.prepare(Image.new("RGB", (80, 40)))], [(80, 40)])[0].boxes) == 4
    picture = Image.new("RGB", (80, 40), (255, 0, 0))
    (found,) = detector([detector.prepare(picture)], [picture.size])
    assert found.boxes.shape == (16, 4) and found.features.shape == (16, detector.feature_size)
    assert found.boxes[0].tolist() == [0, 0, 20, 10] and found.boxes[-1].tolist() == [60, 30, 80, 40]
    np.testing.assert_allclose(found.features, np.tile([1, 0, 0, 0, 0, 0], (16, 1)), atol=1e-6)


def test_the_method(example: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    schema = example("METHOD/config.py").Experiment
    e = schema.model_validate(
        {
            "name": "x",
            "data": {"name": "d", "root": ".", "captions": {"format": "karpathy"}},
            "model": {"method": "package.mine"},
            "pretraining": {"only": {"epochs": 1, "batch_size": 2, "learning_rate": 1e-3}},
        }
    )
    assert list(e.stages) == ["only"] and "regions" not in e.needs and not hasattr(e, "region_size")
    assert e.pretrained_model == e.folder / "models/only"
    assert "mvptr" in methods.names()
