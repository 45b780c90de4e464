"""Published formats -> tables: what is read, how it is divided, that it is the same every time."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow

from tests.data import published
from tests.data.published import CAPTIONS, experiment, load, save
from vlp.data.readers import FORMATS, read_experiment, source_files
from vlp.data.readers.boxes import CLIPPED, MIN_SIDE, SCALED, fit
from vlp.data.readers.common import BadRecord
from vlp.data.readers.flickr30k_entities import parse
from vlp.data.readers.images import Image
from vlp.data.tables import SCHEMAS, rows
from vlp.errors import ConfigError
from vlp.images.names import key_of

Read = Callable[..., tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return published.write(tmp_path / "raw")


@pytest.fixture
def read(root: Path, tmp_path: Path) -> Read:
    def run(**data: Any) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
        out = tmp_path / "tables"
        summary = read_experiment(experiment(root, **data), out)
        assert load(out / "summary.json") == summary
        return summary, {name: list(rows(out, name)) for name in SCHEMAS}

    return run


def test_every_format_fills_its_table(read: Read) -> None:
    summary, tables = read()
    assert summary["skipped"] == summary["skipped_counts"] == summary["changed_counts"] == summary["notes"] == []
    assert tables["images"][0] == {
        "image_id": "toy/04", "path": "images/04.jpg", "width": 60, "height": 40,
        "coco_id": None, "flickr_id": None, "vg_id": None, "split": "test",
    }  # fmt: skip
    assert summary["counts"]["images"] == {"train": 2, "val": 1, "test": 1}
    assert summary["counts"]["phrase_boxes"] == {"train": 8, "val": 4, "test": 4}
    assert [r["text"] for r in tables["captions"] if r["image_id"] == "toy/01"] == list(CAPTIONS)
    by_id = {row[SCHEMAS[name].names[0]]: row for name, table in tables.items() for row in table}
    assert by_id["toy/2000"] == {
        "question_id": "toy/2000", "image_id": "toy/02", "text": "How many men?", "answer_type": "number",
        "question_type": "how many", "answer": "2", "answers": ["2"] * 8 + ["two"] * 2, "split": "train",
    }  # fmt: skip
    assert by_id["toy/03.jpg#0r1e"]["label"] == "entailment"
    assert by_id["toy/03.jpg#0r1e"]["split"] == "val"
    assert by_id["toy/103"]["class_name"] == "dog"
    assert by_id["toy/103"]["box"] == [5, 6, 25.5, 16]
    assert [(r["ref_id"], r["text"], r["box"]) for r in tables["referring"] if r["image_id"] == "toy/01"] == [
        ("toy/1#0", "The dog", [5, 6, 25.5, 16]),
        ("toy/1#1", "brown dog", [5, 6, 25.5, 16]),
    ]


def test_a_ref_has_its_own_split_and_keeps_its_name(read: Read, tmp_path: Path) -> None:
    refs = published.load(tmp_path / "raw" / "refs.json")
    for ref, own in zip(refs, ("testA", "testB", "val", "elsewhere"), strict=False):
        ref["split"] = own
    published.save(tmp_path / "raw" / "refs.json", refs)
    summary, tables = read()
    found = {(r["partition"], r["split"]) for r in tables["referring"]}
    assert found == {("testA", "test"), ("testB", "test"), ("val", "val")}
    reasons = {s["reason"] for s in summary["skipped"] if s["table"] == "referring"}
    assert reasons == {"source split 'elsewhere' is not in data.split.rename"}


def test_phrases_have_spans_in_the_caption_and_all_boxes_of_their_chain(read: Read) -> None:
    _, tables = read()
    texts = {r["caption_id"]: r["text"] for r in tables["captions"]}
    for phrase in tables["phrase_boxes"]:
        assert texts[phrase["caption_id"]][phrase["start"] : phrase["end"]] == phrase["text"]
    found = {r["phrase_id"]: r for r in tables["phrase_boxes"] if r["image_id"] == "toy/01"}
    assert {i: (r["text"], r["phrase_type"], r["boxes"]) for i, r in found.items()} == {
        "toy/01#0/0": ("Two men", "people", [[0, 0, 20, 30], [10, 4, 40, 30]]),
        "toy/01#0/1": ("red hats", "clothing", [[2, 1, 10, 10]]),
        "toy/01#1/0": ("dog", "animals", []),
        "toy/01#1/1": ("a cat", "notvisual", []),
    }


def test_coco_captions_give_the_same_tables_as_karpathy(read: Read) -> None:
    _, karpathy = read()
    _, coco = read(captions=published.COCO_CAPTIONS)
    assert coco == karpathy


def test_sources_are_optional_but_tables_are_not(read: Read) -> None:
    none = dict.fromkeys(("questions", "entailment", "phrase_boxes", "objects", "referring"))
    summary, tables = read(**none)
    assert len(tables["captions"]) == 8
    assert all(tables[name] == [] for name in none)
    assert summary["counts"]["objects"] == {"train": 0, "val": 0, "test": 0}


def test_the_same_bytes_every_time_and_wherever_the_data_lie(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere" / "raw"
    shutil.copytree(root, other)
    (root / "images" / "02.jpg").write_bytes(b"nothing")
    (other / "images" / "02.jpg").write_bytes(b"nothing")
    digests = []
    for i, folder in enumerate((root, root, other)):
        out = tmp_path / f"out{i}"
        read_experiment(experiment(folder), out)
        digests.append({p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in out.iterdir()})
    assert len(digests[0]) == 9
    assert digests[0] == digests[1] == digests[2]


def test_records_have_the_split_of_their_image(read: Read, root: Path) -> None:
    (root / "ve_train.jsonl").write_text(
        '{"Flickr30K_ID": "04", "pairID": "x", "sentence2": "A dog.", "gold_label": "neutral"}\n', encoding="utf-8"
    )
    _, tables = read()
    assert [r["split"] for r in tables["entailment"] if r["pair_id"] == "toy/x"] == ["test"]


def test_restval_is_renamed_and_an_unnamed_split_is_left_out_and_counted(read: Read, root: Path) -> None:
    value = load(root / "karpathy.json")
    value["images"][1]["split"] = "restval"
    save(root / "karpathy.json", value)
    summary, tables = read()
    assert [r["image_id"] for r in tables["images"]] == ["toy/04", "toy/01", "toy/03"]
    reason = "source split 'restval' is not in data.split.rename"
    counts = {(c["table"], c["reason"]): c["count"] for c in summary["skipped_counts"]}
    assert counts[("images", reason)] == 1
    assert counts[("captions", reason)] == 2
    assert counts[("phrase_boxes", reason)] == 4
    assert counts[("objects", reason)] == counts[("questions", reason)] == counts[("referring", reason)] == 1
    rename = {"train": "train", "restval": "train", "val": "val", "test": "test"}
    summary, tables = read(split={"rename": rename}, on_bad_record="stop")
    assert len(tables["images"]) == 4
    assert summary["skipped"] == []
    assert "questions: no file q_restval.json (source split 'restval')" in summary["notes"]


def many(root: Path, train: int, val: int) -> None:
    """More images: hard links of one, captions only."""
    images = []
    for i in range(train + val):
        name = f"m{i:03d}.jpg"
        (root / "images" / name).hardlink_to(root / "images" / "01.jpg")
        images.append({"filename": name, "split": "train" if i < train else "val", "sentences": [{"raw": f"Text {i}"}]})
    save(root / "karpathy.json", {"images": images})


ALONE = dict.fromkeys(("questions", "entailment", "phrase_boxes", "objects", "referring"))


def test_set_apart_moves_train_images_to_val_by_a_hash_of_the_id(read: Read, root: Path) -> None:
    many(root, 40, 10)
    _, tables = read(split={"set_apart": 15}, **ALONE)
    ids = [f"toy/m{i:03d}" for i in range(40)]
    apart = set(sorted(ids, key=lambda i: hashlib.sha256(i.encode()).hexdigest())[:15])
    val = {r["image_id"] for r in tables["images"] if r["split"] == "val"}
    assert val == apart | {f"toy/m{i:03d}" for i in range(40, 50)}
    assert {r["image_id"] for r in tables["captions"] if r["split"] == "val"} == val
    value = load(root / "karpathy.json")
    value["images"].reverse()
    save(root / "karpathy.json", value)
    _, again = read(split={"set_apart": 15}, **ALONE)
    assert again["images"] == tables["images"]


def test_a_limited_trial_keeps_a_part_of_each_split_and_counts_the_rest(read: Read, root: Path) -> None:
    many(root, 40, 10)
    split = {"set_apart": 15}
    _, whole = read(split=split, **ALONE)
    summary, few = read(split=split, limit=8, **ALONE)
    assert summary["counts"]["images"] == {"train": 8, "val": 8, "test": 0}
    assert all(row in whole["images"] for row in few["images"])
    counts = {c["table"]: c["count"] for c in summary["skipped_counts"] if c["reason"] == "beyond data.limit"}
    assert counts == {"images": 34, "captions": 34}
    assert len(summary["skipped"]) == 40  # 20 examples of each
    with pytest.raises(ConfigError, match=r"data\.split\.set_apart: 40 of 40 train images"):
        read(split={"set_apart": 40}, **ALONE)


def test_coco_names_and_numbers_meet(read: Read, root: Path) -> None:
    """Karpathy's COCO: a folder for each year, ids by `cocoid`; the 2017 instances have other file names."""
    value = load(root / "karpathy.json")
    (root / "images" / "train2014").mkdir()
    for image in value["images"]:
        number = int(image["filename"].removesuffix(".jpg"))
        name = f"COCO_train2014_{number:012d}.jpg"
        (root / "images" / image["filename"]).rename(root / "images" / "train2014" / name)
        image.update(filename=name, filepath="train2014", cocoid=number)
    save(root / "karpathy.json", value)
    for split in ("train", "val", "test"):
        file = load(root / f"instances_{split}.json")
        for image in file["images"]:
            image["file_name"] = f"{image['id']:012d}.jpg"
        save(root / f"instances_{split}.json", file)
    summary, tables = read(entailment=None, phrase_boxes=None)
    assert summary["skipped"] == []
    assert {r["image_id"] for r in tables["questions"]} == {f"toy/{n:012d}" for n in range(1, 5)}
    assert {r["image_id"] for r in tables["objects"]} == {f"toy/{n:012d}" for n in range(1, 5)}
    assert tables["images"][0]["path"] == "images/train2014/COCO_train2014_000000000004.jpg"
    assert key_of("COCO_val2014_000000000009.jpg") == key_of("000000000009.jpg") == "000000000009"


