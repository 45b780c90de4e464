"""One rule for the name of an image in every file that the tables are read from."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.data import published
from tests.data.published import experiment, load, save
from vlp.data.readers import read_experiment
from vlp.data.readers.common import BadRecord, LeftOut
from vlp.data.readers.image_files import Folders
from vlp.data.readers.images import Image as Kept
from vlp.data.readers.images import Images
from vlp.data.tables import SCHEMAS, rows

FORMS: dict[str, Any] = {
    "number": int,
    "text": str,
    "padded": lambda n: f"{n:012d}",
    "float": float,
    "float as text": lambda n: f"{n}.0",
    "file of 2014": lambda n: f"COCO_train2014_{n:012d}.jpg",
    "stem of 2014": lambda n: f"COCO_val2014_{n:012d}",
}
ALONE = dict.fromkeys(("questions", "entailment", "phrase_boxes", "objects", "referring"))
TABLES = ("captions", "questions", "objects", "referring")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return published.write(tmp_path / "raw")


def read(root: Path, **data: Any) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
    out = root.parent / "tables"
    summary = read_experiment(experiment(root, **data), out)
    return summary, {name: list(rows(out, name)) for name in SCHEMAS}


def _renamed(value: Any, form: Any) -> Any:
    """Every image number of a file, written otherwise."""
    if isinstance(value, dict):
        return {k: form(v) if k == "image_id" else _renamed(v, form) for k, v in value.items()}
    return [_renamed(v, form) for v in value] if isinstance(value, list) else value


@pytest.mark.parametrize("form", list(FORMS))
def test_annotations_of_any_writing_meet_their_images(root: Path, form: str) -> None:
    data = {"captions": published.COCO_CAPTIONS, "entailment": None, "phrase_boxes": None}
    wanted_summary, wanted = read(root, **data)
    for path in [*root.glob("captions_*.json"), *root.glob("q_*.json"), *root.glob("instances_*.json")]:
        save(path, _renamed(load(path), FORMS[form]))
    save(root / "refs.json", _renamed(load(root / "refs.json"), FORMS[form]))
    summary, tables = read(root, **data)
    assert tables == wanted and all(tables[name] for name in TABLES)
    assert summary["skipped"] == wanted_summary["skipped"]


def test_a_name_that_is_a_number_finds_cocos_file(root: Path) -> None:
    """`captions_jsonl` calls the images 1, 2, ...; the files have COCO's names."""
    for number in range(1, 5):
        (root / "images" / f"{number:02d}.jpg").rename(root / "images" / f"COCO_val2014_{number:012d}.jpg")
    names = ["1", "2.0", "000000000003", "COCO_train2014_000000000004.jpg"]
    (root / "c.jsonl").write_text("".join(f'{{"image_id": "{n}", "caption": "a dog"}}\n' for n in names))
    source = {"format": "captions_jsonl", "files": {"captions": "c.jsonl"}}
    summary, tables = read(root, captions=source, **ALONE)
    assert [row["image_id"] for row in tables["images"]] == [f"toy/{n:012d}" for n in range(1, 5)]
    assert len(tables["captions"]) == 4 and not summary["skipped"]


def _in_folders(root: Path) -> None:
    """Two images of one name in two folders, of which one is missing."""
    value = load(root / "karpathy.json")
    for record, folder in zip(value["images"][:2], ("a", "b"), strict=True):
        record |= {"filename": "x.jpg", "filepath": folder}
        (root / "images" / folder).mkdir()
    Image.new("RGB", (60, 40), "red").save(root / "images" / "a" / "x.jpg")
    Image.new("RGB", (30, 40), "blue").save(root / "images" / "b" / "x.jpg")
    save(root / "karpathy.json", value)


def test_two_files_of_one_name_in_two_folders_are_two_images(root: Path) -> None:
    _in_folders(root)
    summary, tables = read(root, **ALONE)
    sizes = {row["image_id"]: (row["path"], row["width"]) for row in tables["images"]}
    assert sizes["toy/a/x"] == ("images/a/x.jpg", 60) and sizes["toy/b/x"] == ("images/b/x.jpg", 30)
    assert sorted(sizes) == ["toy/03", "toy/04", "toy/a/x", "toy/b/x"] and not summary["skipped"]
    (root / "images" / "a" / "x.jpg").unlink()
    summary, tables = read(root, **ALONE, max_lost=1.0)
    assert [row["image_id"] for row in tables["images"] if row["split"] == "train"] == ["toy/b/x"]
    assert [entry["reason"] for entry in summary["skipped"] if entry["table"] == "images"] == [
        "missing image: x.jpg is not in images"
    ]


