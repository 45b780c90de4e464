"""Several seeds of fine-tuning: each its row, mean and spread in the table and in the report."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.report import fabricate
from tests.report.test_results import _collect
from vlp.config import Experiment, build, fine_tuning
from vlp.errors import InputError
from vlp.files import write_json
from vlp.report import costs, html, results, seeds
from vlp.report.results import Row

ROW = Row(
    "mvptr", "full", "fine-tuned", "vqa", "shapes", "test", "10-annotator accuracy", "accuracy", 50.0,
    40.0, 60.0, 30.0, 35.0, None, 10, 1, "", "",
)  # fmt: skip


@given(st.lists(st.floats(0, 100), min_size=1, max_size=5))
def test_mean_and_spread_are_those_of_the_values(values: list[float]) -> None:
    rows = results.with_spread([replace(ROW, value=v, blind=v / 2, seed=9 - i) for i, v in enumerate(values)])
    other = replace(ROW, variant="scratch", value=1.0)
    assert results.with_spread([other, *rows])[0] == replace(other, seeds=1, mean=1.0, sd=None)
    for row in rows:
        assert (row.seeds, row.mean) == (len(values), pytest.approx(np.mean(values)))
        assert row.sd is None if len(values) == 1 else row.sd == pytest.approx(np.std(values, ddof=1), abs=1e-9)
    (folded,) = seeds.fold(rows)
    assert folded.value == pytest.approx(np.mean(values)) and folded.blind == pytest.approx(np.mean(values) / 2)
    if len(values) == 1:
        assert folded == rows[0]  # with its bootstrap interval
    else:
        assert folded.sd is not None
        assert (folded.ci_low, folded.ci_high) == (
            pytest.approx(folded.value - folded.sd),
            pytest.approx(folded.value + folded.sd),
        )


@pytest.mark.parametrize(
    ("counts", "words", "enough"),
    [((1,), "one seed", False), ((2,), "2 seeds", False), ((3,), "3 seeds", True), ((1, 3), "1 or 3 seeds", False)],
)
def test_too_few_seeds_are_said(counts: tuple[int, ...], words: str, enough: bool) -> None:
    text = seeds.said(replace(ROW, seeds=n) for n in counts)
    assert words in text and ("3 seeds are wanted" in text) is not enough


def test_nothing_is_said_where_nothing_was_fine_tuned() -> None:
    assert seeds.said([replace(ROW, stage="regions")]) == ""


@pytest.fixture(scope="module")
def thrice(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """VQA fine-tuned with three seeds: the blind one is as good as the other with the last."""
    root = tmp_path_factory.mktemp("thrice")
    once = fabricate.experiment(root)
    value = once.model_dump(mode="json")
    value["tasks"]["vqa"]["seeds"] = 3
    made = build(value, "test")
    folder = made.folder / "predictions"
    test = [fabricate.Scene(i, "test") for i in range(6, 12)]
    for seed, right, blind in ((8, False, False), (9, True, True)):
        fabricate.vqa(folder / f"{fine_tuning('vqa', 'full', seed, 7)}.test.parquet", test, right=right)
        fabricate.vqa(folder / f"{fine_tuning('vqa', 'blind', seed, 7)}.test.parquet", test, right=blind)
        model = made.folder / "models" / f"vqa.full-{seed}" / "model.safetensors"
        model.parent.mkdir()
        model.write_bytes(bytes([seed]))
    return made


def test_each_seed_has_its_row(thrice: Experiment) -> None:
    rows = _collect(thrice)
    found = {r.seed: r for r in rows if (r.task, r.metric) == ("vqa", "accuracy")}
    assert {s: (round(r.value, 3), round(r.blind or 0, 3)) for s, r in found.items()} == {
        7: (66.667, 33.333),
        8: (33.333, 33.333),
        9: (66.667, 66.667),
    }
    assert len({r.checkpoint_sha256 for r in found.values()}) == 3
    assert {results.source(r, 7) for r in found.values()} == {
        "predictions/vqa.full.test.parquet",
        "predictions/vqa.full-8.test.parquet",
        "predictions/vqa.full-9.test.parquet",
    }
    (mean,) = seeds.fold(found.values())
    assert (mean.value, mean.blind, mean.seeds) == (pytest.approx(500 / 9), pytest.approx(400 / 9), 3)
    assert mean.sd == pytest.approx(100 / 3 / 3**0.5)
    assert {r.seeds for r in rows if r.task != "vqa"} == {1}


def test_the_report_shows_mean_spread_and_each_seed(thrice: Experiment, tmp_path: Path) -> None:
    table = tmp_path / "results.csv"
    results.write(table, _collect(thrice))
    costs.write(tmp_path / "costs.csv", [])
    write_json(
        tmp_path / "statistics.json", {"regions": None, "tables": None, "coverage": [], "skipped": [], "phrases": None}
    )
    page = html.render(thrice, table, tmp_path / "costs.csv", tmp_path / "statistics.json")
    assert "Fine-tuned with 1 or 3 seeds" in page and "3 seeds are wanted" in page
    assert "&plusmn; 19.25, 3 seeds" in page and "&plusmn; 19.2 over 3 seeds" in page
    for row in (row for row in results.read(table) if row.task == "vqa"):
        assert page.count(f'id="{html.anchor(row)}"') == 1  # each number can be pointed at
        assert f'id="{html.origin(row, 7)}"' in page
    assert page.count(">seed 8<") == 4  # accuracy, and of each type of answer


def test_a_seed_without_predictions_is_named(thrice: Experiment, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(thrice.folder, folder)
    (folder / "predictions" / "vqa.blind-8.test.parquet").unlink()
    with pytest.raises(InputError, match=r"vqa\.blind-8\.test\.parquet: the predictions are missing"):
        _collect(thrice, folder)


def test_other_seeds_do_not_train_the_first_again(thrice: Experiment) -> None:
    settings = thrice.tasks.vqa
    assert settings is not None and settings.trainings == 6 and thrice.seeds_of("vqa") == [7, 8, 9]
    once = settings.model_copy(update={"seeds": 1})
    assert once.of_training == settings.of_training and once.of_prediction == settings.of_prediction


def test_the_servers_number_has_the_seed_of_the_predictions(tmp_path: Path) -> None:
    from vlp.report import server

    path = tmp_path / "vqa.full-8.test.parquet"
    fabricate.vqa(path, [fabricate.Scene(0, "test")], right=True)
    table = pq.read_table(path)
    ids = [f"vqa/{i}" for i in range(table.num_rows)]
    table = table.set_column(table.column_names.index("question_id"), "question_id", [ids])
    pq.write_table(table.replace_schema_metadata({"seed": "8"}), path)
    said = {"variant": "full", "dataset": "vqa", "split": "test-dev", "seed": 7}
    assert server.record(tmp_path, path, None, {"accuracy": 70.0}, **said)["seed"] == 8