def test_boxes_follow_the_size_of_the_image_file(read: Read, root: Path) -> None:
    Pillow.new("RGB", (30, 20)).save(root / "images" / "01.jpg")
    summary, tables = read()
    assert next(r["box"] for r in tables["objects"] if r["object_id"] == "toy/101") == [2.5, 3, 12.75, 8]
    assert next(r["boxes"] for r in tables["phrase_boxes"] if r["phrase_id"] == "toy/01#0/1") == [[1, 0.5, 5, 5]]
    counts = {c["table"]: c["count"] for c in summary["changed_counts"] if c["reason"] == SCALED}
    assert counts == {"objects": 1, "phrase_boxes": 3, "referring": 1}


SIDE = st.floats(-500, 500)


@given(st.tuples(SIDE, SIDE, SIDE, SIDE), st.sampled_from([None, (60.0, 40.0), (120.0, 80.0)]))
def test_a_fitted_box_lies_in_the_image(box: tuple[float, ...], annotated: tuple[float, float] | None) -> None:
    image = Image("d/1", "1.jpg", 60, 40, "train", (), Path("c.json"), 0)
    changes: list[str] = []
    try:
        x1, y1, x2, y2 = fit(box, image, annotated, changes.append)
    except BadRecord as bad:
        assert bad.reason == "degenerate box"
        return
    assert 0 <= x1 <= x2 - MIN_SIDE + 1e-9 and x2 <= 60
    assert 0 <= y1 <= y2 - MIN_SIDE + 1e-9 and y2 <= 40
    scale = 0.5 if annotated == (120.0, 80.0) else 1.0
    inside = all(0 <= v * scale <= limit for v, limit in zip(box, (60, 40, 60, 40), strict=True))
    assert (SCALED in changes) == (scale != 1)
    if inside:
        assert CLIPPED not in changes
        assert [x1, y1, x2, y2] == pytest.approx([v * scale for v in box])


