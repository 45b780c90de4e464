"""Two stores beside each other, on constructed regions."""

from __future__ import annotations

import base64
import json
import math
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from vlp.cli.regions import app
from vlp.errors import InputError
from vlp.regions.compare import Row, compare, cosine, distance, match_greedily, open_reference, write_csv
from vlp.regions.geometry import geometry
from vlp.regions.store import RegionStore, RegionWriter

SIZE = (100, 60)
NAMES = ("dog", "cat", "sky")
Image = tuple[list[list[float]], list[list[float]], list[int], list[float]]  # boxes, features, classes, scores

LEFT, MIDDLE, RIGHT = [0.0, 0.0, 20.0, 20.0], [40.0, 0.0, 60.0, 20.0], [70.0, 30.0, 90.0, 50.0]


def make(path: Path, images: dict[str, Image], names: tuple[str, ...] = NAMES) -> RegionStore:
    with RegionWriter(path, 2, names, {"detector": "none"}) as writer:
        for image_id, (boxes, features, classes, scores) in images.items():
            writer.add(image_id, SIZE, features, boxes, classes, scores)
    return RegionStore(path)


def values(rows: list[Row]) -> dict[str, tuple[float, int]]:
    return {row.metric: (row.value, row.n) for row in rows}


def test_the_largest_overlap_is_taken_first_and_each_box_once() -> None:
    a = [[0.0, 0, 10, 10], [2.0, 0, 12, 10], [50.0, 0, 60, 10]]
    b = [[2.0, 0, 12, 10], [80.0, 0, 90, 10], [1.0, 0, 11, 10]]
    # a0 and b2 overlap by 9 / 11; a1 is b0; a0 and b0 by 8 / 12
    assert match_greedily(a, b) == [(1, 0, 1.0), (0, 2, pytest.approx(9 / 11))]
    assert match_greedily(a[:1], b[:1], 0.5) == [(0, 0, pytest.approx(8 / 12))]
    assert match_greedily(a[:1], b[:1], 0.7) == []
    assert match_greedily(np.zeros((0, 4)), b) == match_greedily(a, np.zeros((0, 4))) == []


def test_cosine_and_distance_by_hand() -> None:
    a, b = [[1.0, 0], [2.0, 0], [0.0, 0], [1.0, 1]], [[0.0, 1], [1.0, 0], [1.0, 0], [1.0, 0]]
    assert cosine(a, b) == pytest.approx([0, 1, math.nan, math.sqrt(0.5)], nan_ok=True)
    assert distance(a, b) == pytest.approx([math.sqrt(2), 1, 1, 1])


def test_a_store_is_its_own_twin(tmp_path: Path) -> None:
    images: dict[str, Image] = {"d/1": ([LEFT, RIGHT], [[1, 2], [3, 4]], [0, 1], [0.9, 0.5])}
    store = make(tmp_path / "a.h5", images)
    found = values(compare(store, store).rows)
    assert {key: value for key, (value, _) in found.items()} == pytest.approx(
        {
            "images": 1,
            "images_missing": 0,
            "regions": 2,
            "regions_reference": 2,
            "found": 1,
            "extra": 0,
            "iou": 1,
            "cosine": 1,
            "cosine_low": 1,
            "distance": 0,
            "class_agreement": 1,
            "tags_jaccard": 1,
            "tag_first_agreement": 1,
        },
        abs=1e-6,
    )


def test_differences_by_hand(tmp_path: Path) -> None:
    moved = [2.0, 0.0, 22.0, 20.0]  # IoU with LEFT: 18 / 22
    ours: dict[str, Image] = {
        "d/1": ([LEFT, MIDDLE, RIGHT], [[1, 0], [1, 0], [2, 0]], [0, 1, -1], [0.9, 0.8, 0.7]),
        "d/2": ([LEFT], [[1, 1]], [2], [0.9]),
        "d/3": ([LEFT], [[1, 1]], [2], [0.9]),
    }
    theirs: dict[str, Image] = {
        # another order of the names: only names may be compared
        "d/1": ([moved, RIGHT], [[0, 1], [1, 0]], [1, 0], [0.9, 0.8]),
        "d/2": ([MIDDLE, RIGHT], [[1, 1], [1, 1]], [0, 0], [0.9, 0.8]),
        "d/9": ([LEFT], [[1, 1]], [0], [0.9]),
    }
    store, reference = make(tmp_path / "a.h5", ours), make(tmp_path / "b.h5", theirs, ("sky", "dog"))
    made = compare(store, reference)
    found = values(made.rows)
    assert found["images"] == (2, 3) and found["images_missing"] == (1, 3)
    assert found["regions"] == (2, 2) and found["regions_reference"] == (2, 2)
    assert found["found"] == (0.5, 4) and found["extra"] == (0.5, 4)
    assert found["iou"] == (pytest.approx((18 / 22 + 1) / 2), 2)
    assert found["cosine"] == (0.5, 2)  # 0 and 1
    assert found["cosine_low"] == (pytest.approx(0.05), 2)
    assert found["distance"] == (pytest.approx((math.sqrt(2) + 1) / 2), 2)
    assert found["class_agreement"] == (1, 1)  # dog and dog; the other pair has no class of ours
    # {dog, cat} and {dog, sky}: 1 of 3; {sky} and {sky}: 1
    assert found["tags_jaccard"] == (pytest.approx((1 / 3 + 1) / 2), 2)
    assert found["tag_first_agreement"] == (1, 2)
    assert made.farthest == [("d/2", 0.0), ("d/1", 1.0)]
    first = values(compare(store, reference, limit=1).rows)
    assert first["regions"] == (1, 2) and first["found"] == (0.5, 2)


