"""Shards of the regions that are kept: the store is their folder, and everything reads it there."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.workflow.chain import planned
from tests.workflow.test_caption import SHAPES, override_of, snakemake
from vlp.config import load
from vlp.regions.store import RegionStore
from vlp.tracking import lineage

pytestmark = pytest.mark.slow


def test_a_store_of_shards_is_not_copied(tmp_path: Path) -> None:
    override = override_of(tmp_path)
    override["regions"] = {"extraction": {"shards": 3, "keep_shards": True}}
    override["pretraining"]["tag_source"] = "ground_truth"
    (tmp_path / "override.yaml").write_text(yaml.safe_dump(override))
    folder = tmp_path / "results" / "smoke"
    target = str(folder / "vocabulary" / "phrases.json")
    snakemake(tmp_path, target)
    experiment = load(folder / "experiment.yaml")
    assert experiment.region_store is not None
    assert experiment.region_store == folder / "regions" / "shards" and not (folder / "regions" / "regions.h5").exists()
    store = RegionStore(experiment.region_store)
    assert len(store) == 13 and store.has_truth
    assert sum(store.truth(i) is not None for i in store.image_ids) == SHAPES["train_images"]
    assert planned(snakemake(tmp_path, "-n", target)) == {}
    known = lineage.steps(folder)
    assert list(lineage.changed(lineage.trace(known, Path(target)))) == []
    shard = experiment.region_store / "2-of-3.h5"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    told = list(lineage.changed(lineage.trace(known, Path(target))))
    assert told and all("2-of-3.h5" in line for line in told), told
