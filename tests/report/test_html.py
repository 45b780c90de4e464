import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from tests.report import fabricate
from vlp.cli import lineage
from vlp.config import Experiment, load, provenance
from vlp.errors import InputError
from vlp.files import sha256
from vlp.report import costs, gallery, html, ledger, results
from vlp.tracking import journal as journals
from vlp.tracking import track

_VOID = {"meta", "link", "img", "br"}


class Tree(HTMLParser):
    """Checks that every tag is closed; collects links, ids, sources and text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.attributes if key == name]


@pytest.fixture(scope="module")
def finished(made: Experiment, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A copy of the experiment on which both commands ran: its config file and its folder."""
    return fabricate.finish(made, tmp_path_factory.mktemp("finished"))


@pytest.fixture(scope="module")
def page(finished: tuple[Path, Path]) -> Tree:
    tree = Tree()
    tree.feed((finished[1] / "report.html").read_text())
    return tree


def test_the_page_is_whole_and_needs_nothing_else(page: Tree) -> None:
    assert page.open == []
    for source in page.all("src") + page.all("href"):
        assert source.startswith(("data:", "#"))
    assert {h[1:] for h in page.all("href") if h.startswith("#")} <= set(page.all("id"))
    assert not any(re.search(r"https?://|url\(|@import", word) for word in page.words)


def test_every_result_stands_on_the_page(finished: tuple[Path, Path], page: Tree) -> None:
    words = {word.strip() for word in page.words}
    for row in results.read(finished[1] / "results.csv"):
        assert html.number(row.value) in words and row.metric in words
    text = " ".join(page.words)
    assert "here none is" in text and "77.3" in text and "502.6" in text
    assert "not readable" in text  # the skipped record


def test_assumed_values_and_divergences_stand_on_the_page(finished: tuple[Path, Path], page: Tree) -> None:
    text, words = " ".join(page.words), {word.strip() for word in page.words}
    values = provenance.origins(load(finished[0]))
    counts = provenance.count(values)
    assert f"{counts['assumed']} assumed" in words
    assert f", {counts['paper']} from the paper, {counts['released']} from its released code" in text
    assert {o.key for o in values if o.kind in ("assumed", "paper", "released")} <= words
    for row in ledger.load():
        assert {ledger.plain(word) for word in (row.point, row.paper, row.released, row.here)} <= words
    assert not any("`" in word or "](" in word for word in words)


def test_both_runs_are_recorded_with_their_files(finished: tuple[Path, Path], page: Tree) -> None:
    for rule, name in (("results", "results"), ("report", "report")):
        events = journals.read(finished[1] / "journals" / f"{rule}.jsonl")
        output = next(e for e in events if e["event"] == "output" and e["name"] == name)
        assert output["sha256"] == sha256(finished[1] / output["path"])
        assert events[-1]["status"] == "FINISHED"
    assert "results.csv" in page.words


def test_charts_show_each_loss_and_the_variants_together(made: Experiment) -> None:
    found = dict(html.charts(made.folder))
    assert list(found) == ["Stage 1", "Stage 2", "Visual question answering"]
    assert [c.title for c in found["Stage 1"]] == ["sum of the losses", "MCR, tags", "VSC"]
    assert [(c.title, c.names) for c in found["Visual question answering"]] == [
        ("loss", ("full", "blind")),
        ("score on val", ("full", "blind")),
    ]
    assert found["Visual question answering"][1].figure.count("<polyline") == 2


def test_gallery_shows_right_and_wrong(finished: tuple[Path, Path]) -> None:
    _, folder = finished
    images = gallery.Images(folder / "tables", folder)
    before = gallery.grounded(folder / "predictions" / "grounding.pretrained.test.parquet", folder / "tables", images)
    assert len(before) == 2 and all(g.right < g.phrases for g in before)
    assert "&#10007;" in before[0].caption and "&#10003;" in before[0].caption
    found = gallery.retrieved(folder / "predictions" / "retrieval.full.test.parquet", folder / "tables", images, "t2i")
    assert [r.rank == 1 for r in found] == [True] * 3 + [False] * 2
    assert all(len(r.answers) == 3 and r.answers[0][0].startswith("data:image/jpeg") for r in found)
    assert found[0].answers[0][1] and not found[-1].answers[0][1]


def test_a_vanished_picture_is_no_error(made: Experiment) -> None:
    images = gallery.Images(made.folder / "tables", made.folder)
    assert images.uri("shapes/999999") is None


def test_the_same_items_are_drawn_in_any_order() -> None:
    items = [f"id/{i}" for i in range(50)]
    assert gallery.drawn_by_hash(items, 5) == gallery.drawn_by_hash(items[::-1], 5)


def test_missing_files_are_named(made: Experiment, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"results\.csv: the results are missing"):
        html.render(made, tmp_path / "results.csv", tmp_path / "costs.csv", tmp_path / "statistics.json")
    (tmp_path / "costs.csv").write_text("a\n1\n")
    with pytest.raises(InputError, match="the columns are not rule"):
        costs.read(tmp_path / "costs.csv")


def test_sizes_and_durations() -> None:
    assert [html.size(v) for v in (12, 2048, 3 * 2**20, 5 * 2**31)] == ["12 B", "2.0 KiB", "3.0 MiB", "10.0 GiB"]
    assert [html.duration(v) for v in (3.21, 75, 3700)] == ["3.2 s", "1 min 15 s", "1 h 01 min"]
    assert html.number(None) == "" and html.number(1234.567) == "1,234.57"


def test_a_row_walks_back_and_a_changed_byte_is_named(finished: tuple[Path, Path]) -> None:
    folder = finished[1]
    table = folder / "results.csv"
    number = next(i for i, row in enumerate(results.read(table), start=1) if row.task == "vqa")
    predictions = folder / "predictions" / "vqa.full.test.parquet"
    with track(load(finished[0]), "predict-vqa.full.test", outputs={"predictions": predictions}):
        pass

    app = typer.Typer()
    app.command()(lineage.command)

    def told(row: int) -> tuple[int, str]:
        ran = CliRunner().invoke(app, [str(table), "--row", str(row)])
        return ran.exit_code, ran.output + str(ran.exception or "")

    code, text = told(number)
    assert "vqa" in text.splitlines()[0] and "predict-vqa.full.test" in text
    whole = predictions.read_bytes()
    predictions.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    code, text = told(number)
    predictions.write_bytes(whole)
    assert code == 1 and "predictions/vqa.full.test.parquet was" in text
    assert "Name one from 1 to" in told(10_000)[1]


def test_every_link_of_the_page_leads_somewhere(page: Tree) -> None:
    ids = page.all("id")
    assert len(ids) == len(set(ids))
    assert {href[1:] for href in page.all("href") if href.startswith("#")} <= set(ids)
