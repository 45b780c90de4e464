"""A method of its own, outside `vlp`, of whose report files only `published.json` is there: results, report, bundle."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.report import fabricate
from tests.report.test_html import Tree
from vlp.bundle import pack, verify
from vlp.config import Experiment, load
from vlp.files import read_json
from vlp.methods import facts
from vlp.report import ledger, published, results

METHOD = "tests.report.other"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Config file and folder of an experiment without regions, phrases, and tasks that look at boxes."""
    stage = {"epochs": 1, "batch_size": 4, "learning_rate": 1e-3}
    task = {"optimisation": stage}
    over = {"model": {"method": METHOD}, "pretraining": {"only": stage}, "tasks": {"retrieval": task, "vqa": task}}
    made = fabricate.experiment(tmp_path_factory.mktemp("made"), **over)
    for gone in ("regions", "models/stage2", "runs/stage1", "models/stage1"):
        shutil.rmtree(made.folder / gone, ignore_errors=True)
    (made.folder / "runs" / "stage2").rename(made.folder / "runs" / "only")
    return fabricate.finish(made, tmp_path_factory.mktemp("finished"))


@pytest.fixture(scope="module")
def page(finished: tuple[Path, Path]) -> Tree:
    tree = Tree()
    tree.feed((finished[1] / "report.html").read_text())
    return tree


def test_rows_name_the_method_by_its_last_part_and_stand_beside_its_paper(finished: tuple[Path, Path]) -> None:
    rows = [row for row in results.read(finished[1] / "results.csv") if row.task != "data"]
    assert {row.method for row in rows} == {"other"} and {row.task for row in rows} == {"retrieval", "vqa"}
    assert {row.published for row in rows if row.metric == "TR@1" and row.variant == "full"} == {55.5}
    assert {row.published for row in rows if row.task == "vqa"} == {None}  # of other questions
    assert {row.seen_by_detector for row in rows} == {"no"}


def test_the_page_has_its_sections_and_no_others(page: Tree) -> None:
    text, ids = " ".join(page.words), page.all("id")
    assert page.open == [] and {href[1:] for href in page.all("href") if href.startswith("#")} <= set(ids)
    assert {"results", "paper", "training", "retrieved"} <= set(ids)
    assert not {"phrases", "attention", "alignment"} & set(ids)
    assert "Other" in text and "A paper that nobody wrote" in text and "The only stage" in text
    assert "a part of the split: 18 items of 99" in text
    assert "one pre-training stage and 2 tasks" in " ".join(text.split())
    for word in ("MVPTR", "Figure 5", "Regions", "the paper, pre-training", "part ways"):
        assert word not in text, word


def test_what_it_lacks_is_empty_and_no_error(tmp_path: Path) -> None:
    assert facts.of(METHOD) == facts.Facts() and ledger.of(METHOD) == []
    assert [cell.value for cell in published.cells(METHOD)] == [12.5, 55.5, 44.4]
    assert published.table(METHOD, "7") == {"rows": {}, "frequent": {}}
    assert "Other" in ledger.markdown(METHOD).splitlines()[0] and "equations" not in ledger.markdown(METHOD)


def test_its_bundle_holds_its_own_numbers_and_verifies(finished: tuple[Path, Path], tmp_path: Path) -> None:
    made: Experiment = load(finished[0])
    pack.pack(made, tmp_path / "made.tar")
    known, _ = verify.unpack(tmp_path / "made.tar", tmp_path / "unpacked")
    assert known.regions == {} and "regions/boxes.h5" not in known.packed
    assert [cell["row"] for cell in read_json(tmp_path / "unpacked" / "published.json")] == ["Before", "Other", "Other"]
    assert verify.verify(tmp_path / "made.tar").fits
