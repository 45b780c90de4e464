"""A table or split that loses most of its records stops, with the likely cause."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.data import corpora, published
from tests.data.published import experiment, load, save
from vlp.data.addresses import file_name
from vlp.data.readers import read_experiment, read_images
from vlp.data.tables import rows
from vlp.errors import InputError

Change = Callable[[Path], object]
KARPATHY, REFS = "karpathy.json", "refs.json"
SPLITS = ("train", "val", "test")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return published.write(tmp_path / "raw")


def each(name: str, *path: str, **fields: Any) -> Change:
    """Set fields of all records of a list; `...` removes one, a function makes the new value of the record."""

    def change(root: Path) -> None:
        for file in root.glob(name):
            value = load(file)
            records = value
            for key in path:
                records = records[key]
            for record in records:
                for key, new in fields.items():
                    if new is ...:
                        del record[key]
                    else:
                        record[key] = new(record) if callable(new) else new
            save(file, value)

    return change


def sentences(**fields: Any) -> Change:
    def change(root: Path) -> None:
        value = load(root / KARPATHY)
        for image in value["images"]:
            for sentence in image["sentences"]:
                sentence.update(fields)
        save(root / KARPATHY, value)

    return change


def albef(root: Path) -> None:
    """ALBEF's lists of questions in the place of VQA's."""
    for split in SPLITS:
        questions = load(root / f"q_{split}.json")["questions"]
        listed = [{**q, "image": f"{q['image_id']:02}.jpg", "dataset": "vqa", "answer": ["2"]} for q in questions]
        save(root / f"q_{split}.json", listed)


def listed(*records: Any) -> Change:
    return lambda root: save(root / KARPATHY, list(records))


def _turn(root: Path) -> None:
    """Width and height of the annotated images exchanged."""
    for split in SPLITS:
        value = load(root / f"instances_{split}.json")
        for image in value["images"]:
            image["width"], image["height"] = image["height"], image["width"]
        save(root / f"instances_{split}.json", value)


def _corners(root: Path) -> None:
    """x1, y1, x2, y2 in the place of x, y, width, height: in an image of 60 x 40."""
    for split in SPLITS:
        value = load(root / f"instances_{split}.json")
        for box in value["annotations"]:
            box["bbox"] = [35, 25, 55, 36]
        save(root / f"instances_{split}.json", value)


def _entities(root: Path) -> None:
    for path in (root / "Annotations").iterdir():
        if path.stem != "03":
            path.unlink()


def _pretty(root: Path) -> None:
    """JSON lines written as one document over several lines."""
    for path in root.glob("ve_*.jsonl"):
        path.write_text(path.read_text().replace('", "', '",\n "'))


def _one_split_empty(root: Path) -> None:
    each("q_val.json", "questions", image_id=999)(root)


# what is changed -> file, words of the error
STOPS: dict[str, tuple[Change, str, str]] = {
    "all sentid 0": (sentences(sentid=0), KARPATHY, "captions of the split val.*duplicate caption: 0.*own, or take"),
    "every caption empty": (sentences(raw=" "), KARPATHY, "8 of 8 captions would be lost, nothing is left"),
    "ALBEF's questions": (
        albef, "q_train.json", "'questions' is wanted, not a list of 2.*looks like ALBEF's list of questions.*vqa_v2",
    ),
    "ALBEF's captions": (
        listed({"image": "01.jpg", "caption": "A man ."}), KARPATHY,
        r"'images' is wanted, not a list of 1.*ALBEF's list of captions. Write each as a line .*captions_jsonl",
    ),
    "Oscar's captions": (
        listed({"image_id": "1", "id": 3, "caption": "A man ."}), KARPATHY, "a list of captions as Oscar has it",
    ),
    "LXMERT's questions": (
        listed({"img_id": "1", "question_id": 3, "sent": "A man ."}), KARPATHY, "LXMERT's list of questions",
    ),
    "VinVL's objects": (
        listed({"class": "man", "rect": [1, 2, 3, 4]}), KARPATHY, "objects of VinVL's predictions.*regions.tsv",
    ),
    "UNITER's": (listed({"toked_question": ["a"], "qid": "1"}), KARPATHY, "UNITER's text database"),
    "COCO's captions": (
        lambda root: save(root / KARPATHY, load(root / "captions_train.json")), KARPATHY,
        "none of its 2 records can be used; 2 of them: malformed record: the field 'filename' is missing",
    ),
    "no splits": (
        each(KARPATHY, "images", split=...), KARPATHY,
        "none of its 4 records can be used; 4 of them: malformed record: the field 'split' is missing",
    ),
    "no images": (lambda root: save(root / KARPATHY, {"images": []}), KARPATHY, "it lists no image"),
    "a split of another name": (
        each(KARPATHY, "images", split=lambda r: {"val": "valid"}.get(r["split"], r["split"])), KARPATHY,
        "no image is of the split 'val', but 1 are of 'valid'.*Name it: data.split.rename.valid: val",
    ),
    "turned images": (_turn, "instances_train.json", "2 of 2|4 of 4 objects would be lost.*exchanged"),
    "corners": (_corners, "instances_train.json", "4 of 4 boxes of objects reach over.*look like two corners"),
    "questions of no image": (_one_split_empty, "q_val.json", "questions of the split val would be lost, nothing"),
    "annotations of other questions": (
        each("a_*.json", "annotations", question_id=lambda r: r["question_id"] + 1), "q_train.json",
        "questions would be lost.*those of other questions",
    ),
    "pairs of another form": (
        _pretty, "ve_train.jsonl", "not valid JSON.*one JSON document",
    ),
    "a third of the images": (
        lambda root: (root / "images" / "02.jpg").unlink(), KARPATHY,
        r"1 of 4 images would be lost, more than 20%: missing image: 02.jpg.*only a part of them is there",
    ),
    "boxes of most images": (_entities, "Sentences/01.txt", "images with phrases.*no file for this image"),
    "no gold label at all": (
        lambda root: [
            p.write_text(p.read_text().replace('"entailment"', '"-"')) for p in root.glob("ve_*.jsonl")
        ],
        "ve_train.jsonl", "4 of 4 pairs would be lost, nothing is left; 4 .*no gold label",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", STOPS)
def test_a_table_that_loses_most_of_its_records_stops(root: Path, tmp_path: Path, case: str) -> None:
    change, file, words = STOPS[case]
    change(root)
    with pytest.raises(InputError, match=f"(?s){words}") as caught:
        read_experiment(experiment(root, max_lost=0.2), tmp_path / "out")
    assert caught.value.file == str(root / file)
    assert not (tmp_path / "out").exists()


def test_what_is_sound_or_allowed_goes_on(root: Path, tmp_path: Path) -> None:
    assert read_experiment(experiment(root, max_lost=0), tmp_path / "out")["counts"]["captions"]["train"] == 4
    value = load(root / KARPATHY)
    value["images"][0]["sentences"][1]["raw"] = ""
    save(root / KARPATHY, value)
    without = {"phrase_boxes": None}
    read_experiment(experiment(root, max_lost=0.25, **without), tmp_path / "one of four in train, eight in all")
    with pytest.raises(InputError, match="1 of 4 captions of the split train would be lost, more than 20%"):
        read_experiment(experiment(root, max_lost=0.2, **without), tmp_path / "out2")
    # a trial's images are few, and the records of the others are no loss
    sentences(raw="A man .")(root)
    read_experiment(experiment(root, max_lost=0, limit=1, **without), tmp_path / "trial")


def test_images_of_the_web_may_be_gone_but_not_all(tmp_path: Path) -> None:
    base = corpora.write(tmp_path)
    config = corpora.experiment(base, "cc", max_lost=0.1)
    assert read_experiment(config, tmp_path / "out")["counts"]["images"] == {"train": 2, "val": 1, "test": 0}  # of 3
    (base / "cc" / "images" / file_name(corpora.CC[0] + "x")).unlink()
    with pytest.raises(InputError, match="1 of 1 images of the split val would be lost, nothing is left"):
        read_experiment(config, tmp_path / "again")


def test_images_that_a_captioner_gets_are_counted_too(root: Path) -> None:
    (root / "images" / "02.jpg").unlink()
    with pytest.raises(InputError, match="1 of 4 images would be lost"):
        read_images(experiment(root, max_lost=0.2), "toy")
    table, _ = read_images(experiment(root), "toy")
    assert len(table) == 3


def test_images_that_were_set_apart_are_not_missed(root: Path, tmp_path: Path) -> None:
    read_experiment(experiment(root, max_lost=0, split={"set_apart": 1}), tmp_path / "out")
    assert sum(1 for _ in rows(tmp_path / "out", "images", "val")) == 2