def test_nothing_matched_is_nan_not_zero(tmp_path: Path) -> None:
    store = make(tmp_path / "a.h5", {"d/1": ([LEFT], [[1, 0]], [-1], [0.9])})
    reference = make(tmp_path / "b.h5", {"d/1": ([RIGHT], [[1, 0]], [-1], [0.9])})
    found = values(compare(store, reference).rows)
    assert found["found"] == (0, 1) and found["extra"] == (1, 1)
    for key in ("iou", "cosine", "cosine_low", "distance", "class_agreement", "tags_jaccard", "tag_first_agreement"):
        assert math.isnan(found[key][0]) and found[key][1] == 0
    write_csv(tmp_path / "c.csv", compare(store, reference).rows)
    lines = (tmp_path / "c.csv").read_text().splitlines()
    assert lines[0] == "metric,value,n" and "found,0.000000,1" in lines and "cosine,,0" in lines


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    store = make(tmp_path / "a.h5", {"d/1": ([LEFT], [[1, 0]], [0], [0.9])})
    with pytest.raises(InputError, match="none of the 1 images"):
        compare(store, make(tmp_path / "b.h5", {"e/1": ([LEFT], [[1, 0]], [0], [0.9])}))
    with RegionWriter(tmp_path / "c.h5", 3, NAMES, {"detector": "none"}) as writer:
        writer.add("d/1", SIZE, [[1, 2, 3]], [LEFT], [0], [0.9])
    with pytest.raises(InputError, match=r"c\.h5: its features have 3 numbers"):
        compare(store, RegionStore(tmp_path / "c.h5"))
    with RegionWriter(tmp_path / "e.h5", 2, NAMES, {"detector": "none"}) as writer:
        writer.add("d/1", (50, 30), [[1, 2]], [LEFT], [0], [0.9])
    with pytest.raises(InputError, match=r"e\.h5, row d/1: the image has 50 x 30 pixels"):
        compare(store, RegionStore(tmp_path / "e.h5"))


def tsv(folder: Path, lines: dict[str, tuple[list[list[float]], list[list[float]], list[str]]]) -> Path:
    folder.mkdir()
    features, predictions = [], []
    for number, (boxes, rows, names) in lines.items():
        raw = np.concatenate([np.array(rows), geometry(boxes, SIZE)], axis=1).astype("<f4").tobytes()
        features.append(f"{number}\t{len(boxes)}\t{base64.b64encode(raw).decode()}\n")
        objects = [
            {"class": n, "rect": b, "conf": 0.9 - i / 10} for i, (n, b) in enumerate(zip(names, boxes, strict=True))
        ]
        value = {"image_h": SIZE[1], "image_w": SIZE[0], "objects": objects}
        predictions.append(f"{number}\t{json.dumps(value)}\n")
    (folder / "features.tsv").write_text("".join(features))
    (folder / "predictions.tsv").write_text("".join(predictions))
    return folder / "features.tsv"


def test_old_tsv_files_are_a_reference(tmp_path: Path) -> None:
    images: dict[str, Image] = {
        "d/1": ([LEFT, RIGHT], [[1, 2], [3, 4]], [0, 1], [0.9, 0.5]),
        "d/2": ([LEFT], [[1, 1]], [2], [0.9]),
    }
    store = make(tmp_path / "a.h5", images)
    old = tsv(
        tmp_path / "old", {"1": ([LEFT, RIGHT], [[2, 4], [3, 4]], ["dog", "sky"]), "7": ([LEFT], [[1, 1]], ["dog"])}
    )
    for path in (old, old.parent):
        with open_reference(path, store) as (reference, skipped):
            found = values(compare(store, reference).rows)
            kept = reference.path
        assert found["images"] == (1, 2) and found["iou"] == (pytest.approx(1, abs=1e-5), 2)
        assert found["cosine"] == (pytest.approx(1), 2) and found["distance"] == (pytest.approx(0.25), 2)
        assert found["class_agreement"] == (0.5, 2)
        assert [row["image_id"] for row in skipped] == ["d/2"] and not kept.exists()
    other = old.rename(old.with_name("old.tsv"))
    with open_reference(other, store) as (reference, _):
        assert values(compare(store, reference).rows)["images"] == (1, 2)
    with pytest.raises(InputError, match=r"features\.tsv: the file is missing"), open_reference(old, store):
        pass
    (other.parent / "predictions.tsv").unlink()
    with pytest.raises(InputError, match=r"predictions\.tsv: the file is missing"), open_reference(other, store):
        pass


def test_the_command_prints_and_writes_the_rows(tmp_path: Path) -> None:
    store = make(tmp_path / "a.h5", {"d/1": ([LEFT, RIGHT], [[1, 2], [3, 4]], [0, 1], [0.9, 0.5])})
    reference = make(tmp_path / "b.h5", {"d/1": ([LEFT], [[1, 2]], [0], [0.9])})
    out = tmp_path / "c.csv"
    arguments = ["compare", str(store.path), "--reference", str(reference.path), "--out", str(out)]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    shown = {line.split()[0]: line.split()[1:] for line in result.output.splitlines() if line}
    assert shown["cosine"][:2] == ["1.0000", "1"] and shown["extra"][:2] == ["0.5000", "2"]
    assert "extra,0.500000,2" in out.read_text()
