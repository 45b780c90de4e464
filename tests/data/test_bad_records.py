"""Every kind of bad record: named with file and row, counted, and nothing else is lost."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pillow

from tests.data import published
from tests.data.published import experiment, load, save
from vlp.data.readers import read_experiment
from vlp.data.tables import SCHEMAS, rows
from vlp.errors import InputError

Damage = Callable[[Path], object]


def in_json(name: str, *path: str | int, **fields: Any) -> Damage:
    """Set fields of a record; `...` removes one."""

    def damage(root: Path) -> None:
        value = load(root / name)
        record = value
        for key in path:
            record = record[key]
        for key, new in fields.items():
            if new is ...:
                del record[key]
            else:
                record[key] = new
        save(root / name, value)

    return damage


def again(name: str, *path: str | int) -> Damage:
    """Append a list's first record once more."""

    def damage(root: Path) -> None:
        value = load(root / name)
        records = value
        for key in path:
            records = records[key]
        records.append(records[0])
        save(root / name, value)

    return damage


def in_text(name: str, old: str, new: str, *, count: int = 1) -> Damage:
    def damage(root: Path) -> None:
        text = (root / name).read_text(encoding="utf-8")
        assert old in text
        (root / name).write_text(text.replace(old, new, count), encoding="utf-8")

    return damage


def truncated(name: str) -> Damage:
    def damage(root: Path) -> None:
        path = root / name
        path.write_bytes(path.read_bytes()[:-40])

    return damage


def no_images(root: Path) -> None:
    for path in (root / "images").iterdir():
        path.unlink()