def test_a_missing_entry_does_not_shadow_a_present_one(root: Path) -> None:
    """The image is named twice, and only the second name leads to the file."""
    value = load(root / "karpathy.json")
    (root / "images" / "sub").mkdir()
    shutil.move(root / "images" / "01.jpg", root / "images" / "sub" / "01.jpg")
    value["images"].append({**value["images"][0], "filepath": "sub", "sentences": [{"raw": "a boat"}]})
    save(root / "karpathy.json", value)
    _, tables = read(root, **ALONE, max_lost=1.0)
    assert "images/sub/01.jpg" in [row["path"] for row in tables["images"]]
    assert "a boat" in [row["text"] for row in tables["captions"]]


def test_a_file_that_two_folders_have_is_refused_unless_it_is_the_same(root: Path) -> None:
    shutil.copytree(root / "images", root / "more")
    _, tables = read(root, images=["images", "more"], **ALONE)
    assert {Path(row["path"]).parent.name for row in tables["images"]} == {"images"}
    Image.new("RGB", (60, 40), "blue").save(root / "more" / "01.jpg")
    summary, tables = read(root, images=["images", "more"], **ALONE, max_lost=1.0)
    (found,) = (entry["reason"] for entry in summary["skipped"] if entry["table"] == "images")
    assert found.startswith("ambiguous image: ") and "images/01.jpg and " in found and "more/01.jpg" in found
    assert len(tables["images"]) == 3


def _images(ids: list[str], lost: list[str], numbers: dict[int, str | None] | None = None) -> Images:
    kept = {i: Kept(i, f"{i}.jpg", 60, 40, "train", (), Path("x"), 0) for i in ids}
    return Images(kept, dict.fromkeys(lost, "beyond"), numbers or {})


def test_what_annotations_call_an_image_is_found_or_ambiguous() -> None:
    images = _images(["set/a/1", "set/b/1", "set/000000000007", "set/2"], ["set/c/1", "set/02"])
    for name, image_id in {
        "a/1.jpg": "set/a/1",
        "raw/b/1.png": "set/b/1",
        "7": "set/000000000007",
        7: "set/000000000007",
        "COCO_train2014_000000000007": "set/000000000007",
        "2": "set/2",
        2: "set/2",
        "2.jpg": "set/2",
    }.items():
        assert images.find(name, "set").image_id == image_id, name
    for name in ("1", "1.jpg", 1, "0001"):
        with pytest.raises(BadRecord, match=r"may be 'set/a/1', 'set/b/1', 'set/c/1'") as error:
            images.find(name, "set")
        assert error.value.reason == "ambiguous image"
    with pytest.raises(LeftOut):
        images.find("02.jpg", "set")
    for name in ("d/1.jpg", "8", "a.b"):
        with pytest.raises(BadRecord, match="unknown image"):
            images.find(name, "set")
    assert _images(["set/x"], [], {5: "set/x"}).find("5", "set").image_id == "set/x"


def test_images_of_archives_are_found_by_number_too(tmp_path: Path) -> None:
    import tarfile

    Image.new("RGB", (8, 8)).save(tmp_path / "COCO_val2014_000000000042.jpg")
    for name in ("one.tar", "two.tar"):
        with tarfile.open(tmp_path / name, "w") as tar:
            tar.add(tmp_path / "COCO_val2014_000000000042.jpg", "COCO_val2014_000000000042.jpg")
            (tmp_path / "x.jpg").write_bytes(name.encode())
            tar.add(tmp_path / "x.jpg", "x.jpg")
    folders = Folders(tmp_path, ["one.tar", "two.tar"])
    assert folders.find(["42.jpg"]) == tmp_path / "one.tar" / "COCO_val2014_000000000042.jpg"
    assert folders.find(["43.jpg"]) is None
    with pytest.raises(BadRecord, match=r"ambiguous image.*one\.tar/x\.jpg and .*two\.tar/x\.jpg are two images"):
        folders.find(["x.jpg"])


@pytest.mark.parametrize("name", ["../secret.jpg", "a/../../secret.jpg", "/etc/secret.jpg"])
def test_a_path_leads_into_the_image_folders_or_nowhere(tmp_path: Path, name: str) -> None:
    """An annotation file from elsewhere shows no picture of this machine."""
    (tmp_path / "images").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "secret.jpg")
    with pytest.raises(BadRecord, match="path out of the image folders"):
        Folders(tmp_path, ["images"]).find([name])


def test_a_record_whose_path_leads_out_is_a_bad_one(root: Path) -> None:
    value = load(root / "karpathy.json")
    assert value
    first = value["images"][0]
    (root / "secret.jpg").write_bytes((root / "images" / first["filename"]).read_bytes())
    first["filename"] = "../secret.jpg"
    save(root / "karpathy.json", value)
    summary, tables = read(root, **ALONE)
    assert "path out of the image folders" in {entry["reason"] for entry in summary["skipped_counts"]}
    assert not any("secret" in row["path"] for row in tables["images"])
