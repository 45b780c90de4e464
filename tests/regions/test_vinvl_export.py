"""Import -> export -> import, and an Oscar-style reader between them."""

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
from vlp.regions.store import RegionStore, RegionWriter
from vlp.regions.vinvl_export import FILES, export_tsv, relative
from vlp.regions.vinvl_tsv import import_tsv

SIZES = [(500, 375), (333, 500), (640, 427), (17, 1999)]


def _records(split: str = "train") -> list[ImageRecord]:
    return [ImageRecord(f"flickr30k/{i}", Path(f"{i}.jpg"), *size, split) for i, size in enumerate(SIZES)]


def _tsv(folder: Path, dtype: str, seed: int = 0) -> Path:
    """Files as an extractor writes them: shares rounded to the dtype, objects for some rows, ground truth for some."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    with (folder / "features.tsv").open("w") as features, (folder / "predictions.tsv").open("w") as predictions:
        for i, (width, height) in enumerate(SIZES):
            corners = np.sort(rng.uniform(0.01, 1, (5, 2, 2)), axis=1).reshape(5, 4)
            corners[0] = [0, 0, 1, 1]
            corners[4] = corners[3]  # two rows of one box
            shares = np.concatenate([corners, corners[:, 2:] - corners[:, :2]], 1)
            rows = np.concatenate([rng.normal(size=(5, 9)), shares], 1).astype(dtype)
            features.write(f"{i}\t5\t{base64.b64encode(rows.tobytes()).decode()}\n")
            objects = []
            for row, name in ((3, "dog"), (1, "tree house"), (4, "rösti"), (0, "sky")):
                rect = (corners[row] * (width, height, width, height)).tolist()
                objects.append({"class": name, "rect": rect, "conf": float(rng.uniform(0.2, 1))})
            objects[0] |= {"attr": ["red", "big"], "attr_conf": [0.3, 0.6]}
            del objects[2]["conf"]
            objects.append({"class": "never there", "rect": [0, 0, 1, 1], "conf": 0.9})
            value: dict[str, Any] = {"image_w": width, "image_h": height, "objects": objects}
            if i % 2:
                value["gt_objects"] = [{"class": "cat"}, {"class": "dog"}, {"class": "cat"}]
            predictions.write(f"{i}\t{json.dumps(value)}\n")
    return folder


def _import(folder: Path, out: Path) -> RegionStore:
    import_tsv(folder, _records(), "flickr30k", out, Skipped("stop"), max_lost=0.3)
    return RegionStore(out)


@pytest.mark.parametrize("dtype", ["<f4", "<f2"])
def test_import_export_import_is_bit_equal(tmp_path: Path, dtype: str) -> None:
    for seed in range(5):
        here = tmp_path / str(seed)
        first = _import(_tsv(here / "a", dtype, seed), here / "first.h5")
        assert export_tsv(first, here / "b") == len(SIZES)
        second = _import(here / "b", here / "second.h5")
        assert (here / "first.h5").read_bytes() == (here / "second.h5").read_bytes()
        assert second.facts["source_dtype"] == {"<f4": "float32", "<f2": "float16"}[dtype]


def test_attributes_and_ground_truth_are_read(tmp_path: Path) -> None:
    store = _import(_tsv(tmp_path / "a", "<f4"), tmp_path / "r.h5")
    assert store.attribute_names == ["big"]
    found = store.regions("flickr30k/1")
    assert found.attributes is not None and found.attribute_scores is not None
    named = [store.class_names[c] for c in found.classes if c >= 0]
    at = named.index("dog")
    assert found.attributes.tolist()[at] == 0 and found.attribute_scores[at] == np.float32(0.6)
    assert np.isnan(found.attribute_scores).sum() == 4
    assert store.tags("flickr30k/1", "ground_truth") == ["cat", "dog"]
    assert store.truth("flickr30k/0") is None
    # an image without annotation keeps the detector's tags
    assert store.tags("flickr30k/0", "ground_truth") == store.tags("flickr30k/0") != []


def test_ground_truth_of_val_and_test_is_not_kept(tmp_path: Path) -> None:
    folder = _tsv(tmp_path / "a", "<f4")
    import_tsv(folder, _records("test"), "flickr30k", tmp_path / "r.h5", Skipped("stop"))
    assert not RegionStore(tmp_path / "r.h5").has_truth


def test_an_oscar_style_reader_reads_it_back(tmp_path: Path) -> None:
    store = _import(_tsv(tmp_path / "a", "<f4"), tmp_path / "r.h5")
    export_tsv(store, tmp_path / "b")
    assert sorted(p.name for p in (tmp_path / "b").iterdir()) == sorted(FILES)
    row_of = json.loads((tmp_path / "b" / "imageid2idx.json").read_text())
    for image_id in store.image_ids:
        name, read = image_id.split("/")[1], {}
        for kind in ("features", "predictions"):
            places = [int(v) for v in (tmp_path / "b" / f"{kind}.lineidx").read_text().split()]
            with (tmp_path / "b" / f"{kind}.tsv").open("rb") as file:
                file.seek(places[row_of[name]])
                read[kind] = file.readline().decode().strip().split("\t")
        cells = read["features"]
        assert cells[0] == read["predictions"][0] == name
        rows = np.frombuffer(base64.b64decode(cells[-1]), np.float32).reshape(int(cells[1]), -1)
        found = store.regions(image_id)
        np.testing.assert_array_equal(rows[:, :-6], found.features.astype(np.float32))
        np.testing.assert_allclose(rows[:, -6:], found.geometry, atol=1e-6)
        line = json.loads(read["predictions"][1])
        assert (line["image_w"], line["image_h"]) == store.image_size(image_id)
        assert list(dict.fromkeys(o["class"] for o in line["objects"])) == store.tags(image_id)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4), st.tuples(st.integers(1, 5000), st.integers(1, 5000))
)
def test_shares_give_the_imported_box_again(shares: list[float], size: tuple[int, int]) -> None:
    left, right = sorted(shares[:2])
    top, bottom = sorted(shares[2:])
    limits = np.array([*size, *size], np.float64)
    boxes = (np.array([[left, top, right, bottom]], np.float32).astype(np.float64) * limits).astype(np.float32)
    again = (relative(boxes, size)[:, :4].astype(np.float64) * limits).astype(np.float32)
    np.testing.assert_array_equal(again, boxes)


def test_several_data_sets_ask_which(tmp_path: Path) -> None:
    with RegionWriter(tmp_path / "r.h5", 1, ["a"], {}) as writer:
        for image_id in ("coco/1", "vg/1"):
            writer.add(image_id, (9, 9), [[1.0]], [[0, 0, 4, 4]], [0], [1.0])
    store = RegionStore(tmp_path / "r.h5")
    with pytest.raises(InputError, match=r"images of coco, vg\. Name one with --dataset"):
        export_tsv(store, tmp_path / "out")
    assert export_tsv(store, tmp_path / "out", "vg") == 1
    with pytest.raises(InputError, match="it has no image of flickr30k"):
        export_tsv(store, tmp_path / "none", "flickr30k")
    assert not (tmp_path / "none").exists()


def test_a_file_that_is_not_as_its_index_says_is_named(tmp_path: Path) -> None:
    store = _import(_tsv(tmp_path / "a", "<f4"), tmp_path / "r.h5")
    export_tsv(store, tmp_path / "b")
    numbers = (tmp_path / "b" / "imageid2idx.json").rename(tmp_path / "numbers")
    lines = (tmp_path / "b" / "features.tsv").read_bytes().splitlines(keepends=True)
    for changed, message in (
        (lines[:-1], r"features\.tsv, row 4: the file ends, features\.lineidx says \d+"),  # cut between two lines
        ([lines[0], b"\n", *lines[1:]], r"features\.tsv, row 3: the file has a line at byte \d+"),
    ):
        (tmp_path / "b" / "features.tsv").write_bytes(b"".join(changed))
        with pytest.raises(InputError, match=message):
            _import(tmp_path / "b", tmp_path / "x.h5")
        assert not (tmp_path / "x.h5").exists()
    (tmp_path / "b" / "features.tsv").write_bytes(b"".join(lines))
    numbers.rename(tmp_path / "b" / "imageid2idx.json").write_text('{"0": 1, "1": 0}')
    with pytest.raises(InputError, match=r"imageid2idx\.json, row 0: line 1 for the image"):
        _import(tmp_path / "b", tmp_path / "x.h5")


def test_another_annotated_size_is_listed_and_rects_find_their_rows(tmp_path: Path) -> None:
    folder = _tsv(tmp_path / "a", "<f4")
    lines = (folder / "predictions.tsv").read_text().splitlines()
    value = json.loads(lines[0].split("\t")[1])
    value["image_w"], value["image_h"] = value["image_h"], value["image_w"]  # turned by EXIF; rects are right
    lines[0] = f"0\t{json.dumps(value)}"
    (folder / "predictions.tsv").write_text("\n".join(lines) + "\n")
    quality = import_tsv(folder, _records(), "flickr30k", tmp_path / "r.h5", Skipped("stop"))
    assert quality["tsv"]["other_size"] == 1 and quality["tsv"]["objects_without_row"] == len(SIZES)
    assert quality["other_size"] == [{"image_id": "flickr30k/0", "annotated": [375, 500], "real": [500, 375]}]
    assert RegionStore(tmp_path / "r.h5").image_size("flickr30k/0") == (500, 375)


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    import tracemalloc

    peaks = []
    for images in (80, 160):  # the files are put together in blocks of 4 MiB
        path = tmp_path / f"{images}.h5"
        with RegionWriter(path, 512, ["a"], {}) as writer:
            for i in range(images):
                rows = np.full((60, 512), i, np.float16)
                writer.add(f"d/{i}", (9, 9), rows, np.tile([0, 0, 4, 4.0], (60, 1)), np.zeros(60), np.ones(60))
        store, folder = RegionStore(path), tmp_path / f"tsv{images}"
        records = [ImageRecord(f"d/{i}", Path("x"), 9, 9, "train") for i in range(images)]
        tracemalloc.start()
        export_tsv(store, folder)
        import_tsv(folder, records, "d", tmp_path / "again.h5", Skipped("stop"))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        again = RegionStore(tmp_path / "again.h5")
        for image_id in store.image_ids:
            np.testing.assert_array_equal(again.regions(image_id).features, store.regions(image_id).features)
    assert peaks[1] < peaks[0] + 80 * 60 * 512 * 2 / 4  # a quarter of what the other 80 images take
