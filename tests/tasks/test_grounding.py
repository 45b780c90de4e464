"""Grounding and referring expressions: oracles, readings, upper bounds, phrases of many boxes and of none."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tests.batching.draws import draw
from tests.tasks import lab as making
from vlp.batching.inputs import Inputs, Paths
from vlp.data.tables import read_table, write_table
from vlp.methods.mvptr import directory
from vlp.methods.mvptr.reading import Reading
from vlp.metrics import grounding as metric
from vlp.metrics.evaluation import evaluate
from vlp.regions.store import RegionStore, RegionWriter
from vlp.report.bounds import upper_bounds
from vlp.tasks import make
from vlp.tasks.grounding import Grounding

TRUE = {
    "one": [[0.0, 0.0, 10.0, 10.0]],
    "two apart": [[0.0, 0.0, 10.0, 10.0], [40.0, 40.0, 50.0, 50.0]],
    "three": [[0.0, 0.0, 10.0, 10.0], [10.0, 0.0, 20.0, 10.0], [70.0, 70.0, 90.0, 90.0]],
    "none": [],
}


def oracle(folder: Path, choose: str) -> tuple[Path, RegionStore]:
    """A store with every true box and every union among distractors, and predictions that choose the right one."""
    candidates = [box for boxes in TRUE.values() for box in boxes]
    candidates += [metric.merged(boxes)[0].tolist() for boxes in TRUE.values() if boxes] + [[5.0, 60.0, 9.0, 99.0]]
    with RegionWriter(folder / "regions.h5", 2, ("thing",), {"detector": "none"}) as writer:
        n = len(candidates)
        writer.add("t/1", (100, 100), np.ones((n, 2)), candidates, np.zeros(n, int), np.linspace(0.9, 0.1, n))
    records = []
    for name, boxes in TRUE.items():
        chosen = (boxes or candidates)[0] if choose == "any" or not boxes else metric.merged(boxes)[0].tolist()
        hit = metric.right(candidates, boxes, "any") if boxes else np.zeros(n, bool)
        own = {"phrase_id": name, "image_id": "t/1", "phrase_type": "other", "box": chosen, "boxes": boxes}
        records.append({**own, "num_regions": n, "covered": bool(hit.any()), "random_hit": float(hit.mean())})
    pq.write_table(pa.Table.from_pylist(records), folder / "p.parquet")
    own = {"image_id": "t/1", "caption_id": "t/1#0", "text": "x", "start": 0, "end": 1, "phrase_type": "other"}
    rows = [{"phrase_id": name, "boxes": boxes, "split": "test", **own} for name, boxes in TRUE.items()]
    write_table(folder, "phrase_boxes", rows)
    return folder / "p.parquet", RegionStore(folder / "regions.h5")


@pytest.mark.parametrize("rule", ["any", "merged"])
def test_oracle_regions_score_100_under_both_rules(rule: str, tmp_path: Path) -> None:
    path, store = oracle(tmp_path, rule)
    found = {(m.protocol, m.metric): m for m in evaluate("grounding", path, tmp_path, store)}
    protocol = f"IoU > 0.5, {rule} box"
    assert (found[protocol, "accuracy"].value, found[protocol, "accuracy"].n) == (100.0, 3)
    assert found[protocol, "upper bound"].value == 100.0
    assert found["left out", "phrases without box"].value == 1  # not a miss, not a hit
    other = found[f"IoU > 0.5, {'any' if rule == 'merged' else 'merged'} box", "accuracy"].value
    assert other == pytest.approx(100 / 3)  # the rules differ: only the phrase of one box is right under both


@pytest.fixture(scope="module")
def crowded(lab: Paths, tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """The lab's images with 120 regions each, and a phrase of two boxes in each test image."""
    folder, rng = tmp_path_factory.mktemp("crowded"), np.random.default_rng(0)
    with RegionWriter(folder / "regions.h5", 8, making.SHAPES, {"detector": "none"}) as writer:
        for image in RegionStore(lab.store).image_ids:
            corners = np.sort(rng.uniform(0, 64, (120, 2, 2)), axis=1).reshape(120, 4)
            writer.add(image, (64, 64), rng.normal(size=(120, 8)), corners, [-1] * 120, np.linspace(1, 0.1, 120))
    tables = folder / "tables"
    shutil.copytree(lab.tables, tables)
    rows = read_table(tables, "phrase_boxes").to_pylist()
    for row in rows:
        if row["split"] == "test" and row["boxes"] == [making.BOXES[1]]:
            row["boxes"] = making.BOXES[:2]
    write_table(tables, "phrase_boxes", rows)
    return replace(lab, regions=folder / "regions.h5", tables=tables)


