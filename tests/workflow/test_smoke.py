"""The whole chain on a handful of images, as a user runs it: raw images to the report."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from tests.report.test_html import Tree
from tests.workflow.chain import ROOT, VLP, planned, snakemake
from vlp.bundle.pack import pack
from vlp.bundle.pages import grids
from vlp.bundle.verify import verify
from vlp.config import load
from vlp.report import results
from vlp.tracking import lineage

pytestmark = pytest.mark.slow


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open() as f:
        return list(csv.DictReader(f))


def test_every_task_has_rows_beside_chance(smoke: Path) -> None:
    everything = rows(smoke)
    found = [r for r in everything if r["stage"] != "regions"]
    by_task = {t: [r for r in found if r["task"] == t] for t in ("retrieval", "vqa", "entailment", "grounding")}
    for task, own in by_task.items():
        assert own, task
        assert {r["split"] for r in own} == {"test"}
        assert all(re.fullmatch(r"-?\d+\.\d{6}", r["value"]) for r in own)
        measured = [r for r in own if r["metric"] in ("RSUM", "accuracy")]
        assert measured and all(r["chance"] and r["blind"] for r in measured), task
        assert all(re.fullmatch(r"[0-9a-f]{64}", r["checkpoint_sha256"]) for r in own)
    assert {r["stage"] for r in by_task["grounding"]} == {"pre-trained", "fine-tuned"}
    assert any(r["task"] == "detection" and r["metric"] == "recall" for r in found)
    assert {(r["seen_by_model"], r["seen_by_detector"]) for r in everything if r["task"] != "data"} == {("no", "no")}
    bounds = {r["protocol"]: float(r["value"]) for r in everything if r["stage"] == "regions" and r["split"] == "test"}
    assert len(bounds) == 8  # two rules; the regions that the model reads, 50, 100, all
    for rule in ("any", "merged"):
        protocol = f"IoU > 0.5, {rule} box"
        read = min(v for k, v in bounds.items() if k.startswith(f"{protocol}, best "))
        reached = [r for r in found if (r["protocol"], r["metric"]) == (protocol, "accuracy")]
        assert reached and max(float(r["value"]) for r in reached) <= read <= bounds[f"{protocol}, all regions"]


def test_every_link_of_the_report_works_without_a_network(smoke: Path) -> None:
    page = Tree()
    page.feed((smoke / "report.html").read_text())
    links, ids = page.all("href") + page.all("src"), page.all("id")
    pictures = [link for link in links if link.startswith("data:image/")]
    anchors = {link.removeprefix("#") for link in links if link.startswith("#")}
    assert len(pictures) > 10 and len(anchors) > 10 and "<svg" in (smoke / "report.html").read_text()
    assert [link for link in links if not link.startswith(("#", "data:image/")) and link != "data:,"] == []
    assert anchors <= set(ids) and len(ids) == len(set(ids))
    for picture in set(pictures):
        Image.open(io.BytesIO(base64.b64decode(picture.partition(",")[2]))).load()


def test_every_cell_of_the_report_is_a_row_of_the_results(smoke: Path) -> None:
    """Both ways, without the code that writes the page: no cell without its row, no row without its cells."""
    found = grids((smoke / "report.html").read_text())
    shown = [row for grid in found if grid.name.startswith("Results / ") for row in grid.rows if len(row) > 1]
    head, cells = shown[0], [row for row in shown if row != shown[0]]
    assert head == ["metric", "value", "", "95% interval", "chance", "blind", "n", "protocol"]
    wanted = []
    for row in (r for r in rows(smoke) if r["task"] != "data"):
        value, low, high, chance, blind = (
            f"{float(row[k]):,.2f}" if row[k] else "" for k in ("value", "ci_low", "ci_high", "chance", "blind")
        )
        interval = f"{low} – {high}" if low else ""
        wanted.append([row["metric"], value, "", interval, chance, blind, f"{int(row['n']):,}", row["protocol"]])
        assert row["published"] == ""  # so that there is no column of the paper's
    assert sorted(cells) == sorted(wanted)
    cards = [row for grid in found if grid.name == "top" for row in grid.rows]
    values = {f"{float(r['value']):,.1f}%" for r in rows(smoke)}
    assert len(cards) >= 8 and {card[1] for card in cards} <= values


def test_every_number_is_computed_again_from_a_bundle(smoke: Path, tmp_path: Path) -> None:
    pack(load(smoke / "experiment.yaml"), tmp_path / "smoke.tar")
    found = verify(tmp_path / "smoke.tar")
    assert found.fits, found.wrong
    assert found.checked["results.csv"] == len(rows(smoke)) * len(rows(smoke)[0])
    assert all(found.checked.values())


def test_second_run_has_nothing_to_do(smoke: Path) -> None:
    assert planned(snakemake(smoke.parent, "--dry-run")) == {}


@contextmanager
def changed(path: Path) -> Iterator[None]:
    """The file with another content. Only touching a small file is not enough: Snakemake compares digests."""
    before = path.read_bytes()
    path.write_bytes(before + b" ")
    yield
    path.write_bytes(before)


def test_a_changed_input_reruns_what_depends_on_it(smoke: Path) -> None:
    for name in ("regions/quality.json", "predictions/vqa.full.test.parquet"):
        with changed(smoke / name):
            assert set(planned(snakemake(smoke.parent, "--dry-run"))) == {"results", "report"}, name
    with changed(smoke / "vocabulary" / "phrases.json"):
        made = {"corpus": 1, "stage1": 1, "stage2": 1, "finetune": 7, "predict": 8}
        after = made | {"results": 1, "probe": 1, "report": 1}
        assert planned(snakemake(smoke.parent, "--dry-run")) == after
    with changed(smoke / "models" / "stage2" / "model.safetensors"):
        after = {"finetune": 7, "predict": 8, "results": 1, "probe": 1, "report": 1}
        assert planned(snakemake(smoke.parent, "--dry-run")) == after


def test_every_rule_is_a_run_under_one_parent(smoke: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{smoke / 'mlflow.db'}")
    experiments = [e.experiment_id for e in client.search_experiments() if e.name != "Default"]
    runs = client.search_runs(experiments, max_results=200)
    parents = [r for r in runs if "mlflow.parentRunId" not in r.data.tags]
    children = [r for r in runs if "mlflow.parentRunId" in r.data.tags]
    assert len(parents) == 1
    assert {r.data.tags["mlflow.parentRunId"] for r in children} == {parents[0].info.run_id}
    assert all(r.info.status == "FINISHED" for r in children)
    journals = {p.stem for p in (smoke / "journals").glob("*.jsonl")}
    assert {r.data.tags["rule"] for r in children} == journals
    stage2 = next(r for r in children if r.data.tags["rule"] == "stage2")
    assert "loss_wpg" in stage2.data.metrics
    assert client.get_metric_history(stage2.info.run_id, "loss")


def test_lineage_walks_back_from_a_row_to_the_raw_data(smoke: Path) -> None:
    number = next(n for n, row in enumerate(rows(smoke), start=1) if row["task"] == "vqa")
    command = [str(VLP / "vlp"), "lineage", str(smoke / "results.csv"), "--row", str(number)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    made = ("results", "predict-vqa.full.test", "finetune-vqa.full", "stage2", "stage1", "corpus", "vocabulary")
    for rule in (*made, "phrases", "regions", "detector", "tables", "leaks", "shapes"):
        assert re.search(rf"^{re.escape(rule)}  FINISHED  run [0-9a-f]{{32}}", done.stdout, re.M), rule
    for file in ("predictions/vqa.full.test.parquet", "models/stage1", "detector/detector.safetensors", "raw"):
        assert re.search(rf"-> {re.escape(file)}  [0-9a-f]{{64}}  \d+ bytes", done.stdout), file


def test_a_changed_byte_in_any_artefact_is_found_from_every_row_behind_it(smoke: Path) -> None:
    seed = load(smoke / "experiment.yaml").seed
    known, files = lineage.steps(smoke), {results.source(row, seed) for row in results.read(smoke / "results.csv")}
    behind = [step for file in sorted(files) for step in lineage.trace(known, smoke / file)]
    assert list(lineage.changed(behind)) == []
    assert all(lineage.trace(known, smoke / file) for file in files)
    for step in set(behind):
        for output in step.outputs:
            place = smoke / output.path
            path = sorted(p for p in place.rglob("*") if p.is_file())[-1] if place.is_dir() else place
            with changed(path):
                told = list(lineage.changed(lineage.trace(known, place)))
            assert any(f": {path.relative_to(smoke)} was " in line for line in told), path


def test_a_wrong_key_is_named(tmp_path: Path) -> None:
    override = tmp_path / "wrong.yaml"
    override.write_text("model: {hiden_size: 64}\n")
    command = [str(VLP / "snakemake"), "-n", "--configfile", "configs/smoke.yaml", str(override)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0
    assert "model.hiden_size: unknown key; did you mean hidden_size?" in done.stdout + done.stderr


def test_the_corpus_says_what_it_left_out(smoke: Path) -> None:
    summary = json.loads((smoke / "tables" / "summary.json").read_text())
    assert summary["counts"]["images"] == {"train": 120, "val": 40, "test": 40}
    assert summary["skipped"] == []
