"""Predictions of any task: an artefact from which every metric can be recomputed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from vlp.batching.inputs import Inputs, Paths
from vlp.config import Experiment
from vlp.config.tasks import facts
from vlp.models import directory
from vlp.tasks import make
from vlp.tasks.base import check_unseen


def predict(
    experiment: Experiment, task: str, variant: str, split: str, paths: Paths, model_dir: Path, out: Path
) -> dict[str, Any]:
    """Write the predictions of a model on a split; returns what is worth logging."""
    import pyarrow.parquet as pq

    from vlp.files import atomic, read_json
    from vlp.metrics.evaluation import demand_whole
    from vlp.metrics.grounding import readings_of
    from vlp.metrics.items import Truth

    torch.set_num_threads(experiment.launch.cpu_threads)
    job = make(task, Inputs(experiment, paths), variant)
    if variant != "pretrained":
        job.adopt(read_json(model_dir / directory.INPUTS))
    model = job.side.load(model_dir)
    if split == "test":
        check_unseen(job, model_dir)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    found: dict[str, Any] = {}
    table = job.predict(model, split)
    if readings := readings_of(table):
        found["reading"] = readings[0]
    told = Truth(facts(task), paths.tables).items(job.items(split), job.dataset, split, table.num_rows)
    made = {"checkpoint_sha256": directory.digest(model_dir), "seed": str(experiment.seed)}
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), **made, **told.metadata()})
    demand_whole(out, table, task, paths.tables)
    with atomic(out) as temporary:
        pq.write_table(table, temporary)
    return {**found, "rows": table.num_rows, "items": told.count, "items_in_tables": told.table_count}
