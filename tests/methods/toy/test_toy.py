"""A method outside the package goes from a config to a verified bundle, and nothing in the house knows of it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from tests.methods.toy.config import Experiment
from tests.methods.toy.conftest import Chain
from tests.methods.toy.lab import CONFIG, HERE, ROOT
from tests.methods.toy.method import METHOD
from tests.methods.toy.model import Architecture, Toy
from vlp.bundle.pack import pack
from vlp.bundle.verify import verify
from vlp.cli import doctor, estimate
from vlp.config import load
from vlp.config import sweep as sweeps
from vlp.errors import ConfigError, InputError
from vlp.infer import Predictor
from vlp.infer.search import Searcher
from vlp.phrases import tokenizer
from vlp.report import results
from vlp.report import sweep as tables
from vlp.sweep import plan as plans
from vlp.tracking import lineage

TASKS = ("retrieval", "vqa", "grounding")
OF_MVPTR = re.compile(r"mvptr|multi-level|stage ?[12]\b|\b(mcr|vsc|wpg)\b|detector|region", re.I)


# -- config -------------------------------------------------------------------------------------------------------
def test_a_config_names_the_package() -> None:
    e = load(CONFIG)
    assert isinstance(e, Experiment) and list(e.stages) == ["only"] and list(e.tasks_set) == list(TASKS)
    assert e.region_store is None and not {"regions", "phrases", "lengths", "masking"} & set(e.model_dump())


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("model.sise=8", r"model\.sise: unknown key; did you mean size\?"),
        ("pretraining.only.momentun=0.5", r"pretraining\.only\.momentun: unknown key; did you mean momentum\?"),
        ("pretraining.stage1.epochs=1", r"pretraining\.stage1: unknown key"),
        ("regions.source=detector", r"regions: unknown key"),
        ("model.pixels=33", r"model\.pixels: .*multiple of 4"),
        ("pretraining.only.zero_stage=3", r"pretraining\.only: zero_stage: with 3 no rank has the whole parameters"),
        ("model.method=tests.methods.toys", r"model\.method: 'tests\.methods\.toys' is no method"),
    ],
)
def test_a_wrong_key_is_named_with_its_path(override: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        load(CONFIG, [override])


def test_nothing_outside_the_folder_names_it() -> None:
    search = ["git", "grep", "-nE", "methods[./]toy", "--", ":!tests/methods/toy"]
    assert subprocess.run(search, cwd=ROOT, capture_output=True, text=True).stdout == ""


# -- the chain ----------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_it_has_no_rule_for_what_it_does_not_read(chain: Chain) -> None:
    stats = chain.said.split("Job stats:")[1].split("total")[0]
    ran = {m[1]: int(m[2]) for m in re.finditer(r"^(\w+) +(\d+)$", stats, re.M) if m[1] != "all"}
    once = dict.fromkeys(("shapes", "tables", "leaks", "vocabulary", "corpus", "only", "results", "report"), 1)
    assert ran == {**once, "finetune": 4, "predict": 4}
    assert {p.name for p in (chain.folder / "models").iterdir()} == {
        "only",
        *(f"{task}.full" for task in TASKS),
        "vqa.blind",
    }
    for name in ("detector", "regions", "phrases", "vocabulary/phrases.json", "models/only/phrases.json"):
        assert not (chain.folder / name).exists(), name


@pytest.mark.slow
def test_a_model_directory_says_what_it_is(chain: Chain) -> None:
    folder = chain.folder / "models" / "only"
    config, inputs = (json.loads((folder / name).read_text()) for name in ("config.json", "inputs.json"))
    assert config["method"] == "tests.methods.toy" and inputs["objectives"] == ["contrast"]
    assert inputs["seen"]["images"] == 60 and "Toy" in (folder / "README.md").read_text()


@pytest.mark.slow
def test_every_task_has_its_numbers(chain: Chain) -> None:
    found = [r for r in results.read(chain.folder / "results.csv") if r.task != "data"]
    assert {(r.method, r.stage, r.split) for r in found} == {("toy", "fine-tuned", "test")}
    metrics = {task: {r.metric for r in found if r.task == task} for task in TASKS}
    assert {r.task for r in found} == set(TASKS)
    assert {"RSUM", "IR@1", "Uni-IR@1"} <= metrics["retrieval"] and "accuracy" in metrics["vqa"]
    assert "accuracy" in metrics["grounding"]
    assert all(r.chance is None for r in found if r.task == "grounding")  # of what would it choose at random?
    vqa = next(r for r in found if r.task == "vqa" and r.metric == "accuracy" and r.variant == "full")
    assert vqa.blind is not None and vqa.chance is not None and vqa.value > 10
    assert {(r.seen_by_model, r.seen_by_detector) for r in found} == {("no", "no")}


@pytest.mark.slow
def test_the_report_speaks_of_the_toy_alone(chain: Chain) -> None:
    page = (chain.folder / "report.html").read_text()
    shown = re.sub(r"data:[^\"')]+|<style.*?</style>|<script.*?</script>|<[^>]+>", " ", page, flags=re.S)
    assert "Toy" in shown and "The only stage" in shown
    assert [shown[max(0, m.start() - 60) : m.end() + 60] for m in OF_MVPTR.finditer(shown)] == []


@pytest.mark.slow
def test_a_bundle_is_verified(chain: Chain, tmp_path: Path) -> None:
    pack(load(chain.folder / "experiment.yaml"), tmp_path / "toy.tar")
    found = verify(tmp_path / "toy.tar")
    assert found.fits, found.wrong
    assert found.checked["results.csv"] and found.checked["report.html"]


@pytest.mark.slow
def test_lineage_walks_back_to_the_raw_data(chain: Chain) -> None:
    found = lineage.trace(lineage.steps(chain.folder), chain.folder / "results.csv")
    rules = {step.rule for step in found}
    assert {"shapes", "tables", "leaks", "vocabulary", "corpus", "only", "finetune-vqa.full", "results"} <= rules
    assert list(lineage.changed(found)) == []


# -- what a user does with it -------------------------------------------------------------------------------------
@pytest.mark.slow
def test_inference(chain: Chain) -> None:
    picture = sorted((chain.folder / "raw" / "images").iterdir())[0]
    text = "a red circle next to a blue square"
    models = chain.folder / "models"
    pretrained = Predictor.from_pretrained(models / "only")(picture, text)
    assert -1 <= pretrained.cosine <= 1
    with pytest.raises(InputError, match="match"):
        _ = pretrained.match
    assert 0 <= Predictor.from_pretrained(models / "retrieval.full")(picture, text).match <= 1
    answers = Predictor.from_pretrained(models / "vqa.full")(picture, "is there a circle?").answers
    assert len(answers) == 5 and answers[0][1] >= answers[1][1]


@pytest.mark.slow
def test_search(chain: Chain) -> None:
    files = sorted((chain.folder / "raw" / "images").iterdir())[:3]
    searcher = Searcher.from_pretrained(chain.folder / "models" / "retrieval.full")
    assert isinstance(searcher, Searcher)
    gallery = searcher.gallery({path.name: seen for path, seen in searcher.look(files)})
    hits = searcher.images("a red circle", gallery, list(gallery), 3)
    assert {hit.name for hit in hits} == {path.name for path in files}
    assert hits == sorted(hits, key=lambda hit: -hit.match)


@pytest.mark.slow
def test_a_sweep_is_planned_and_told(chain: Chain, tmp_path: Path) -> None:
    plan = plans.make(sweeps.load(HERE / "toy_sweep.yaml"), [f"results={tmp_path}"])
    assert [node.kind for node in plan.nodes] == ["data", "only", "only", "run", "run"]
    for node in plan.of("run"):
        node.experiment.folder.mkdir(parents=True)
        shutil.copy(chain.folder / "results.csv", node.experiment.folder)
    read = plans.read(plan.write())
    cells = tables.collect(plan.folder, read.runs, read.sweep.control, read.sweep.published)
    assert {c.row for c in cells} == {"usual", "slower"} and {c.task for c in cells} >= set(TASKS)
    assert "slower" in tables.html(read.sweep.name, read.sweep.control, read.runs, cells)


@pytest.mark.slow
def test_estimate_and_doctor(chain: Chain) -> None:
    config = ["--config", str(chain.folder / "experiment.yaml")]
    told = CliRunner().invoke(estimate.app, config)
    assert told.exit_code == 0 and "does not say what it costs" in told.output, told.output
    told = CliRunner().invoke(doctor.app, config)
    assert told.exit_code == 0 and "All that the experiment cannot do without is there" in told.output, told.output


def test_its_directories_are_checked_as_all_are(tmp_path: Path) -> None:
    """Numbers that are not finite, and word pieces that it has no rows for."""
    words = [*tokenizer.SPECIALS, "cat", "dog"]
    tokenizer.save(words, tmp_path / "v" / "tokenizer")
    model = Toy(Architecture(size=8, pixels=8, words=4, rows=7))
    METHOD.save(model, tmp_path / "m", tmp_path / "v", {}, {})
    assert METHOD.load(tmp_path / "m").word_rows == 7
    tokenizer.save([*words, "sun", "sea"], tmp_path / "m" / "tokenizer")
    with pytest.raises(InputError, match="has 9 word pieces, the model 7 rows"):
        METHOD.load(tmp_path / "m")
    with torch.no_grad():
        model.scale.fill_(torch.nan)
    with pytest.raises(InputError, match=r"not finite: scale \(1 of 1 number is NaN or infinite\)"):
        METHOD.save(model, tmp_path / "n", tmp_path / "v", {}, {})
