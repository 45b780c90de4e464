"""Import of VinVL/Oscar files."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vlp.errors import InputError
from vlp.images.decode import ImageRecord, Skipped
from vlp.regions.geometry import geometry
from vlp.regions.store import RegionStore
from vlp.regions.tsv_records import annotated
from vlp.regions.vinvl_tsv import import_sets, import_tsv

SIZE = (100, 50)
WIDTH = 7


def _record(number: int, split: str = "train") -> ImageRecord:
    return ImageRecord(f"flickr30k/{number}", Path(f"{number}.jpg"), *SIZE, split)


def _boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    """Boxes that do not overlap: one in each column of the image."""
    left = np.arange(count) * SIZE[0] / count
    top = rng.uniform(0, SIZE[1] / 2, count)
    return np.stack([left, top, left + SIZE[0] / count * 0.9, top + rng.uniform(5, 20, count)], 1)


def _line(number: int | str, features: np.ndarray, boxes: np.ndarray, dtype: str = "<f4") -> str:
    rows = np.concatenate([features, geometry(boxes, SIZE)], 1).astype(dtype)
    return f"{number}\t{len(rows)}\t{base64.b64encode(rows.tobytes()).decode()}\n"


def _prediction(number: int | str, objects: list[tuple[str, np.ndarray, float]], times: float = 1) -> str:
    listed = [{"class": name, "rect": [float(v * times) for v in box], "conf": conf} for name, box, conf in objects]
    value = {"image_h": SIZE[1] * times, "image_w": SIZE[0] * times, "objects": listed}
    return f"{number}\t{json.dumps(value)}\n"


def _write(folder: Path, features: str, predictions: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "features.tsv").write_text(features)
    (folder / "predictions.tsv").write_text(predictions)
    return folder


def _import(
    folder: Path, images: list[ImageRecord], mode: Any = "skip", max_lost: float = 1
) -> tuple[dict[str, Any], RegionStore]:
    quality = import_tsv(folder, images, "flickr30k", folder / "r.h5", Skipped(mode), max_lost)
    return quality, RegionStore(folder / "r.h5")


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    count=st.integers(2, 6),  # of one row both widths may make sense
    width=st.integers(1, 40),
    dtype=st.sampled_from(["<f4", "<f2"]),
    seed=st.integers(0, 999),
    zeros=st.booleans(),
)
def test_rows_of_any_size_and_both_widths(
    tmp_path: Path, count: int, width: int, dtype: str, seed: int, zeros: bool
) -> None:
    rng = np.random.default_rng(seed)
    features, boxes = rng.normal(size=(count, width)) * (not zeros), _boxes(rng, count)
    folder = _write(tmp_path / "tsv", _line(1, features, boxes, dtype), _prediction(1, []))
    quality, store = _import(folder, [_record(1)])
    assert quality["tsv"]["row"] == width + 6 and store.feature_size == width
    assert quality["tsv"]["dtype"] == {"<f4": "float32", "<f2": "float16"}[dtype]
    got = store.regions("flickr30k/1")
    np.testing.assert_array_equal(got.features, features.astype(dtype).astype(np.float16))  # rounded twice, as there
    np.testing.assert_allclose(got.boxes, boxes, atol={"<f4": 1e-3, "<f2": 0.1}[dtype])
    np.testing.assert_array_equal(got.classes, [-1] * count)
    assert np.isnan(got.scores).all()


def test_objects_find_their_rows_and_come_first(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    boxes, features = _boxes(rng, 5), np.arange(5.0)[:, None] * np.ones((1, WIDTH))
    objects = [("dog", boxes[3], 0.4), ("cat", boxes[1], 0.9), ("dog", np.array([0, 40, 99, 50]), 0.8)]
    # the predictions may speak of an image of another resolution
    folder = _write(tmp_path / "tsv", _line(1, features, boxes), _prediction(1, objects, times=2))
    quality, store = _import(folder, [_record(1)])
    got = store.regions("flickr30k/1")
    assert got.features[:, 0].tolist() == [1, 3, 0, 2, 4]
    assert got.classes.tolist() == [0, 1, -1, -1, -1] and store.class_names == ["cat", "dog"]
    np.testing.assert_allclose(got.scores, [0.9, 0.4, np.nan, np.nan, np.nan], rtol=1e-6)
    assert store.tags("flickr30k/1") == ["cat", "dog"]
    assert quality["tsv"]["objects"] == 3 and quality["tsv"]["objects_without_row"] == 1
    assert quality["splits"]["train"]["detections"] == 2 and quality["splits"]["train"]["recall"] is None


def test_two_objects_of_one_box_take_two_rows(tmp_path: Path) -> None:
    box = np.array([[10, 10, 40, 40]] * 2)
    objects = [("cat", box[0], 0.3), ("dog", box[0], 0.7)]
    folder = _write(tmp_path / "tsv", _line(1, np.array([[1.0], [2.0]]), box), _prediction(1, objects))
    _, store = _import(folder, [_record(1)])
    assert store.tags("flickr30k/1") == ["dog", "cat"]


def test_bare_list_of_objects_without_scores(tmp_path: Path) -> None:
    box = np.array([[10.0, 10, 40, 40]])
    predictions = "1\t" + json.dumps([{"class": "cat", "rect": box[0].tolist()}]) + "\n"
    _, store = _import(_write(tmp_path / "tsv", _line(1, np.ones((1, 3)), box), predictions), [_record(1)])
    assert store.tags("flickr30k/1") == ["cat"]


def test_missing_foreign_and_damaged_images_are_counted(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = [_line(i, rng.normal(size=(3, WIDTH)), _boxes(rng, 3)) for i in range(5)]
    lines[1] = lines[1][:-9] + "\n"  # cut short
    lines[2] = lines[2].replace("\t3\t", "\t4\t")
    folder = _write(tmp_path / "tsv", "".join(lines), "".join(_prediction(i, []) for i in (0, 1, 2)))
    quality, store = _import(folder, [_record(i) for i in (0, 1, 2, 3, 7)])
    assert store.image_ids == ["flickr30k/0", "flickr30k/3"]
    reasons = {row["image_id"]: row["reason"] for row in quality["skipped"]}
    assert list(reasons) == ["flickr30k/1", "flickr30k/2", "flickr30k/7"]
    assert reasons["flickr30k/1"].startswith("line 2: ") and "for 4 rows" in reasons["flickr30k/2"]
    assert reasons["flickr30k/7"] == "the image is not in the file"
    assert quality["tsv"]["not_in_tables"] == 1 and quality["tsv"]["without_predictions"] == 1
    with pytest.raises(InputError, match=r"features\.tsv, row flickr30k/1: line 2"):
        _import(folder, [_record(1)], mode="stop")


@pytest.mark.parametrize(
    ("features", "predictions", "message"),
    [
        (None, "", r"features\.tsv: the file is missing"),
        ("", None, r"predictions\.tsv: the file is missing"),
        ("", "", r"features\.tsv: no line has a row"),
        ("1\t0\t\n", "1\t{}\n", r"features\.tsv: no line has a row"),
        ("1 3 AAAA\n", "", r"features\.tsv, row 1: a line without a tab"),
        ("1\t1\tAAAA\n", "", r"row 1: column 2 says 1 rows, but the last column has no more than 3 bytes"),
        ("1\tx\tAAAA\n", "", r"row 1: the row count is damaged: column 2 is no number of rows: 'x'"),
    ],
)
def test_files_that_cannot_be_read_are_named(
    tmp_path: Path, features: str | None, predictions: str | None, message: str
) -> None:
    folder = _write(tmp_path / "tsv", features or "", predictions or "")
    for name, text in (("features.tsv", features), ("predictions.tsv", predictions)):
        if text is None:
            (folder / name).unlink()
    with pytest.raises(InputError, match=message):
        _import(folder, [_record(1)])


def test_rows_without_geometry_are_refused(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(3, 16)).astype("<f4")
    line = f"1\t3\t{base64.b64encode(rows.tobytes()).decode()}\n"
    with pytest.raises(InputError, match="neither float32 nor float16 rows that end in x1/W"):
        _import(_write(tmp_path / "tsv", line, ""), [_record(1)])


def test_id_twice_is_named(tmp_path: Path) -> None:
    line = _line(1, np.ones((1, 3)), np.array([[1.0, 1, 9, 9]]))
    folder = _write(tmp_path / "tsv", line + line, "")
    with pytest.raises(InputError, match=r"features\.tsv, row 2: the id flickr30k/1 comes twice"):
        _import(folder, [_record(1)])
    assert not (folder / "r.h5").exists()


def test_no_common_image_is_an_error(tmp_path: Path) -> None:
    folder = _write(tmp_path / "tsv", _line(1, np.ones((1, 3)), np.array([[1.0, 1, 9, 9]])), "")
    with pytest.raises(InputError, match=r"none of the images .*\(there: '1'; here: 'flickr30k/2'\)"):
        _import(folder, [_record(2)])


COCO = [ImageRecord(f"coco/{n:012d}", Path(), *SIZE, split) for n, split in ((1, "train"), (2, "train"), (3, "val"))]


def _named(folder: Path, names: list[str]) -> Path:
    """One region each: the i-th has the feature i."""
    box = np.array([[1.0, 1, 9, 9]])
    lines = [_line(name, np.full((1, 3), i), box) for i, name in enumerate(names, start=1)]
    return _write(folder, "".join(lines), "".join(_prediction(name, [("sky", box[0], 0.5)]) for name in names))


@pytest.mark.parametrize(
    "names",
    [
        ["1", "2", "3"],
        ["000000000001", "000000000002", "000000000003"],
        ["COCO_train2014_000000000001", "COCO_train2014_000000000002", "COCO_val2014_000000000003"],
        ["train2014/COCO_train2014_000000000001.jpg", "000000000002.jpg", "3.0"],
    ],
)
def test_published_coco_features_are_of_the_tables_images_however_named(tmp_path: Path, names: list[str]) -> None:
    folder, out = _named(tmp_path / "tsv", names), tmp_path / "r.h5"
    quality = import_tsv(folder, COCO, "coco", out, Skipped("stop"))
    store = RegionStore(out)
    assert store.image_ids == [record.image_id for record in COCO]
    assert [store.regions(i).features[0, 0] for i in store.image_ids] == [1, 2, 3]
    assert quality["tsv"]["not_in_tables"] == 0 and quality["tsv"]["without_predictions"] == 0
    assert {split: numbers["images"] for split, numbers in quality["splits"].items()} == {"train": 2, "val": 1}
    # and such a store, made outside, has the tables' images
    alone = import_sets(
        {"coco": folder}, annotated(folder, "coco", "train", Skipped("stop"), 0.0), out, Skipped("stop")
    )
    assert alone["skipped"] == []
    store = RegionStore(out)
    assert [store.regions(record.image_id).features[0, 0] for record in COCO] == [1, 2, 3]
    assert store.padded([record.image_id for record in COCO], 1).features[:, 0, 0].tolist() == [1, 2, 3]
    assert "coco/000000000004" not in store and "vg/1" not in store


def test_a_split_that_is_named_otherwise_is_no_success(tmp_path: Path) -> None:
    folder = _named(tmp_path / "tsv", ["first", "second", "third", "fourth", "3"])
    sides = r"\(there: 'first', 'second', 'third', \.\.\.; here: 'coco/000000000001', 'coco/000000000002'\)"
    with pytest.raises(InputError, match=rf"features\.tsv: it has none of the 2 train images of the tables {sides}"):
        import_tsv(folder, COCO, "coco", tmp_path / "r.h5", Skipped("skip"))
    assert not (tmp_path / "r.h5").exists()


def test_a_name_that_fits_two_images_is_refused(tmp_path: Path) -> None:
    images = [ImageRecord(f"coco/{name}", Path(), *SIZE, "train") for name in ("a/1", "b/1")]
    folder = _named(tmp_path / "tsv", ["1"])
    with pytest.raises(InputError, match=r"predictions\.tsv, row 1: '1' may be 'coco/a/1', 'coco/b/1'"):
        import_tsv(folder, images, "coco", tmp_path / "r.h5", Skipped("skip"))
    folder = _named(tmp_path / "tsv", ["b/1.jpg", "a/1.jpg"])
    import_tsv(folder, images, "coco", tmp_path / "r.h5", Skipped("stop"))
    store = RegionStore(tmp_path / "r.h5")
    assert [store.regions(i).features[0, 0] for i in ("coco/a/1", "coco/b/1")] == [2, 1]
    folder = _named(tmp_path / "tsv", ["1", "000000000001"])
    with pytest.raises(InputError, match=r"the id coco/000000000001 comes twice"):
        import_tsv(folder, COCO[:1], "coco", tmp_path / "r.h5", Skipped("skip"))


def test_boxes_over_the_edge_are_cut(tmp_path: Path) -> None:
    box = np.array([[-1.0, 0, 101, 50]])
    folder = _write(tmp_path / "tsv", _line(1, np.ones((1, 3)), box), _prediction(1, [("sky", box[0], 0.5)]))
    _, store = _import(folder, [_record(1)])
    assert store.regions("flickr30k/1").boxes.tolist() == [[0, 0, 100, 50]]
    assert store.tags("flickr30k/1") == ["sky"]


def test_several_data_sets_make_one_store(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    folders: dict[str, Path] = {}
    images, boxes = [], _boxes(rng, 2)
    for name, number, classes in (("coco", 1, ("dog", "cat")), ("sbu", 1, ("boat", "dog"))):
        objects = [(c, box, 0.9 - k / 10) for k, (c, box) in enumerate(zip(classes, boxes, strict=True))]
        line = _line(number, rng.normal(size=(2, WIDTH)), boxes)
        folders[name] = _write(tmp_path / name, line, _prediction(number, objects))
        images.append(ImageRecord(f"{name}/{number}", Path("x.jpg"), *SIZE, "train"))
    quality = import_sets(folders, images, tmp_path / "r.h5", Skipped("stop"))
    store = RegionStore(tmp_path / "r.h5")
    assert list(store.image_ids) == ["coco/1", "sbu/1"]
    assert [store.tags(i) for i in store.image_ids] == [["dog", "cat"], ["boat", "dog"]]
    assert quality["tsv"]["objects"] == 4
    other = _line(1, rng.normal(size=(2, WIDTH + 1)), boxes)
    _write(tmp_path / "sbu", other, _prediction(1, []))
    with pytest.raises(InputError, match=r"sbu/features\.tsv: rows have 14 numbers, those of .*coco.* have 13"):
        import_sets(folders, images, tmp_path / "r.h5", Skipped("stop"))
    _write(tmp_path / "sbu", _line(2, rng.normal(size=(2, WIDTH)), boxes), _prediction(2, []))
    with pytest.raises(
        InputError,
        match=r"sbu/features\.tsv: it has none .*\(there: '2'; here: 'sbu/1'\)",
    ):
        import_sets(folders, images, tmp_path / "r.h5", Skipped("skip"))