@pytest.mark.parametrize("limit", [3, 50, 100])
def test_the_upper_bound_is_that_of_the_regions_own_figure(
    limit: int, crowded: Paths, start: Path, tmp_path: Path
) -> None:
    """Exactly, for both box rules; and more regions reach more phrases."""
    lengths = making.experiment(grounding={}).lengths.model_copy(update={"regions": limit}).model_dump()
    e, store = (
        making.experiment(grounding={"layer": 1, "lengths": lengths}),
        RegionStore(crowded.store),
    )
    task = make("grounding", Inputs(e, crowded), "full")
    pq.write_table(task.predict(directory.load(start).eval(), "test"), tmp_path / "p.parquet")
    found = {(m.protocol, m.metric): m for m in evaluate("grounding", tmp_path / "p.parquet", crowded.tables, store)}
    for rule in metric.RULES:
        values = [found[f"IoU > 0.5, {rule} box", name] for name in ("accuracy", "R@5", "R@10", "upper bound")]
        assert sorted(m.value for m in values) == [m.value for m in values]
        chances = [m.chance for m in values[:3]]
        assert None not in chances and chances == sorted(chances)  # type: ignore[type-var]
    own = {r.protocol: r for r in upper_bounds(e, store, crowded.tables) if r.split == "test"}
    for rule in metric.RULES:
        measure = found[f"IoU > 0.5, {rule} box", "upper bound"]
        row = own[f"IoU > 0.5, {rule} box, best {limit} regions"]
        assert (measure.value, measure.low, measure.high, measure.n) == (row.value, row.ci_low, row.ci_high, row.n)
        at = [own[f"IoU > 0.5, {rule} box, {n} regions"].value for n in ("best 50", "best 100", "all")]
        assert 0 < at[0] < at[1] <= at[2]


def test_every_reading_is_reported_and_the_best_on_val_is_named(lab: Paths, start: Path, tmp_path: Path) -> None:
    """One pass for all readings gives each the boxes that it has alone."""
    task = make("grounding", Inputs(making.experiment(grounding={"layer": 1}), lab), "full")
    assert isinstance(task, Grounding)
    torch.manual_seed(0)
    model = directory.load(start).eval()
    for p in (p for p in model.parameters() if p.ndim == 2):
        p.data.mul_(12.0)
    table = task.predict(model, "test")
    names = json.loads(table.schema.metadata[b"readings"])
    assert sorted(names) == ["layer 1, concepts", "layer 1, tokens", "layer 2, concepts", "layer 2, tokens"]
    for i, name in enumerate(names):
        layer, source = name.removeprefix("layer ").split(", ")
        alone = task.predict_with(model, "test", [Reading(int(layer), source)])
        assert metric.boxes_of(table, i)["box"].to_pylist() == alone["box"].to_pylist()
    scores = [
        task.score(metric.boxes_of(task.predict_with(model, "val", task.side.readings(model)), i)) for i in range(4)
    ]
    assert names[0] == str(task.side.readings(model)[int(np.argmax(scores))])
    pq.write_table(table, tmp_path / "p.parquet")
    found = {
        m.metric: m.value for m in evaluate("grounding", tmp_path / "p.parquet", lab.tables) if "any" in m.protocol
    }
    assert found["accuracy"] == found[f"accuracy by {names[0]} (chosen on val)"]
    assert sum(metric.startswith("accuracy by layer") for metric in found) == 4


def test_referring_tells_its_test_sets_apart_and_takes_a_half(lab: Paths, start: Path, tmp_path: Path) -> None:
    task = make("referring", Inputs(making.experiment(referring={}), lab), "full")
    table = task.predict(directory.load(start).eval(), "test")
    assert json.loads(table.schema.metadata[b"readings"]) == ["layer 2, [CLS]"]
    half = [30.0, 30.0, 60.0, 45.0]
    rows = [{**r, "box": half if r["partition"] == "testA" else [0.0, 0.0, 1.0, 1.0]} for r in table.to_pylist()]
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), tmp_path / "p.parquet")
    found = {m.metric: m for m in evaluate("referring", tmp_path / "p.parquet", lab.tables)}
    assert (found["accuracy (testA)"].value, found["accuracy (testB)"].value) == (100.0, 0.0)
    assert found["accuracy"].n == 3 == found["accuracy (testA)"].n + found["accuracy (testB)"].n
    assert found["accuracy"].chance == pytest.approx(100 / 3) and found["upper bound"].value == 100.0


def test_a_referring_expression_is_read_from_its_cls_state(lab: Paths) -> None:
    task = make("referring", Inputs(making.experiment(referring={}), lab), "full")
    batch = task.side.batch(task.rows("train"), task.image_ids(task.rows("train")), draw(1))
    assert batch.span_mask_BGL is not None and batch.iou_BGR is not None
    assert batch.span_mask_BGL.shape[1] == 1 and batch.span_mask_BGL.sum() == len(batch)
    assert batch.span_mask_BGL[:, 0, 0].all()
    assert batch.iou_BGR[0, 0].tolist() == pytest.approx([0.0, 1.0, 900 / 3600])