def cut_png(root: Path) -> None:
    """A PNG under a JPEG's name, cut short: formats are known by their content."""
    Pillow.effect_noise((60, 40), 50).save(root / "images" / "02.png")
    data = (root / "images" / "02.png").read_bytes()
    (root / "images" / "02.jpg").write_bytes(data[: len(data) // 2])
    (root / "images" / "02.png").unlink()


LOST = {"images": 1, "captions": 2, "questions": 1, "entailment": 1, "phrase_boxes": 4, "objects": 1, "referring": 2}
"""Rows that go with one image."""
COCO = {"captions": published.COCO_CAPTIONS}
NINE = [{"answer": "2"}] * 9
KARPATHY, INSTANCES, REFS, XML, TXT = (
    "karpathy.json", "instances_train.json", "refs.json", "Annotations/01.xml", "Sentences/01.txt",
)  # fmt: skip

# what is damaged, config, table, file, row, reason, rows lost
CASES: dict[str, tuple[Damage, dict[str, Any], str, str, int | str | None, str, dict[str, int]]] = {
    "image missing": (
        lambda root: (root / "images" / "02.jpg").unlink(),
        {}, "images", KARPATHY, 1, "missing image: 02.jpg is not in images", LOST,
    ),
    "image empty": (
        lambda root: (root / "images" / "02.jpg").write_bytes(b""),
        {}, "images", KARPATHY, 1, "unreadable image: 02.jpg: the image cannot be read", LOST,
    ),
    "image truncated": (truncated("images/02.jpg"), {}, "images", KARPATHY, 1, "unreadable image: 02.jpg: ", LOST),
    "PNG truncated": (cut_png, {}, "images", KARPATHY, 1, "unreadable image: 02.jpg: ", LOST),
    "image twice": (again(KARPATHY, "images"), {}, "images", KARPATHY, 4, "duplicate image: toy/01", {}),
    "image without split": (
        in_json(KARPATHY, "images", 1, split=...),
        {}, "images", KARPATHY, 1, "malformed record: the field 'split' is missing", LOST,
    ),
    "caption empty": (
        in_json(KARPATHY, "images", 1, "sentences", 0, raw=" \n "),
        {}, "captions", KARPATHY, "1, sentence 0", "empty caption", {"captions": 1, "phrase_boxes": 2},
    ),
    "caption null": (
        in_json(KARPATHY, "images", 1, "sentences", 0, raw=None),
        {}, "captions", KARPATHY, "1, sentence 0", "malformed record: the field 'raw' is NoneType, wanted str",
        {"captions": 1, "phrase_boxes": 2},
    ),
    "caption of another image": (
        in_json(KARPATHY, "images", 1, "sentences", 1, imgid=77),
        {}, "captions", KARPATHY, "1, sentence 1", "caption of an unknown image: imgid 77, not 1",
        {"captions": 1, "phrase_boxes": 2},
    ),
    "sentid twice": (
        in_json(KARPATHY, "images", 1, "sentences", 1, sentid=0),
        {}, "captions", KARPATHY, "1, sentence 1", "duplicate caption: 0", {"captions": 1, "phrase_boxes": 2},
    ),
    "COCO caption of an unknown image": (
        in_json("captions_train.json", "annotations", 3, image_id=999),
        COCO, "captions", "captions_train.json", 3, "caption of an unknown image: image_id 999",
        {"captions": 1, "phrase_boxes": 2},
    ),
    "COCO caption empty": (
        in_json("captions_train.json", "annotations", 2, caption=""),
        COCO, "captions", "captions_train.json", 2, "empty caption", {"captions": 1, "phrase_boxes": 2},
    ),
    "COCO caption twice": (
        again("captions_train.json", "annotations"),
        COCO, "captions", "captions_train.json", 4, "duplicate caption id: 10", {},
    ),
    "COCO image twice": (
        again("captions_train.json", "images"),
        COCO, "images", "captions_train.json", 2, "duplicate image: id 1", {},
    ),
    "question of an unknown image": (
        in_json("q_train.json", "questions", 1, image_id=999),
        {}, "questions", "q_train.json", 1, "unknown image: the captions source has no image 999", {"questions": 1},
    ),
    "question empty": (
        in_json("q_train.json", "questions", 1, question=""),
        {}, "questions", "q_train.json", 1, "empty question", {"questions": 1},
    ),
    "question twice": (
        again("q_train.json", "questions"), {}, "questions", "q_train.json", 2, "duplicate id: 1000", {},
    ),
    "question without answers": (
        in_json("a_train.json", "annotations", 1, question_id=5),
        {}, "questions", "q_train.json", 1, "question without an annotation: question 2000", {"questions": 1},
    ),
    "answers without question": (
        lambda root: save(root / "q_train.json", {"questions": load(root / "q_train.json")["questions"][:1]}),
        {}, "questions", "a_train.json", 1, "annotation without a question: question 2000", {"questions": 1},
    ),
    "nine answers": (
        in_json("a_train.json", "annotations", 1, answers=NINE),
        {}, "questions", "q_train.json", 1, "not ten answers: 9 of question 2000", {"questions": 1},
    ),
    "answer type": (
        in_json("a_train.json", "annotations", 1, answer_type="count"),
        {}, "questions", "q_train.json", 1, "unknown answer type: 'count', wanted yes/no | number | other",
        {"questions": 1},
    ),
    "pair of an unknown image": (
        in_text("ve_train.jsonl", '"02"', '"77"'),
        {}, "entailment", "ve_train.jsonl", 2, "unknown image: the captions source has no image 77", {"entailment": 1},
    ),
    "pair with a strange label": (
        in_text("ve_train.jsonl", '"entailment"', '"maybe"'),
        {}, "entailment", "ve_train.jsonl", 1, "unknown label: 'maybe', wanted contradiction", {"entailment": 1},
    ),
    "pair twice": (
        in_text("ve_train.jsonl", '"02.jpg#0r1e"', '"01.jpg#0r1e"'),
        {}, "entailment", "ve_train.jsonl", 2, "duplicate id: 01.jpg#0r1e", {"entailment": 1},
    ),
    "box of no area": (
        in_json(INSTANCES, "annotations", 1, bbox=[5, 5, 0, 9]),
        {}, "objects", INSTANCES, 1, "degenerate box: (5, 5, 5, 14) in an image of 60 x 40",
        {"objects": 1, "referring": 2},
    ),
    "box outside": (
        in_json(INSTANCES, "annotations", 1, bbox=[70, 5, 9, 9]),
        {}, "objects", INSTANCES, 1, "degenerate box: (70, 5, 79, 14) in an image of 60 x 40",
        {"objects": 1, "referring": 2},
    ),
    "box of NaN": (
        in_json(INSTANCES, "annotations", 1, bbox=[float("nan"), 5, 9, 9]),
        {}, "objects", INSTANCES, 1, "not a box: [nan, 5.0, nan, 14.0]", {"objects": 1, "referring": 2},
    ),
    "box of three numbers": (
        in_json(INSTANCES, "annotations", 1, bbox=[1, 5, 9]),
        {}, "objects", INSTANCES, 1, "not a box: [1, 5, 9]", {"objects": 1, "referring": 2},
    ),
    "category": (
        in_json(INSTANCES, "annotations", 1, category_id=8),
        {}, "objects", INSTANCES, 1, "unknown category: category_id 8", {"objects": 1},
    ),
    "object twice": (
        again(INSTANCES, "annotations"), {}, "objects", INSTANCES, 2, "duplicate id: 101", {},
    ),
    "another image than annotated": (
        in_json(INSTANCES, "images", 1, width=40),
        {}, "objects", INSTANCES, 1, "the image has another shape than the annotation says: images/02.jpg is 60 x 40",
        {"objects": 1, "referring": 2},
    ),
    "ref without box": (
        in_json(REFS, 1, ann_id=5), {}, "referring", REFS, 1, "no such annotation: ann_id 5", {"referring": 2},
    ),
    "ref of another image": (
        in_json(REFS, 1, ann_id=101),
        {}, "referring", REFS, 1, "the annotation is of another image: ann_id 101", {"referring": 2},
    ),
    "ref with an empty sentence": (
        in_json(REFS, 1, "sentences", 0, raw=""),
        {}, "referring", REFS, "1, sentence 0", "empty expression", {"referring": 1},
    ),
    "ref without sentences": (
        in_json(REFS, 1, sentences=[]), {}, "referring", REFS, 1, "no sentence", {"referring": 2},
    ),
    "record that is no object": (
        lambda root: save(root / REFS, [*load(root / REFS), "x"]),
        {}, "referring", REFS, 4, "malformed record: an object is wanted, not str", {},
    ),
    "pair that is not JSON": (
        truncated("ve_train.jsonl"), {}, "entailment", "ve_train.jsonl", 2, "not valid JSON", {"entailment": 1},
    ),
    "pair of another encoding": (
        lambda root: (root / "ve_train.jsonl").write_bytes(
            (root / "ve_train.jsonl").read_bytes().replace(b"Men", b"M\xe9n", 1)
        ),
        {}, "entailment", "ve_train.jsonl", 1, "not valid UTF-8", {"entailment": 1},
    ),
    "markup": (
        in_text(TXT, "[/EN#1/people Two men]", "[/EN#1/people Two men"),
        {}, "phrase_boxes", TXT, 1, "damaged phrase markup", {"phrase_boxes": 2},
    ),
    "markup without its beginning": (
        in_text(TXT, "[/EN#1/people Two men]", "#1/people Two men]"),
        {}, "phrase_boxes", TXT, 1, "damaged phrase markup", {"phrase_boxes": 2},
    ),
    "phrase that is not in the caption": (
        in_text(TXT, "red hats", "blue caps"),
        {}, "phrase_boxes", TXT, 1, "phrase not found in the caption: 'blue caps' in 'Two men in red hats run .'",
        {"phrase_boxes": 1},
    ),
    "no XML": (
        lambda root: (root / XML).unlink(),
        {}, "phrase_boxes", TXT, None, "no file for this image: 01.xml", {"phrase_boxes": 4},
    ),
    "XML cut short": (
        truncated(XML), {}, "phrase_boxes", TXT, None, "not valid XML: 01.xml: unclosed token: line 6",
        {"phrase_boxes": 4},
    ),
    "sentences of another encoding": (
        lambda root: (root / TXT).write_bytes(b"Caf\xe9\n"),
        {}, "phrase_boxes", TXT, None, "unreadable file: 01.txt: not valid UTF-8", {"phrase_boxes": 4},
    ),
    "half a surrogate pair": (
        in_json(KARPATHY, "images", 1, "sentences", 0, raw="a \ud83d dog"),
        {}, "captions", KARPATHY, "1, sentence 0", "half a surrogate pair: 'a \\ud83d dog'",
        {"captions": 1, "phrase_boxes": 2},
    ),
    "nothing that can be seen": (
        in_json(KARPATHY, "images", 1, "sentences", 0, raw="\u200b\ufeff \u2060"),
        {}, "captions", KARPATHY, "1, sentence 0", "empty caption", {"captions": 1, "phrase_boxes": 2},
    ),
    "answer with half a pair": (
        in_json("a_train.json", "annotations", 1, answers=[{"answer": "\udc00"}] * 10),
        {}, "questions", "q_train.json", 1, "half a surrogate pair", {"questions": 1},
    ),
    "half a pair in an id": (
        in_text("ve_train.jsonl", '"02"', '"\\ud800"'),
        {}, "entailment", "ve_train.jsonl", 2, "half a surrogate pair: '\\ud800'", {"entailment": 1},
    ),
    "pair of a number of 5,000 digits": (
        in_text("ve_train.jsonl", '"02.jpg#0r1e"', "9" * 5000),
        {}, "entailment", "ve_train.jsonl", 2, "not valid JSON: Exceeds the limit (4300 digits)", {"entailment": 1},
    ),
    "box of 400 digits": (
        in_json(INSTANCES, "annotations", 1, bbox=[10**400, 5, 9, 9]),
        {}, "objects", INSTANCES, 1, "not a box: [1000", {"objects": 1, "referring": 2},
    ),
    "category that is a number": (
        in_text(INSTANCES, '"name": "dog"', '"name": "7"'),
        {}, "objects", INSTANCES, "category 0", "category without a word: '7'", {"objects": 2},
    ),
    "corner": (
        in_text(XML, "<xmax>10</xmax>", "<xmax>ten</xmax>"),
        {}, "phrase_boxes", XML, "object 2", "malformed record: an object without name or corners", {},
    ),
    "phrase's box of no area": (
        in_text(XML, "<xmin>3</xmin>", "<xmin>11</xmin>"),
        {}, "phrase_boxes", XML, "object 2", "degenerate box: (10, 1, 10, 10) in an image of 60 x 40", {},
    ),
}  # fmt: skip


def numbers(out: Path) -> dict[str, int]:
    return {name: sum(1 for _ in rows(out, name)) for name in SCHEMAS}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return published.write(tmp_path / "raw")


@pytest.mark.parametrize("case", CASES)
def test_a_bad_record_is_skipped_and_named_and_nothing_else_is_lost(root: Path, tmp_path: Path, case: str) -> None:
    damage, data, table, file, row, reason, lost = CASES[case]
    read_experiment(experiment(root, **data), tmp_path / "before")
    damage(root)
    summary = read_experiment(experiment(root, **data), tmp_path / "after")
    before, after = numbers(tmp_path / "before"), numbers(tmp_path / "after")
    assert {name: before[name] - after[name] for name in SCHEMAS if before[name] != after[name]} == lost
    named = [e for e in summary["skipped"] if e["table"] == table and e["file"] == file and e["row"] == row]
    assert [e["reason"].startswith(reason) for e in named] == [True]
    counted = [c for c in summary["skipped_counts"] if c["table"] == table and reason.startswith(c["reason"])]
    assert [c["count"] for c in counted] == [1]


@pytest.mark.parametrize("case", CASES)
def test_or_ends_the_command_with_file_row_and_remedy(root: Path, tmp_path: Path, case: str) -> None:
    damage, data, _, file, row, reason, _ = CASES[case]
    damage(root)
    where = str(root / file) + ("" if row is None else f", row {row}") + ": "
    with pytest.raises(InputError, match=re.escape(where) + ".*data.on_bad_record: skip") as caught:
        read_experiment(experiment(root, **data, on_bad_record="stop"), tmp_path / "out")
    if case not in ("box of no area", "box outside", "box of NaN", "box of three numbers"):
        assert reason in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_what_the_formats_say_to_ignore_is_counted_and_never_stops(root: Path, tmp_path: Path) -> None:
    in_text("ve_train.jsonl", '"entailment"', '"-"')(root)
    in_json(INSTANCES, "annotations", 1, iscrowd=1)(root)
    (root / "a_test.json").unlink()
    summary = read_experiment(experiment(root, referring=None, on_bad_record="stop"), tmp_path / "out")
    assert [(e["table"], e["file"], e["row"], e["reason"]) for e in summary["skipped"]] == [
        ("entailment", "ve_train.jsonl", 1, "no gold label"),
        ("objects", INSTANCES, 1, "box around a crowd"),
        ("questions", "q_test.json", 0, "question of a split without annotations: question 4000"),
    ]
    assert summary["notes"] == ["questions: no file a_test.json (source split 'test')"]


def test_a_box_over_the_edge_is_clipped_and_counted(root: Path, tmp_path: Path) -> None:
    in_json(INSTANCES, "annotations", 1, bbox=[-3, 30, 20, 20])(root)
    summary = read_experiment(experiment(root, on_bad_record="stop"), tmp_path / "out")
    assert {r["object_id"]: r["box"] for r in rows(tmp_path / "out", "objects")}["toy/102"] == [0, 30, 17, 40]
    assert [(c["table"], c["file"], c["reason"], c["count"]) for c in summary["changed_counts"]] == [
        ("objects", INSTANCES, "box clipped to the image", 1),
        ("referring", REFS, "box clipped to the image", 1),
    ]


def test_records_of_an_image_that_is_not_there_are_counted_with_few_examples(root: Path, tmp_path: Path) -> None:
    (root / "images" / "02.jpg").unlink()
    value = load(root / INSTANCES)
    value["annotations"] += [{**value["annotations"][1], "id": 1000 + i} for i in range(50)]
    save(root / INSTANCES, value)
    summary = read_experiment(experiment(root), tmp_path / "out")
    reason = "its image was skipped (missing image)"
    assert {c["table"]: c["count"] for c in summary["skipped_counts"] if c["reason"] == reason} == {
        "captions": 2, "entailment": 1, "objects": 51, "phrase_boxes": 4, "questions": 1, "referring": 1,
    }  # fmt: skip
    assert sum(e["table"] == "objects" for e in summary["skipped"]) == 20


def test_a_line_more_than_captions_is_named(root: Path, tmp_path: Path) -> None:
    (root / TXT).write_text("\n".join([*published.MARKED, "A [/EN#2/clothing hat] ."]), encoding="utf-8")
    summary = read_experiment(experiment(root), tmp_path / "out")
    assert [(e["file"], e["row"], e["reason"]) for e in summary["skipped"]] == [
        (TXT, 3, "line without a caption: the image has 2 captions")
    ]


def test_an_image_whose_captions_are_all_bad_stays_and_is_counted(root: Path, tmp_path: Path) -> None:
    in_json(KARPATHY, "images", 1, sentences=[])(root)
    summary = read_experiment(experiment(root, phrase_boxes=None), tmp_path / "out")
    assert summary["counts"]["images"] == {"train": 2, "val": 1, "test": 1}
    assert [(c["reason"], c["count"]) for c in summary["changed_counts"]] == [("image kept without a caption", 1)]


@pytest.mark.parametrize(
    ("damage", "data", "file", "row", "problem"),
    [
        (truncated(KARPATHY), {}, KARPATHY, 1, "not valid JSON"),
        (in_text(KARPATHY, '"images"', '"pictures"'), {}, KARPATHY, None, "a JSON object with the list 'images'"),
        (lambda root: (root / KARPATHY).unlink(), {}, KARPATHY, None, "the file is missing"),
        (lambda root: (root / KARPATHY).write_bytes(b'{\n"\xff'), {}, KARPATHY, 2, "not valid UTF-8"),
        (truncated("a_val.json"), {}, "a_val.json", 1, "not valid JSON"),
        (in_text(REFS, "[", '{"refs": [') , {}, REFS, 1, "not valid JSON"),
        (lambda root: save(root / REFS, {}), {}, REFS, None, "a JSON list is wanted"),
        (lambda root: (root / "captions_val.json").unlink(), COCO, "captions_val.json", None, "the file is missing"),
        (no_images, {}, KARPATHY, 0, "no image is left of 4; 4 of"),
    ],
)  # fmt: skip
def test_a_damaged_file_ends_the_command(
    root: Path, tmp_path: Path, damage: Damage, data: dict[str, Any], file: str, row: int | None, problem: str
) -> None:
    damage(root)
    with pytest.raises(InputError) as caught:
        read_experiment(experiment(root, **data), tmp_path / "out")
    assert caught.value.file == str(root / file)
    assert caught.value.row == row
    assert caught.value.problem.startswith(problem)
    assert caught.value.remedy
    assert not (tmp_path / "out").exists()
