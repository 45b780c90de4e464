"""What VinVL/Oscar files may not be: turned, of another form, without tags; one bad line is no end."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.regions.test_vinvl_tsv import SIZE, _boxes, _import, _line, _prediction, _record, _write
from vlp.config import build
from vlp.errors import InputError
from vlp.images.decode import Skipped
from vlp.regions.tsv_records import annotated

IMAGES = 6


def _files(folder: Path, names: tuple[str, ...] = ("dog", "cat", "tree"), **turn: Any) -> Path:
    """Six images of three regions, all with objects; `rect`, `rows`, `value` change what is written."""
    rng = np.random.default_rng(1)
    features, predictions = "", ""
    for i in range(IMAGES):
        boxes = _boxes(rng, 3)
        line = _line(i, rng.normal(size=(3, 7)), boxes)
        if "rows" in turn:
            cells = line.rstrip("\n").split("\t")
            rows = turn["rows"](np.frombuffer(base64.b64decode(cells[2]), "<f4").reshape(3, 13).copy())
            line = f"{cells[0]}\t3\t{base64.b64encode(rows.tobytes()).decode()}\n"
        features += line
        value = json.loads(_prediction(i, [(n, b, 0.9) for n, b in zip(names, boxes, strict=True)]).split("\t")[1])
        for item in value["objects"]:
            item["rect"] = turn.get("rect", list)(item["rect"])
        predictions += f"{i}\t{json.dumps(turn.get('value', dict)(value))}\n"
    return _write(folder, features, predictions)


def _exchange(value: dict[str, Any]) -> dict[str, Any]:
    return value | {"image_w": value["image_h"], "image_h": value["image_w"]}


TURNED: dict[str, tuple[dict[str, Any], str]] = {
    "xywh": ({"rect": lambda r: [r[0], r[1], r[2] - r[0], r[3] - r[1]]}, "rects are x, y, width, height: make them"),
    "yxyx": ({"rect": lambda r: [r[1], r[0], r[3], r[2]]}, "rects are y1, x1, y2, x2"),
    "shares": (
        {"rect": lambda r: [r[0] / SIZE[0], r[1] / SIZE[1], r[2] / SIZE[0], r[3] / SIZE[1]]},
        "shares of the sides: make them pixels",
    ),
    "geometry": (
        {"rows": lambda rows: rows[:, [*range(7), 8, 7, 10, 9, 12, 11]]},
        "geometry of features.tsv is y1/H, x1/W, y2/H, x2/W: make it x1/W",
    ),
    "another run": ({"rect": lambda r: [r[0] + 15, r[1], r[2] + 15, r[3]]}, "may be of different runs"),
}


@pytest.mark.parametrize("case", TURNED)
def test_turned_boxes_stop_with_the_cause(tmp_path: Path, case: str) -> None:
    turn, words = TURNED[case]
    folder = _files(tmp_path / "tsv", **turn)
    with pytest.raises(InputError, match=rf"predictions\.tsv, row flickr30k/0: \d+ of 18 objects have no row.*{words}"):
        _import(folder, [_record(i) for i in range(IMAGES)], max_lost=0.2)
    assert not (folder / "r.h5").exists()
    assert len(_import(folder, [_record(i) for i in range(IMAGES)])[1]) == IMAGES  # 1: anything goes


def test_exchanged_sides_stop_where_no_image_tells(tmp_path: Path) -> None:
    folder = _files(tmp_path / "tsv", value=_exchange)
    records = annotated(folder, "flickr30k", "", Skipped("skip"), 0.2)
    with pytest.raises(InputError, match=r"18 of 18 objects have no row.*image_w and image_h are exchanged"):
        _import(folder, records, max_lost=0.2)
    # the real sizes tell, and nothing is lost
    quality, store = _import(folder, [_record(i) for i in range(IMAGES)], max_lost=0)
    assert quality["tsv"]["objects_without_row"] == 0 and store.tags("flickr30k/0") == ["dog", "cat", "tree"]


def test_a_split_that_gets_no_image_stops(tmp_path: Path) -> None:
    folder = _files(tmp_path / "tsv")
    images = [*(_record(i) for i in range(IMAGES)), _record(9, "val")]
    with pytest.raises(InputError, match="1 of 1 images of the split val would be lost: the image is not in the file"):
        _import(folder, images, max_lost=0.2)
    images = [_record(i) for i in range(2 * IMAGES)]
    with pytest.raises(InputError, match=r"features\.tsv: 6 of 12 images would be lost"):
        _import(folder, images, max_lost=0.2)


def test_the_limit_is_the_experiments(tmp_path: Path) -> None:
    from tests.data.published import PRETRAINING, SOURCES

    data = {"name": "toy", "root": str(tmp_path), **SOURCES}
    value = {"name": "t", "results": str(tmp_path), "data": data, "pretraining": PRETRAINING}
    assert build({**value, "regions": {"source": "vinvl_tsv", "tsv": "x"}}, "test").data.max_lost == 0.2


def test_tags_have_one_form_and_what_is_no_word_is_none(tmp_path: Path) -> None:
    folder = _files(tmp_path / "tsv", names=("Man ", "", " traffic\u00a0 Light"))
    quality, store = _import(folder, [_record(i) for i in range(IMAGES)])
    assert store.class_names == ["man", "traffic light"]
    assert store.tags("flickr30k/0") == ["man", "traffic light"]
    assert quality["tsv"]["objects_without_name"] == IMAGES and quality["tsv"]["objects_without_row"] == 0
    for names in (("3", "17", "1.5"), (3, None, ["man"]), ("\u200b", " ", "\ud800")):
        folder = _files(tmp_path / "tsv", names=names)  # pyright: ignore[reportArgumentType]
        assert _import(folder, [_record(i) for i in range(IMAGES)])[1].class_names == []
        with pytest.raises(InputError, match=r"18 of 18 objects have no word for their class.*label map"):
            _import(folder, [_record(i) for i in range(IMAGES)], max_lost=0.2)


def test_attributes_and_ground_truth_have_that_form_too(tmp_path: Path) -> None:
    def value(old: dict[str, Any]) -> dict[str, Any]:
        for item in old["objects"]:
            item |= {"attr": ["Red ", "7"], "attr_conf": [0.9, 0.1]}
        return old | {"gt_objects": [{"class": "Cat "}, {"class": ""}, {"class": 3}]}

    _, store = _import(_files(tmp_path / "tsv", value=value), [_record(i) for i in range(IMAGES)], max_lost=0)
    assert store.attribute_names == ["red"] and store.truth("flickr30k/0") == ["cat"]


BAD_LINES = {
    "predictions.tsv": ("not json", '{"objects": 3}', '{"objects": [{"class": "a", "rect": [1, 2, 3, 1e999]}]}', "[1]",
                        '{"objects": [{"class": "a", "rect": [0, 0, 9, 9], "conf": NaN}]}',
                        '{"image_w": 1' + "0" * 5000 + ', "image_h": 5, "objects": []}', "[" * 100_000),
    "features.tsv": ("3", "x\tAAAA", "3\t!!!!", "3\tAAAA", "-3\t", "9" * 5000 + "\tAAAA"),
}  # fmt: skip


@pytest.mark.parametrize(("file", "text"), [(file, text) for file, texts in BAD_LINES.items() for text in texts])
@pytest.mark.parametrize("bad", [0, 3])
def test_one_bad_line_ends_nothing(tmp_path: Path, file: str, text: str, bad: int) -> None:
    folder = _files(tmp_path / "tsv")
    sound = _import(folder, [_record(i) for i in range(IMAGES)])[1]
    wanted = {i: sound.regions(i).features for i in sound.image_ids}
    lines = (folder / file).read_text().splitlines(keepends=True)
    lines[bad] = f"{bad}\t{text}\n"
    (folder / file).write_text("".join(lines))
    quality, store = _import(folder, [_record(i) for i in range(IMAGES)], max_lost=0.2)
    assert store.image_ids == [i for i in sound.image_ids if i != f"flickr30k/{bad}"]
    assert [(s["image_id"], Path(s["file"]).name) for s in quality["skipped"]] == [(f"flickr30k/{bad}", file)]
    assert (
        quality["skipped"][0]["reason"].startswith(f"line {bad + 1}: ") and len(quality["skipped"][0]["reason"]) < 300
    )
    for image_id in store.image_ids:
        np.testing.assert_array_equal(store.regions(image_id).features, wanted[image_id])
    with pytest.raises(InputError, match=rf"{file}, row flickr30k/{bad}: line {bad + 1}"):
        _import(folder, [_record(i) for i in range(IMAGES)], mode="stop")


def _b64(*shape: int) -> str:
    return base64.b64encode(np.ones(shape, "<f4").tobytes()).decode()


FORMS = {
    "bottom-up": (f"1\t640\t480\t2\t{_b64(2, 4)}\t{_b64(2, 2048)}\n", "bottom-up-attention's TSV .image_id, image_w"),
    "LXMERT": (
        f"1\t480\t640\t{_b64(2)}\t{_b64(2)}\t{_b64(2)}\t{_b64(2)}\t2\t{_b64(2, 4)}\t{_b64(2, 2048)}\n", "LXMERT's TSV",
    ),
    "Oscar for captioning": (
        "1\t" + json.dumps({"num_boxes": 2, "features": _b64(2, 2054)}) + "\n", "Oscar's TSV for captioning",
    ),
    "VinVL's detector": ("1\t" + json.dumps({"objects": [{"feature": _b64(9)}]}) + "\n", "what VinVL's detector"),
    "the other file": ("1\t" + json.dumps({"objects": []}) + "\n", "predictions.tsv .id, JSON.*Exchange the names"),
    "torch": ("\x80\x02}q\x00\n", "a file of torch, numpy"),
    "no geometry": (f"1\t2\t{_b64(2, 2048)}\n", "rows of 2,048 numbers of float32, 4,096 numbers of float16"),
    "a width for a count": (f"1\t200\t{_b64(24)}\n", "column 2 says 200 rows, but the last column has no more than 9"),
    "base64 for a count": (f"1\t{_b64(2, 99)}\n", r"column 2 is no number of rows: 'AACAPwAAgD8AAIA/AACA'\.\.\. of"),
}  # fmt: skip


@pytest.mark.parametrize("case", FORMS)
def test_forms_of_the_field_are_known_by_name(tmp_path: Path, case: str) -> None:
    text, words = FORMS[case]
    folder = _write(tmp_path / "tsv", "", "")
    (folder / "features.tsv").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=rf"features\.tsv, row 1: .*{words}") as caught:
        _import(folder, [_record(1)])
    assert len(str(caught.value)) < 500 + len(str(folder))


@pytest.mark.parametrize(
    ("name", "words"), [("data.mdb", "UNITER's LMDB"), ("a.npz", "UNITER's or bottom-up"), ("train.pt", "Oscar's .pt")]
)
def test_folders_of_the_field_are_known_by_name(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    (tmp_path / "predictions.tsv").write_text("")
    with pytest.raises(InputError, match=rf"features\.tsv: the file is missing; the folder looks like {words}"):
        _import(tmp_path, [_record(1)])


def test_damaged_json_is_called_so(tmp_path: Path) -> None:
    folder = _write(tmp_path / "tsv", "", "1\t{broken\n")
    with pytest.raises(InputError, match=r"predictions\.tsv, row 1: 1: the text after the tab is not JSON"):
        annotated(folder, "flickr30k", "", Skipped("skip"), 0.2)
    lines = [*(_prediction(i, []) for i in range(5)), "5\t{broken\n"]
    skipped = Skipped("skip")
    made = annotated(_write(folder, "", "".join(lines)), "flickr30k", "", skipped, 0.2)
    assert len(made) == 5 and skipped.images[0]["reason"].startswith("line 6: the text after the tab is not JSON")
