"""The rule `caption`: scattered over shards, gathered, and read by `tables`; there only where a config asks for it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.data.caption.tiny import directory
from tests.workflow.chain import ROOT, VLP, planned
from vlp.data.tables import rows

pytestmark = pytest.mark.slow

SHAPES = {"train_images": 9, "val_images": 2, "test_images": 2, "questions_per_image": 3, "hypotheses_per_image": 3}

TASKS = ("retrieval", "vqa", "entailment", "grounding")


def override_of(folder: Path) -> dict[str, Any]:
    """The smoke chain in `folder` with 13 images, and batches that they fill."""
    small = {"optimisation": {"batch_size": 4}}
    return {
        "results": str(folder / "results"),
        "data": {"generator": SHAPES},
        "pretraining": {stage: {"batch_size": 4} for stage in ("stage1", "stage2")},
        "tasks": dict.fromkeys(TASKS, small),
    }


def snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(VLP / "snakemake"), "--profile", "workflow/profiles/default", "--cores", "1", *arguments]
    command += ["--configfile", "configs/smoke.yaml", str(folder / "override.yaml")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return done


def test_captions_are_made_in_shards_and_read(tmp_path: Path) -> None:
    override = override_of(tmp_path)
    target, chosen = str(tmp_path / "results" / "smoke" / "tables" / "captions.parquet"), tmp_path / "override.yaml"
    chosen.write_text(yaml.safe_dump(override))
    assert set(planned(snakemake(tmp_path, "-n", target))) == {"shapes", "tables"}
    model = directory("vision-encoder-decoder", tmp_path / "captioner")
    override["data"]["captioner"] = {"model": str(model), "max_tokens": 6, "shards": 2}
    chosen.write_text(yaml.safe_dump(override))
    rules = {"shapes": 1, "caption_images": 1, "caption_shard": 2, "caption": 1, "tables": 1}
    assert planned(snakemake(tmp_path, "-n", target)) == rules
    snakemake(tmp_path, target)
    folder = tmp_path / "results" / "smoke"
    record = json.loads((folder / "captions" / "shapes.json").read_text())
    texts = [row["caption_id"] for row in rows(folder / "tables", "captions")]
    assert (record["images"], record["captions"]) == (13, 13)
    assert sum("#t" in name for name in texts) == record["captions"] < len(texts)
    assert planned(snakemake(tmp_path, "-n", target)) == {}
