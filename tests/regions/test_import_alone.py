"""`vlp regions import --tsv DIR --dataset NAME`: without an experiment and its tables."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from tests.regions.test_vinvl_export import SIZES, _tsv
from vlp.cli.regions import app
from vlp.errors import ConfigError, InputError
from vlp.regions.store import RegionStore


def _call(*arguments: str | Path | float) -> str:
    result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def _pictures(folder: Path, name: str = "{}.jpg", times: float = 1) -> Path:
    folder.mkdir()
    for i, (width, height) in enumerate(SIZES):
        Image.new("RGB", (round(width * times), round(height * times))).save(folder / name.format(i))
    return folder


def test_import_export_import_alone_is_bit_equal(tmp_path: Path) -> None:
    first, second = tmp_path / "first.h5", tmp_path / "second.h5"
    folder = _tsv(tmp_path / "a", "<f4")
    alone = ("--dataset", "coco", "--split", "train", "--out")
    text = _call("import", "--tsv", folder, *alone, first)
    assert f"{first}: 4 images, 20 regions; rows of 15 numbers, float32" in text and "objects_without_row: 4" in text
    assert RegionStore(first).image_ids == [f"coco/{i}" for i in range(4)]
    assert [RegionStore(first).image_size(f"coco/{i}") for i in range(4)] == SIZES
    assert RegionStore(first).truth("coco/1") == ["cat", "dog"]
    _call("export", first, "--out", tmp_path / "b")
    _call("import", "--tsv", tmp_path / "b", *alone, second)
    assert first.read_bytes() == second.read_bytes()


def test_ground_truth_is_kept_of_train_alone_and_told(tmp_path: Path) -> None:
    folder, out = _tsv(tmp_path / "a", "<f4"), tmp_path / "r.h5"
    for split in ((), ("--split", "val")):
        assert "truth_left_out: 2" in _call("import", "--tsv", folder, "--dataset", "coco", *split, "--out", out)
        assert not RegionStore(out).has_truth
    assert json.loads(out.with_suffix(".json").read_text())["tsv"]["truth_left_out"] == 2


@pytest.mark.parametrize("name", ["{}.jpg", "COCO_val2014_{:012d}.jpg"])
def test_sizes_are_those_of_the_image_files(tmp_path: Path, name: str) -> None:
    folder, out = _tsv(tmp_path / "a", "<f4"), tmp_path / "r.h5"
    images = _pictures(tmp_path / "images", name, times=2)
    (images / "not in the files.png").write_bytes((images / name.format(0)).read_bytes())
    text = _call("import", "--tsv", folder, "--dataset", "coco", "--images", images, "--out", out)
    assert "4 images" in text and "other_size: 4" in text
    store = RegionStore(out)
    assert [store.image_size(f"coco/{i}") for i in range(4)] == [(2 * w, 2 * h) for w, h in SIZES]
    assert store.regions("coco/0").boxes.max() == 1000  # the row that is the whole image


def test_a_bad_image_is_left_out_or_ends_it(tmp_path: Path) -> None:
    folder, out = _tsv(tmp_path / "a", "<f4"), tmp_path / "r.h5"
    images = _pictures(tmp_path / "images")
    (images / "2.jpg").write_bytes(b"no image")
    call = ("import", "--tsv", folder, "--dataset", "coco", "--images", images, "--out", out)
    with pytest.raises(InputError, match=r"1 of 4 images cannot be read: .*--max-lost"):
        _call(*call)
    text = _call(*call, "--max-lost", 0.3)
    assert "3 images" in text and "not_in_tables: 1" in text
    with pytest.raises(InputError, match=r"2\.jpg, row coco/2: the image cannot be read"):
        _call(*call, "--on-bad-image", "stop")


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    folder, out = _tsv(tmp_path / "a", "<f4"), tmp_path / "r.h5"
    call = ("import", "--tsv", folder, "--dataset", "coco", "--out", out)
    (tmp_path / "empty").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "empty" / "other.png")
    with pytest.raises(
        InputError, match=r"none of its images is in .*predictions\.tsv \(there: 'other'; here: '0', '1', '2'"
    ):
        _call(*call, "--images", tmp_path / "empty")
    images = _pictures(tmp_path / "images")
    Image.new("RGB", (4, 4)).save(images / "COCO_val2014_000000000003.png")
    with pytest.raises(InputError, match=r"row coco/3: 3\.jpg and COCO_\w+\.png are both image 3|COCO.* and 3\.jpg"):
        _call(*call, "--images", images)
    lines = (folder / "predictions.tsv").read_text().splitlines(keepends=True)
    lines[1] = lines[1].replace("image_w", "w")
    (folder / "predictions.tsv").write_text("".join(lines))
    with pytest.raises(InputError, match=r"predictions\.tsv, row 2: 1: the line does not say how large.*--images"):
        _call(*call)
    for wrong in (("--tsv", folder), ("--config", folder), ("--tsv", folder, "--dataset", "a", "--split", "dev")):
        with pytest.raises(ConfigError, match=r"--tsv|--split"):
            _call("import", *wrong, "--out", out)
    assert not out.exists()
