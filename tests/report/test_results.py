import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.report import fabricate
from vlp.config import Experiment
from vlp.errors import InputError
from vlp.files import sha256
from vlp.regions.store import RegionStore
from vlp.report import collect, costs, results, statistics
from vlp.tracking import journal as journals


def _collect(made: Experiment, folder: Path | None = None) -> list[results.Row]:
    folder = folder or made.folder
    return collect.collect(
        made,
        folder / "predictions",
        folder / "regions" / "quality.json",
        folder / "models",
        folder / "tables",
        RegionStore(folder / "regions" / "regions.h5"),
    )


@pytest.fixture(scope="module")
def rows(made: Experiment) -> dict[tuple[str, str, str, str], results.Row]:
    return {
        (r.task, r.stage, r.protocol.split()[-2] if "box" in r.protocol else "", r.metric): r for r in _collect(made)
    }


def test_coverage_of_the_corpus_is_a_row(rows: dict) -> None:
    (row,) = [row for row in rows.values() if row.task == "data"]
    assert (row.metric, row.protocol, row.split) == ("coverage", "of the texts in the files", "all")
    assert (row.value, row.n) == (pytest.approx(100 * 24 / 32), 24)


def test_values_stand_beside_chance_and_blind(rows: dict) -> None:
    vqa = rows["vqa", "fine-tuned", "", "accuracy"]
    assert (vqa.value, vqa.blind, vqa.n) == (pytest.approx(200 / 3), pytest.approx(100 / 3), 18)
    assert vqa.chance == pytest.approx(100 / 3)  # train says "2" and "yes" equally often; "2" comes first
    number = rows["vqa", "fine-tuned", "", "accuracy (number)"]
    assert (number.value, number.blind, number.chance) == (100, 0, 100)
    entailment = rows["entailment", "fine-tuned", "", "accuracy"]
    assert (entailment.value, entailment.blind, entailment.chance) == (75, 50, 50)
    neutral = rows["entailment", "fine-tuned", "", "accuracy (neutral)"]
    assert (neutral.value, neutral.chance) == (0, pytest.approx(100 / 3))
    text, image = rows["retrieval", "fine-tuned", "", "TR@1"], rows["retrieval", "fine-tuned", "", "IR@1"]
    assert text.value == pytest.approx(400 / 6) and text.chance == pytest.approx(100 / 6) and text.n == 6
    assert image.chance == pytest.approx(100 / 6) and image.n == 12
    assert rows["retrieval", "fine-tuned", "", "Uni-IR@1"].value == 100
    detection = rows["detection", "detector", "", "recall"]
    assert (detection.value, detection.n, detection.split) == (90, 12, "test")


def test_grounding_has_both_rules_its_bound_and_the_box_prior(rows: dict) -> None:
    tuned, before = (
        rows["grounding", "fine-tuned", "any", "accuracy"],
        rows["grounding", "pre-trained", "any", "accuracy"],
    )
    assert tuned.value == 100 and before.value == pytest.approx(100 / 3)
    assert tuned.chance == pytest.approx(100 * (1 / 4 + 1 / 4 + 2 / 4) / 3) and tuned.n == 18
    # Merged: the phrase of two boxes is missed; no region but the whole image could hit it, at IoU < 0.5.
    assert rows["grounding", "fine-tuned", "merged", "accuracy"].value == pytest.approx(200 / 3)
    assert rows["grounding", "fine-tuned", "merged", "upper bound"].value == pytest.approx(200 / 3)
    assert rows["grounding", "fine-tuned", "any", "upper bound"].value == 100
    # Best on train: the best scored region is the left box: right for the left phrase and the phrase of both.
    prior = rows["grounding", "fine-tuned", "any", "box prior (best scored region)"]
    assert prior.value == tuned.blind == pytest.approx(200 / 3)
    assert rows["grounding", "fine-tuned", "", "phrases without box"].value == 6
    assert rows["grounding", "fine-tuned", "any", "accuracy (scene)"].n == 6


def test_rows_name_their_checkpoint_and_data(made: Experiment, rows: dict) -> None:
    before = rows["grounding", "pre-trained", "any", "accuracy"]
    assert before.checkpoint_sha256 == sha256(made.folder / "models" / "stage2" / "model.safetensors")
    assert before.data_sha256 == sha256(made.folder / "tables" / "phrase_boxes.parquet")
    assert all(row.seed == 7 and row.dataset == "shapes" and row.variant == "full" for row in rows.values())


def test_written_rows_come_back_and_bytes_are_stable(made: Experiment, tmp_path: Path) -> None:
    found = _collect(made)
    results.write(tmp_path / "a.csv", found)
    results.write(tmp_path / "b.csv", reversed(_collect(made)))
    data = (tmp_path / "a.csv").read_bytes()
    assert data == (tmp_path / "b.csv").read_bytes() and b"\r" not in data
    back = results.read(tmp_path / "a.csv")
    assert sorted(r.key for r in found) == [r.key for r in back]
    assert all(
        r.value == pytest.approx(b.value, abs=1e-6)
        for r, b in zip(sorted(found, key=lambda r: r.key), back, strict=True)
    )
    with pytest.raises(ValueError, match="two results"):
        results.write(tmp_path / "c.csv", [found[0], replace(found[0], value=1.0)])


def test_damage_is_named(made: Experiment, tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    results.write(path, _collect(made)[:2])
    path.write_text(path.read_text().replace("fabricated", "x").replace(",7,", ",seven,", 1))
    with pytest.raises(InputError, match="row 2"):
        results.read(path)
    with pytest.raises(InputError, match="missing"):
        results.read(tmp_path / "none.csv")
    path.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="columns"):
        results.read(path)


