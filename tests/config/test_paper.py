"""configs/paper.yaml holds the paper's numbers, each with its source; both large experiments have a whole DAG."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vlp.config import build, load, read
from vlp.config.presets import PAPER_NAMED
from vlp.config.provenance import origins

ROOT = Path(__file__).parents[2]
PATHS = ["data.root=.", "regions.tsv=."]
NUMBERS = {
    "lengths": (35, 5, 50, 20),
    "tasks.retrieval.lengths": (50, 5, 50, 30),
    "tasks.vqa.lengths": (128, 5, 50, 30),
    "tasks.entailment.lengths": (70, 5, 70, 20),
}
RULES = {
    "tables",
    "regions",
    "phrases",
    "vocabulary",
    "corpus",
    "stage1",
    "stage2",
    "finetune",
    "predict",
    "results",
    "report",
}


def test_lengths_are_the_papers() -> None:
    e = load(ROOT / "configs" / "paper.yaml", PATHS).model_dump()
    for key, (words, phrases, regions, tags) in NUMBERS.items():
        value = e
        for name in key.split("."):
            value = value[name]
        assert value == {"words": words, "phrases": phrases, "regions": regions, "tags": tags}


def test_optimisation_is_the_papers() -> None:
    e = load(ROOT / "configs" / "paper.yaml", PATHS)
    stages = (e.pretraining.stage1, e.pretraining.stage2)
    assert [s.epochs for s in stages if s] == [15, 30]
    for s in stages:
        assert s is not None and (s.batch_size, s.learning_rate, s.warmup, s.zero_stage) == (1024, 1e-4, 0.2, 2)
    tasks = {name: getattr(e.tasks, name).optimisation for name in ("retrieval", "vqa", "entailment")}
    found = {n: (o.epochs, o.batch_size / 8, o.learning_rate, o.weight_decay, o.dropout) for n, o in tasks.items()}
    assert found == {
        "retrieval": (15, 96, 4e-5, 0.05, 0.1),
        "vqa": (25, 32, 5e-5, 0.05, 0.3),
        "entailment": (5, 64, 4e-5, 0.05, 0.1),
    }


def test_only_what_the_paper_does_not_say_is_assumed() -> None:
    given = read(ROOT / "configs" / "paper.yaml", PATHS)
    found = {o.key: o for o in origins(build(given, "paper.yaml"), given)}
    pretraining = {k for k, o in found.items() if o.kind == "assumed" and not k.startswith("tasks.")}
    assert pretraining <= {"model.init_from"}
    assert found["pretraining.stage2.epochs"].source == "paper 4.1"
    assert found["tasks.vqa.optimisation.dropout"].source == "paper A.3.2"
    assert found["tasks.retrieval.optimisation.batch_size"].kind == "assumed"  # the number of GPUs is not stated


@pytest.mark.slow
@pytest.mark.parametrize("name", ["paper", "coco"])
def test_dry_run_shows_the_whole_chain_before_anything_is_fetched(name: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--quiet", "rules", "--cores", "1", "--nolock"]
    command += ["--directory", str(tmp_path), "--snakefile", str(ROOT / "Snakefile"), "--configfile"]
    command += [str(ROOT / "configs" / f"{name}.yaml")]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    shown = subprocess.run(command, capture_output=True, text=True, env=env, cwd=tmp_path, timeout=120)
    assert shown.returncode == 0, shown.stderr
    listed = {
        line.split()[0]: int(line.split()[1])
        for line in shown.stdout.splitlines()
        if len(line.split()) == 2 and line.split()[1].isdecimal()
    }
    assert set(listed) >= RULES
    assert listed["finetune"] == 2 * 4 * 3  # variants, tasks, seeds
    told = [line for line in shown.stderr.splitlines() if "not on disk" in line]
    assert any("raw data not on disk: data/coco/" in line for line in told)
    assert any("region features not on disk: data/vinvl/coco/features.tsv" in line for line in told)


def test_the_corpora_are_the_papers_six() -> None:
    paper, coco = (load(ROOT / "configs" / f"{name}.yaml") for name in ("paper", "coco"))
    assert paper.data.corpus == "paper_named"
    assert set(paper.data.each()) == {part.set for part in PAPER_NAMED}
    assert set(coco.data.each()) == {"coco", "flickr30k", "gqa"}
    assert [getattr(paper.tasks, task).dataset for task in ("vqa", "entailment")] == [None, "flickr30k"]


def test_the_small_experiment_needs_no_cluster() -> None:
    """It extends the paper's, whose parts are SLURM jobs."""
    assert load(ROOT / "configs" / "paper.yaml", PATHS).launch.on_slurm
    assert not load(ROOT / "configs" / "coco.yaml", PATHS).launch.on_slurm