WORD = st.text("abc'.", min_size=1, max_size=4)
PHRASES = st.lists(st.tuples(st.booleans(), st.lists(WORD, min_size=1, max_size=3)), min_size=1, max_size=5)


@given(PHRASES)
def test_markup_is_taken_out_and_spans_are_right(parts: list[tuple[bool, list[str]]]) -> None:
    plain = " ".join(" ".join(words) for _, words in parts)
    marked = " ".join(
        f"[/EN#{i}/people/scene {' '.join(words)}]" if is_phrase else " ".join(words)
        for i, (is_phrase, words) in enumerate(parts)
    )
    text, phrases = parse(marked)
    assert text == plain
    assert [(chain, kind, text[a:b]) for chain, kind, (a, b) in phrases] == [
        (str(i), "people/scene", " ".join(words)) for i, (is_phrase, words) in enumerate(parts) if is_phrase
    ]


def test_lines_of_another_order_find_their_captions(read: Read, root: Path) -> None:
    path = root / "Sentences" / "01.txt"
    path.write_text("\n".join(reversed(published.MARKED)), encoding="utf-8")
    summary, tables = read()
    assert summary["skipped"] == []
    assert {r["phrase_id"]: r["text"] for r in tables["phrase_boxes"] if r["image_id"] == "toy/01"} == {
        "toy/01#0/0": "Two men", "toy/01#0/1": "red hats", "toy/01#1/0": "dog", "toy/01#1/1": "a cat",
    }  # fmt: skip


