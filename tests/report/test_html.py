import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from tests.report import fabricate
from vlp.cli import lineage
from vlp.config import Experiment, load, provenance
from vlp.errors import InputError
from vlp.files import sha256, write_json
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
    for row in ledger.of("mvptr"):
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
    found = dict(html.charts(made))
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


def _pair() -> dict[str, Any]:
    """What the probe tells of the first test caption: the left phrase is grounded right, the right one wrong."""
    scene = fabricate.Scene(6, "test")
    left, right = scene.boxes
    spans = [(0, len(scene.captions[0].split(" beside ")[0])), (scene.captions[0].rindex("a "), len(scene.captions[0]))]
    told = [{"start": s, "end": e, "box": left, "boxes": [box]} for (s, e), box in zip(spans, scene.boxes, strict=True)]
    concepts = [(["bar", "<teal>"], "attribute", [left]), (["bar", "beside", "bar"], "relation", [left, right])]
    concepts += [(["bar", "old"], "attribute", [])]
    extracted = [{"parts": p, "kind": k, "words": [], "box": right, "boxes": b} for p, k, b in concepts]
    size = [fabricate.SIDE, fabricate.SIDE]
    return {
        "caption_id": f"{scene.id}#0",
        "image_id": scene.id,
        "size": size,
        "annotated": told,
        "extracted": extracted,
    }


def test_figure_5_shows_annotated_and_extracted_phrases_side_by_side(made: Experiment) -> None:
    images = gallery.Images(made.folder / "tables", made.data_root)
    gone = {**_pair(), "image_id": "shapes/999999"}
    (shown,) = gallery.extracted([_pair(), gone], made.folder / "tables", images)
    assert shown.annotated is not None
    assert (shown.annotated.right, shown.annotated.phrases) == (1, 2)
    assert (shown.extracted.right, shown.extracted.phrases) == (1, 2)  # of the third there is no truth
    marks = re.findall(r'<mark class="(m\d)">(.*?)</mark>', shown.extracted.caption)
    assert marks == [
        ("m0", "bar &middot; &lt;teal&gt;&nbsp;&#10007;"),
        ("m1", "bar &middot; beside &middot; bar&nbsp;&#10003;"),
        ("m2", "bar &middot; old"),
    ]
    assert shown.extracted.picture.count('<rect class="s') == 3 and "dasharray" not in shown.extracted.picture
    (alone,) = gallery.extracted([{**_pair(), "annotated": []}], made.folder / "tables", images)
    assert alone.annotated is None


def test_the_page_shows_figures_5_and_6(made: Experiment, tmp_path: Path) -> None:
    config, folder = fabricate.finish(made, tmp_path)
    points = [{"name": "man", "kind": "tag", "tag": "man", "x": 0, "y": 0}]
    points += [{"name": "man young", "kind": "attribute", "tag": "man", "x": 1, "y": 1}]
    write_json(folder / "figures.json", {"attention": [], "grounding": [_pair()], "embedding": points})
    files = folder / "results.csv", folder / "costs.csv", folder / "statistics.json"
    tree = Tree()
    tree.feed(html.render(load(config), *files))
    text = " ".join(tree.words)
    assert tree.open == [] and "annotated: 1 of 2 fit" in text and "extracted: 1 of 2 fit" in text
    assert {"a common tag", "man young"} <= {word.strip() for word in tree.words}
    write_json(folder / "figures.json", {"attention": [], "embedding": [{"name": "a", "kind": "tag", "x": 0, "y": 0}]})
    assert "a common tag" not in html.render(load(config), *files)  # of an earlier version


def test_costs_stand_beside_the_papers(page: Tree) -> None:
    words = [word.strip() for word in page.words]
    at = words.index("the paper, pre-training (A.2.2)")
    assert [w for w in words[at : at + 12] if w][1:4] == ["about 5 days", "960", "not stated"]
    assert "this experiment, pre-training" in words and words.count("30.0 %") == 2  # MFU of both stages


def test_a_vanished_picture_is_no_error(made: Experiment) -> None:
    images = gallery.Images(made.folder / "tables", made.folder)
    assert images.uri("shapes/999999") is None


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


def test_a_link_to_a_chain_opens_it(finished: tuple[Path, Path]) -> None:
    """A browser opens the details that hold a link's target, but not those that are the target."""
    text = (finished[1] / "report.html").read_text()
    chains = re.findall(r'<details><summary>[^<]*</summary>\s*<div class="wide" id="of-', text)
    assert chains and len(chains) == text.count('id="of-')


def test_every_link_of_the_page_leads_somewhere(page: Tree) -> None:
    ids = page.all("id")
    assert len(ids) == len(set(ids))
    assert {href[1:] for href in page.all("href") if href.startswith("#")} <= set(ids)
