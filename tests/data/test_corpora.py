"""Several data sets in one experiment, and each format of the pre-training corpora: what is read, what is bad."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.data import corpora
from tests.data.corpora import CC, SBU, experiment
from tests.data.published import load, save
from tests.data.test_bad_records import in_json, in_text
from vlp.data.addresses import file_name
from vlp.data.readers import read_experiment, source_files
from vlp.data.tables import SCHEMAS, rows
from vlp.errors import ConfigError, InputError

Tables = dict[str, list[dict[str, Any]]]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return corpora.write(tmp_path / "raw")


@pytest.fixture
def read(base: Path, tmp_path: Path) -> Callable[..., tuple[dict[str, Any], Tables]]:
    def run(*args: Any, **data: Any) -> tuple[dict[str, Any], Tables]:
        out = tmp_path / "tables"
        summary = read_experiment(experiment(base, *args, **data), out)
        assert load(out / "summary.json") == summary
        return summary, {name: list(rows(out, name)) for name in SCHEMAS}

    return run


def of(tables: Tables, name: str, table: str = "captions") -> list[dict[str, Any]]:
    return [row for row in tables[table] if row["image_id"].startswith(f"{name}/")]


def test_the_tables_hold_the_rows_of_every_set(read: Callable[..., Any], base: Path) -> None:
    summary, tables = read()
    assert summary["counts"]["images"] == {"train": 11, "val": 3, "test": 2}
    assert {row["image_id"].split("/")[0] for row in tables["images"]} == set(corpora.SETS)
    assert all((base / row["path"]).is_file() for row in tables["images"])
    for name, table in tables.items():
        key = SCHEMAS[name].names[0]
        assert [(r["split"], r[key]) for r in table] == sorted((r["split"], r[key]) for r in table)
    assert "toy.captions.captions" in source_files(experiment(base))
    assert "gqa.captions.questions.train" in source_files(experiment(base))
    assert [c["file"] for c in summary["skipped_counts"] if c["table"] == "images"] == ["cc/train.tsv"]


def test_questions_are_texts_of_their_own_kind(read: Callable[..., Any]) -> None:
    _, tables = read()
    found = {r["caption_id"]: (r["text"], r["kind"]) for r in of(tables, "gqa")}
    assert found == {
        "gqa/101#gqa0201": ("Is the dog brown?", "question"),
        "gqa/101#gqa0202": ("What is it?", "question"),
        "gqa/101#vg9": ("Where is the dog?", "question"),
        "gqa/n1#gqa0203": ("Who runs?", "question"),
    }
    asked = [r for r in of(tables, "toy") if r["kind"] == "question"]
    assert [(r["caption_id"], r["split"]) for r in asked] == [
        ("toy/01#vqa1000", "train"),
        ("toy/02#vqa2000", "train"),
    ]
    assert [r["caption_id"] for r in of(tables, "toy") if r["image_id"] == "toy/01" and r["kind"] == "caption"] == [
        "toy/01#0",
        "toy/01#1",
    ]
    assert all(r["question_id"].startswith("toy/") for r in tables["questions"])


def test_images_tell_which_photo_they_are(read: Callable[..., Any]) -> None:
    _, tables = read()
    photos = {r["image_id"]: (r["coco_id"], r["flickr_id"], r["vg_id"]) for r in tables["images"]}
    assert photos["gqa/101"] == ("42", "77", "101")
    assert photos["gqa/n1"] == (None, None, None)
    assert photos[f"sbu/{file_name(SBU[0])[:-4]}"] == (None, "4385058960", None)
    assert photos["openimages/0a1b"] == (None, "15611395595", None)
    assert photos["refcoco/000000000005"] == ("5", None, None)


def test_web_captions_are_found_by_their_address(read: Callable[..., Any]) -> None:
    summary, tables = read()
    found = {r["image_id"].split("/")[1]: (r["text"], r["split"]) for r in of(tables, "cc")}
    assert found == {
        file_name(CC[0])[:-4]: ("a dog runs", "train"),
        file_name(CC[1])[:-4]: ("a cat", "train"),
        file_name(CC[0] + "x")[:-4]: ("dog again", "val"),
    }
    missing = [e for e in summary["skipped"] if e["table"] == "images"]
    assert [(e["file"], e["row"]) for e in missing] == [("cc/train.tsv", 4)]
    texts = [r["text"] for r in of(tables, "sbu")]
    assert sorted(texts) == ["A boat", "My dog again", "My dog."]


def test_sbu_as_two_text_files(base: Path, tmp_path: Path) -> None:
    (base / "sbu" / "urls.txt").write_text("\n".join(SBU) + "\n", encoding="utf-8")
    (base / "sbu" / "texts.txt").write_text("My dog.\nA boat\n", encoding="utf-8")
    captions = {"format": "sbu", "files": {"captions": "texts.txt", "urls": "urls.txt"}}
    read_experiment(experiment(base, "sbu", {"captions": captions}), tmp_path / "out")
    assert {r["text"] for r in rows(tmp_path / "out", "captions")} == {"My dog.", "A boat"}
    (base / "sbu" / "texts.txt").write_text("My dog.\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"texts\.txt: 1 captions for 2 addresses"):
        read_experiment(experiment(base, "sbu", {"captions": captions}), tmp_path / "out")


def test_verified_labels_are_classes_of_the_image(read: Callable[..., Any]) -> None:
    summary, tables = read()
    assert [(r["label_id"], r["class_name"], r["split"]) for r in tables["labels"]] == [
        ("openimages/0a1b//m/1", "dog", "train"),
        ("openimages/0c2d//m/2", "cat, big", "val"),
    ]
    reasons = {c["reason"]: c["count"] for c in summary["skipped_counts"] if c["table"] == "labels"}
    assert reasons == {
        "class that is not in the image": 1,
        "label of a machine": 1,
        "label that was verified twice": 1,
    }
    assert {r["caption_id"]: r["text"] for r in of(tables, "openimages")} == {
        "openimages/0a1b#t1": "a dog on a lawn",
        "openimages/0c2d#t2": "a cat",
    }
    assert [r["text"] for r in of(tables, "narratives")] == ["In this image 1.", "In this image 2."]


def test_refcoco_from_its_own_pickle(read: Callable[..., Any]) -> None:
    _, tables = read()
    assert [(r["ref_id"], r["partition"], r["split"], r["box"]) for r in of(tables, "refcoco", "referring")] == [
        ("refcoco/6#0", "testB", "test", [1, 2, 21, 12]),
        ("refcoco/5#0", "train", "train", [1, 2, 21, 12]),
    ]
    assert [(r["image_id"], r["split"]) for r in of(tables, "refcoco", "images")] == [
        ("refcoco/000000000006", "test"),
        ("refcoco/000000000005", "train"),
    ]


class _Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("it ran",)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_calls_something_is_refused_unrun(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], protocol: int
) -> None:
    (base / "refcoco" / "refs(unc).p").write_bytes(pickle.dumps([_Evil()], protocol=protocol))
    with pytest.raises(InputError, match=r"refs\(unc\)\.p: not a pickle of plain values \(it asks for"):
        read_experiment(experiment(base, "refcoco"), tmp_path / "out")
    assert "it ran" not in capsys.readouterr().out


def test_an_image_with_refs_of_two_splits_is_held_out(base: Path, tmp_path: Path) -> None:
    path = base / "refcoco" / "refs(unc).p"
    refs = pickle.loads(path.read_bytes())
    refs.append({**refs[1], "ref_id": 9, "split": "train"})
    path.write_bytes(pickle.dumps(refs))
    summary = read_experiment(experiment(base, "refcoco"), tmp_path / "out")
    assert summary["counts"]["images"] == {"train": 1, "val": 0, "test": 1}
    assert [c["count"] for c in summary["changed_counts"] if c["table"] == "images" and "splits" in c["reason"]] == [1]


def test_a_limit_of_one_set_and_of_all(base: Path, tmp_path: Path) -> None:
    sets = {**corpora.SETS, "gqa": {**corpora.SETS["gqa"], "limit": 2}}
    summary = read_experiment(experiment(base, sets=sets, limit=1), tmp_path / "out")
    assert summary["counts"]["images"]["train"] == 1 + 2 + 1 + 1 + 1 + 1 + 1


GQA, VG, IMAGES = "gqa/train_balanced_questions.json", "gqa/question_answers.json", "gqa/image_data.json"
TSV, SBUS, LINES = "cc/train.tsv", "sbu/sbu-captions-all.json", "openimages/captions.jsonl"
LISTED, LABELS, TOLD = "openimages/train-images.csv", "openimages/train-labels.csv", "narratives/narratives.jsonl"


def latin(name: str, old: bytes) -> Callable[[Path], object]:
    """Write one character of a line in another encoding."""
    return lambda base: (base / name).write_bytes((base / name).read_bytes().replace(old, b"\xe9" + old, 1))


def twice_in_json(base: Path) -> None:
    path = base / GQA
    path.write_text(path.read_text(encoding="utf-8").replace('"0202"', '"0201"'), encoding="utf-8")


# set, what is damaged, table, file, row, reason
BAD: dict[str, tuple[str, Callable[[Path], object], str, str, int | str, str]] = {
    "GQA: no image": ("gqa", in_json(GQA, "0202", imageId=...), "captions", GQA, "0202", "malformed record"),
    "GQA: empty question": ("gqa", in_json(GQA, "0202", question=" "), "captions", GQA, "0202", "empty question"),
    "GQA: id twice": ("gqa", twice_in_json, "captions", GQA, "0201", "duplicate question id: 0201"),
    "GQA: no record": ("gqa", in_json(GQA, **{"0202": 5}), "captions", GQA, "0202", "malformed record"),
    "VG: another image": (
        "gqa", in_json(VG, 0, "qas", 0, image_id=5), "captions", VG, "0, question 0", "unknown image",
    ),
    "VG: no id": ("gqa", in_json(VG, 0, "qas", 0, qa_id=...), "captions", VG, "0, question 0", "malformed record"),
    "VG: image not in GQA": (
        "gqa", lambda b: save(b / VG, [{"id": 999, "qas": [{"qa_id": 1, "image_id": 999, "question": "Why?"}]}]),
        "captions", VG, "0, question 0", "unknown image: the captions source has no image 999.jpg",
    ),
    "VG: no COCO id": ("gqa", in_json(IMAGES, 1, coco_id=...), "images", IMAGES, 1, "malformed record"),
    "CC: no address": ("cc", in_text(TSV, f"\t{CC[1]}\textra", ""), "captions", TSV, 2, "malformed record: 1 cells"),
    "CC: strange address": ("cc", in_text(TSV, CC[1], "ftp:x"), "captions", TSV, 2, "not an address: ftp:x"),
    "CC: empty caption": ("cc", in_text(TSV, "a cat", " "), "captions", TSV, 2, "empty caption"),
    "CC: nothing to see": ("cc", in_text(TSV, "a cat", "\u200b"), "captions", TSV, 2, "empty caption"),
    "CC: encoding": ("cc", latin(TSV, b"cat"), "captions", TSV, 2, "not valid UTF-8"),
    "SBU: caption is no text": (
        "sbu", in_json(SBUS, captions=[1, "A boat", "x"]), "captions", SBUS, 0, "malformed record",
    ),
    "SBU: empty caption": ("sbu", in_json(SBUS, captions=["x", "", "x"]), "captions", SBUS, 1, "empty caption"),
    "SBU: nothing to see": ("sbu", in_json(SBUS, captions=["x", "\u200b", "x"]), "captions", SBUS, 1, "empty caption"),
    "SBU: half a surrogate pair": (
        "sbu", in_json(SBUS, captions=["x", "\ud800", "x"]), "captions", SBUS, 1, "half a surrogate pair",
    ),
    "SBU: not of Flickr": ("sbu", in_text(SBUS, SBU[1], "http://x/y.jpg"), "captions", SBUS, 1, "not an address of Fl"),
    "OpenImages: a cell too long": (
        "openimages", in_text(LISTED, ",train,", "," + "x" * 200_000 + ","), "images", LISTED, 2, "malformed record: f",
    ),
    "OpenImages: cells": ("openimages", in_text(LISTED, ",train,", ","), "images", LISTED, 2, "malformed record: 4"),
    "OpenImages: image twice": (
        "openimages", lambda b: (b / LISTED).write_text("ImageID,OriginalURL\n0a1b,\n0a1b,\n", encoding="utf-8"),
        "images", LISTED, 3, "duplicate image: 0a1b",
    ),
    "OpenImages: unknown image": (
        "openimages", in_text(LABELS, "0a1b,verification,/m/1", "ffff,verification,/m/1"),
        "labels", LABELS, 2, "unknown image",
    ),
    "OpenImages: class": (
        "openimages", in_text(LABELS, "/m/1,1", "/m/9,1"), "labels", LABELS, 2, "unknown class: /m/9",
    ),
    "OpenImages: confidence": (
        "openimages", in_text(LABELS, "/m/1,1", "/m/1,x"), "labels", LABELS, 2, "malformed record: Confidence 'x'",
    ),
    "captions: not JSON": ("openimages", in_text(LINES, "{", "", count=1), "captions", LINES, 1, "not valid JSON"),
    "captions: empty": ("openimages", in_text(LINES, "a cat", ""), "captions", LINES, 2, "empty caption"),
    "captions: unknown image": ("openimages", in_text(LINES, "0c2d", "9z"), "captions", LINES, 2, "unknown image"),
    "captions: encoding": ("openimages", latin(LINES, b"a cat"), "captions", LINES, 2, "not valid UTF-8"),
    "narrative: key": ("narratives", in_text(TOLD, '"caption"', '"text"'), "captions", TOLD, 1, "malformed record"),
    "narrative: twice": (
        "narratives", lambda b: (b / TOLD).write_text((b / TOLD).read_text(encoding="utf-8").splitlines()[0] + "\n" * 2
                                                      + (b / TOLD).read_text(encoding="utf-8"), encoding="utf-8"),
        "captions", TOLD, 3, "duplicate narrative",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_bad_row_is_named_and_counted_or_stops(base: Path, tmp_path: Path, case: str) -> None:
    name, damage, table, file, row, reason = BAD[case]
    read_experiment(experiment(base, name), tmp_path / "before")
    damage(base)
    summary = read_experiment(experiment(base, name), tmp_path / "after")
    named = [e for e in summary["skipped"] if (e["table"], e["file"], e["row"]) == (table, file, row)]
    assert [e["reason"].startswith(reason) for e in named] == [True]
    for kept in ("captions", "labels"):
        lost = sum(1 for _ in rows(tmp_path / "before", kept)) - sum(1 for _ in rows(tmp_path / "after", kept))
        assert 0 <= lost <= 1
    with pytest.raises(InputError) as caught:
        read_experiment(experiment(base, name, on_bad_record="stop"), tmp_path / "out")
    if name != "cc":  # that one's missing image stops it first
        assert (caught.value.file, caught.value.row) == (str(base / file), row)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("damage", "name", "file", "problem"),
    [
        (lambda b: (b / GQA).write_text("[1]"), "gqa", GQA, "a JSON object of questions"),
        (lambda b: (b / GQA).write_text('{"1": {'), "gqa", GQA, "not valid JSON"),
        (in_text(LISTED, "ImageID", "Image"), "openimages", LISTED, "the header has no column ImageID"),
        (in_json(SBUS, captions=["x"]), "sbu", SBUS, "1 captions for 3 addresses"),
        (lambda b: (b / TSV).unlink(), "cc", TSV, "the file is missing"),
        (lambda b: (b / "refcoco/refs(unc).p").write_bytes(b"\x80\x02]"), "refcoco", "refcoco/refs(unc).p", "not a p"),
    ],
)
def test_a_damaged_file_ends_the_command(
    base: Path, tmp_path: Path, damage: Callable[[Path], object], name: str, file: str, problem: str
) -> None:
    damage(base)
    with pytest.raises(InputError) as caught:
        read_experiment(experiment(base, name), tmp_path / "out")
    assert caught.value.file == str(base / file)
    assert caught.value.problem.startswith(problem)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({"captions": {"format": "karpathy", "files": {}}}, "captions: belongs to one data set"),
        ({"name": "other"}, "'other' is none of the sets"),
        ({"sets": {"toy": {"images": ["x"]}}}, r"sets\.toy\.captions: missing"),
        ({"generator": {}}, "generator: makes one data set"),
        ({"name": "a/b", "sets": {"a/b": corpora.SETS["sbu"]}}, "data.name: String should match pattern"),
    ],
)
def test_a_config_of_several_sets_is_checked(base: Path, data: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        experiment(base, **data)


def test_a_set_may_be_taken_away_or_lie_elsewhere(base: Path, tmp_path: Path) -> None:
    (base / "cc").rename(tmp_path / "far")
    sets = {"toy": corpora.SETS["toy"], "sbu": None, "cc": {**corpora.SETS["cc"], "root": str(tmp_path / "far")}}
    summary = read_experiment(experiment(base, sets=sets), tmp_path / "out")
    assert {r["image_id"].split("/")[0] for r in rows(tmp_path / "out", "images")} == {"toy", "cc"}
    paths = [Path(r["path"]) for r in rows(tmp_path / "out", "images") if r["image_id"].startswith("cc/")]
    assert all(p.is_absolute() and p.is_file() for p in paths)
    assert {e["file"] for e in summary["skipped"]} == {"cc/train.tsv"}
    with pytest.raises(ConfigError, match=r"data\.sets\.sbu\.captions\.format: vqa_v2 holds no captions; use karpathy"):
        wrong = {"captions": {"format": "vqa_v2", "files": {}}}
        read_experiment(experiment(base, "sbu", wrong), tmp_path / "out")