def test_the_files_of_an_experiment(root: Path) -> None:
    files = source_files(experiment(root))
    assert files["captions.captions"] == root / "karpathy.json"
    assert files["questions.annotations.val"] == root / "a_val.json"
    assert files["phrase_boxes.sentences"] == root / "Sentences"
    assert len(files) == 1 + 6 + 3 + 2 + 3 + 4


def test_sizes_and_boxes_are_of_the_upright_picture(read: Read, root: Path) -> None:
    """Stored on its side with EXIF's word for it, an image has the size and boxes that it has upright."""
    summary, before = read()
    path = root / "images" / "01.jpg"
    exif = Pillow.Exif()
    exif[0x0112] = 6
    with Pillow.open(path) as image:
        image.transpose(Pillow.Transpose.ROTATE_90).save(path, exif=exif)
    told, after = read()
    assert after == before and not summary["changed_counts"]
    (counted,) = told["changed_counts"]
    assert (counted["table"], counted["count"]) == ("images", 1)
    assert counted["reason"] == "image turned upright, as its EXIF data say"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"objects": {"format": "vqa_v2"}}, r"data\.objects\.format: vqa_v2 holds no objects; use coco_instances"),
        (
            {"questions": {"format": "vqa_v2", "files": {"questions": "q.json"}}},
            r"data\.questions\.files\.annotations: missing; the format vqa_v2 needs questions, annotations",
        ),
        (
            {"objects": {"format": "coco_instances", "files": {"instances": "i.json", "boxes": "b"}}},
            r"data\.objects\.files\.boxes: unknown; the format coco_instances has instances",
        ),
        ({"split": {"rename": {"train": "training"}}}, r"data\.split\.rename\.train: 'training' is none of train"),
        ({"images": ["pictures"]}, r"data\.images: there is no folder .*pictures"),
        ({"captions": {"format": "coco_captions", "files": {"captions": "c.json"}}}, "wanted {split} in the name"),
    ],
)
def test_a_wrong_config_names_its_key(read: Read, root: Path, data: dict[str, Any], message: str) -> None:
    shutil.copy(root / "captions_train.json", root / "c.json")
    with pytest.raises(ConfigError, match=message):
        read(**data)


def test_every_format_of_the_config_has_a_reader() -> None:
    from typing import get_args

    from vlp.config.data import Source

    assert set(FORMATS) == set(get_args(Source.model_fields["format"].annotation))
    keys = {key for form in FORMATS.values() for key in form.keys}
    assert keys == {"texts", *SCHEMAS} - {"images"}
    for form in FORMATS.values():
        assert (form.texts is not None) == bool({"captions", "texts"} & {*form.keys})
        assert (form.annotations is not None) == bool({*form.keys} - {"captions", "texts"})


def test_the_command_writes_the_tables_and_its_journal(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from vlp.cli.data import read as command

    (root / "images" / "02.jpg").unlink()
    config = tmp_path / "toy.yaml"
    config.write_text(experiment(root).model_dump_json(), encoding="utf-8")  # JSON is YAML
    out = tmp_path / "results" / "toy" / "tables"
    command(config, out, ["tracking.enabled=false"])
    printed = capsys.readouterr().out
    assert "images                1        1        1" in printed
    assert "skipped 1 of images: missing image (karpathy.json)" in printed
    assert {p.name for p in out.iterdir()} == {"summary.json", *(f"{name}.parquet" for name in SCHEMAS)}
    assert (tmp_path / "results" / "toy" / "journals" / "tables.jsonl").exists()