def test_missing_and_bad_predictions_are_named(made: Experiment, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(made.folder, folder)
    blind = folder / "predictions" / "vqa.blind.test.parquet"
    blind.unlink()
    with pytest.raises(InputError, match=r"vqa\.blind\.test\.parquet: the predictions are missing"):
        _collect(made, folder)
    blind.write_bytes(b"PAR1")
    with pytest.raises(InputError, match="not a whole Parquet file"):
        _collect(made, folder)
    fabricate._write(blind, [{"question_id": "q"}])
    with pytest.raises(InputError, match="lacks the column image_id"):
        _collect(made, folder)


def _training(rates: dict[int, float], gpus: int | None, batch: int = 32) -> list[journals.Event]:
    start = {"event": "run_start", "params": {"optimisation.batch_size": batch}}
    points = [{"event": "metric", "key": "samples_per_second", "step": s, "value": v} for s, v in rates.items()]
    told = [] if gpus is None else [{"event": "metric", "key": "gpus", "step": None, "value": float(gpus)}]
    whole = {
        "event": "metric",
        "key": "samples_per_second",
        "step": None,
        "value": 1.0,
    }  # its mean is no line of the log
    return [start, *points, whole, *told]


def test_gpu_hours_are_those_of_the_steps() -> None:
    rates = {10: 320.0, 20: 160.0, 25: 160.0}  # 1, 2 and 1 seconds at batch 32
    assert costs.gpu_hours(_training(rates, 8)) == pytest.approx(8 * 4 / 3600)
    assert costs.gpu_hours(_training(rates, 0)) == 0
    assert costs.gpu_hours(_training(rates, None)) is None and costs.gpu_hours(_training({}, 8)) is None
    again = _training(rates, 8) + _training({20: 80.0, 25: 160.0}, 8)[1:]  # from a checkpoint at step 10
    assert costs.gpu_hours(again) == pytest.approx(8 * 6 / 3600)


def test_costs_and_statistics(made: Experiment) -> None:
    spent = {row["rule"]: row for row in costs.collect(made.folder)}
    assert spent["stage1"]["samples_per_second"] == "205.000" and spent["stage1"]["status"] == "FINISHED"
    assert float(spent["stage1"]["peak_memory_mb"]) > 1
    assert spent["stage1"]["data_wait"] == "0.00500" and spent["stage1"].keys() == set(costs.COLUMNS)
    assert spent["stage1"]["mfu"] == "0.3000" and spent["stage1"]["gpu_hours"] == ""  # no batch size, no GPUs told
    found = statistics.collect(
        made,
        made.folder / "tables",
        made.folder / "regions" / "quality.json",
        RegionStore(made.folder / "regions" / "regions.h5"),
    )
    assert found["tables"]["captions"] == {"train": 12, "val": 0, "test": 12}
    assert found["regions"]["regions per image"] == 4 and found["skipped"][0]["count"] == 1
    assert found["skipped"][1] == {"table": "regions", "file": "images", "reason": "cut short", "count": 1}
    assert found["images"] == {"without detection": 1, "skipped": 1} and found["phrases"] is None


def test_phrase_statistics(made: Experiment, tmp_path: Path) -> None:
    from vlp.data.tables import read_table
    from vlp.phrases import mine
    from vlp.phrases.graph import Phrase
    from vlp.phrases.vocabulary import build

    train = read_table(made.folder / "tables", "captions", "train")
    red, on = Phrase("attribute", ("a", "red"), ()), Phrase("relation", ("a", "on", "b"), ())
    mined = ((text, (red, on)) for text in sorted(set(train["text"].to_pylist())))
    mine.write(tmp_path / "phrases.parquet", mined, "test")
    build([[red]], 1, 5).save(tmp_path / "phrases.json")
    found = statistics.phrases(tmp_path / "phrases.parquet", tmp_path / "phrases.json", made.folder / "tables")
    assert (found["kinds mined"], found["kinds in the vocabulary"], found["valid phrases"]) == (2, 1, 12)
    images = len(set(train["image_id"].to_pylist()))
    assert (found["per caption"], found["per image"], found["word pieces"]) == (1.0, round(12 / images, 4), 5)
    assert found["most frequent"] == ["red-a"] and found["train captions with a valid phrase"] == 12
    assert found["mean frequency"] == found["median frequency"] == 12


def test_quality_is_found_where_it_lies() -> None:
    good = {"recall": 0.5}
    assert collect.split_quality({"test": good, "images": 3}) == {"test": good}
    assert collect.split_quality({"detection": {"splits": {"val": good}}}) == {"val": good}
    assert collect.split_quality({"images": 3, "regions": 9}) == {}


@pytest.mark.parametrize(("name", "value"), [("value", float("nan")), ("ci_low", float("-inf")), ("sd", float("inf"))])
def test_a_number_that_is_none_is_no_result(made: Experiment, tmp_path: Path, name: str, value: float) -> None:
    row, *others = _collect(made)
    with pytest.raises(InputError, match=rf"row {re.escape(' / '.join(row.key))}: {name} is {value}: no result"):
        results.write(tmp_path / "results.csv", [replace(row, **{name: value}), *others])
    assert not (tmp_path / "results.csv").exists()
    results.write(tmp_path / "results.csv", [row])
    text = (tmp_path / "results.csv").read_text()
    (tmp_path / "results.csv").write_text(text.replace(f"{row.value:.6f}", "nan", 1))
    with pytest.raises(InputError, match="row 2: value is nan: no result"):
        results.read(tmp_path / "results.csv")
