"""The extraction: batches, shards, a kill in the middle, bad images, merging."""

from __future__ import annotations

import json
import math
import re
import signal
import subprocess
import sys
import tarfile
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.regions.fake_detector import SIZE, Fake
from vlp.errors import ConfigError, InputError
from vlp.images.decode import ImageRecord, Skipped
from vlp.images.folder import in_folder, measured
from vlp.parts import parse_shard, shard
from vlp.progress import shown
from vlp.regions import extract as extraction
from vlp.regions import plan, shards
from vlp.regions.annotate import annotate
from vlp.regions.detectors.base import without_attributes
from vlp.regions.extract import Extraction, extract, store_facts
from vlp.regions.finished import Finished, path_for
from vlp.regions.store import RegionStore

SHAPES = ((24, 16), (16, 24), (20, 20))


def _images(folder: Path, count: int) -> Path:
    """Grey pictures, each of its own brightness, of three shapes in turn."""
    folder.mkdir(parents=True)
    for i in range(count):
        Image.new("RGB", SHAPES[i % 3], (5 * i, 5 * i, 5 * i)).save(folder / f"{i:03d}.png")
    return folder


def _records(folder: Path) -> list[ImageRecord]:
    return measured(in_folder(folder, "grey"), Skipped("stop"))


def _run(detector: Fake, images: list[ImageRecord], out: Path, mode: Any = "skip", **dials: Any) -> Extraction:
    return extract(detector, images, out, Skipped(mode), store_facts(detector), threads=1, **{"batch_size": 4} | dials)


def _calls(path: Path) -> list[list[str]]:
    return [line.split() for line in path.read_text().splitlines()]


@given(
    st.lists(st.tuples(st.integers(1, 2000), st.integers(1, 2000)), max_size=60),
    st.integers(1, 9),
    st.integers(1, 7),
)
def test_every_image_is_in_one_shard_and_in_one_batch_of_it(
    sizes: list[tuple[int, int]], batch: int, count: int
) -> None:
    images = [ImageRecord(str(i), Path(), w, h, "") for i, (w, h) in enumerate(sizes)]
    parts = [list(shard(images, i, count)) for i in range(1, count + 1)]
    assert [image for part in parts for image in part] == images
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    for part in parts:
        made = plan.batches(part, batch)
        assert sorted(i.image_id for group in made for i in group) == sorted(i.image_id for i in part)
        assert all(1 <= len(group) <= batch for group in made)
        ratios = [[i.width / i.height for i in group] for group in made]
        assert all(max(group) <= plan.SPREAD * min(group) * (1 + 1e-9) for group in ratios)
        bands = {round(4 * math.log2(i.width / i.height)) for i in part}
        assert len(made) <= len(part) // batch + 2 * len(bands)


def test_a_full_batch_has_one_aspect_ratio() -> None:
    # 4 : 3 and 3 : 2 are near, and a detector that resizes them would pad the one to the other
    shapes = (*SHAPES, (640, 480), (640, 427), (500, 375))
    images = [ImageRecord(str(i), Path(), *shapes[i % 6], "") for i in range(36)]
    made = plan.batches(images, 4)
    assert [len(group) for group in made] == [*[4] * 7, 2, 2, 4]
    assert all(len({Fraction(i.width, i.height) for i in group}) == 1 for group in made[:-1])
    assert {(i.width, i.height) for i in made[-1]} == {(640, 427), (24, 16)}  # left over, and nearly of one ratio
    images = [ImageRecord(str(i), Path(), *SHAPES[i % 3], "") for i in range(36)]
    made = plan.batches(images, 4)
    assert len(made) == 9
    assert all(len({(i.width, i.height) for i in group}) == 1 for group in made)
    one_shape = [ImageRecord(str(i), Path(), 64, 48, "") for i in range(10)]
    assert [[i.image_id for i in group] for group in plan.batches(one_shape, 4)] == [
        *(list("0123"), list("4567"), list("89"))
    ]


def test_regions_depend_on_no_other_source_of_the_package() -> None:
    root = Path(extraction.__file__).parents[1]
    files = [p for name in extraction.CODE for p in ([root / name] if name.endswith(".py") else root.glob(f"{name}/*"))]
    files = [path for path in files if path.suffix == ".py"]
    own = {".".join(path.relative_to(root).with_suffix("").parts) for path in files}
    assert {"images.decode", "regions.detectors.vinvl", "regions.detectors.selection", "regions.plan"} < own
    for path in files:
        if path.name != "extract.py":  # keeps and writes them too
            pattern = r"^ *(?:from|import) vlp\.((?:images|regions)\.[a-z0-9_.]+)"
            named = re.findall(pattern, path.read_text(), re.MULTILINE)
            assert {name for name in named if name != "regions.detectors"} <= own, path.name


def test_a_slow_speed_is_told_in_two_digits() -> None:
    assert [shown(rate) for rate in (0, 0.01234, 0.5, 1, 12.34, 1234.5)] == [
        "0.0",
        "0.012",
        "0.5",
        "1.0",
        "12.3",
        "1234.5",
    ]


@pytest.mark.parametrize("text", ["0/2", "3/2", "1-2", "a/b", "1/0"])
def test_a_wrong_shard_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="wanted I/N"):
        parse_shard(text)


def test_store_is_in_the_order_of_the_images_and_keeps_attributes(tmp_path: Path) -> None:
    images = _records(_images(tmp_path / "grey", 11))
    result = _run(Fake(tmp_path / "calls"), images, tmp_path / "r.h5")
    store = RegionStore(tmp_path / "r.h5")
    assert store.image_ids == [f"grey/{i:03d}" for i in range(11)] and result.images == result.regions == 11
    for i, image_id in enumerate(store.image_ids):
        assert store.regions(image_id).features[0, 0] == pytest.approx(5 * i / 255, abs=1e-3)
        assert store.image_size(image_id) == SHAPES[i % 3]
    with h5py.File(tmp_path / "r.h5") as file:
        assert np.asarray(file["attributes"]).tolist() == [1] * 11
        assert np.asarray(file["attribute_scores"]).tolist() == [0.25] * 11
        assert "attribute_names" not in file.attrs
    assert store.attribute_names == ["bright", "dark"]
    assert not path_for(tmp_path / "r.h5").exists()


@pytest.mark.slow
def test_worker_processes_change_nothing(tmp_path: Path) -> None:
    folder = _images(tmp_path / "grey", 13)
    images = _records(folder)
    (folder / "004.png").write_text("no picture")
    for workers in (0, 2):
        _run(Fake(tmp_path / f"calls{workers}"), images, tmp_path / f"{workers}.h5", workers=workers)
    assert (tmp_path / "0.h5").read_bytes() == (tmp_path / "2.h5").read_bytes()
    assert _calls(tmp_path / "calls0") == _calls(tmp_path / "calls2")


KILLED = """
import sys
from pathlib import Path
from tests.regions.fake_detector import SIZE, Fake
from tests.regions.test_extract import _records, _run
folder, out = Path(sys.argv[1]), Path(sys.argv[2])
_run(Fake(out.parent / "calls", kill_after=int(sys.argv[3])), _records(folder), out, workers=int(sys.argv[4]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_a_killed_extraction_goes_on_without_doing_an_image_twice(tmp_path: Path, workers: int) -> None:
    folder, out = _images(tmp_path / "grey", 26), tmp_path / "out" / "r.h5"
    images = _records(folder)
    _run(Fake(tmp_path / "calls"), images, tmp_path / "whole.h5")
    for batches in (2, 3):  # killed twice, each time after so many more batches
        command = [sys.executable, "-c", KILLED, str(folder), str(out), str(batches), str(workers)]
        assert subprocess.run(command, cwd=Path(__file__).parents[2]).returncode == -signal.SIGKILL
        assert not out.exists()
    assert len(_calls(out.parent / "calls")) == 5
    result = _run(Fake(out.parent / "calls"), images, out)
    assert result.resumed == 20 and result.images == 26
    assert _calls(out.parent / "calls") == _calls(tmp_path / "calls")
    assert out.read_bytes() == (tmp_path / "whole.h5").read_bytes()
    assert [p.name for p in out.parent.iterdir() if p.name != "calls"] == ["r.h5"]


def _stopped(tmp_path: Path) -> tuple[list[ImageRecord], Path]:
    """An extraction that a bad image ended after its first two batches."""
    folder = _images(tmp_path / "grey", 18)
    images = _records(folder)
    last = plan.batches(images, 4)[2][1]
    good = last.path.read_bytes()
    last.path.write_bytes(good[:30])
    with pytest.raises(InputError, match=rf"{last.path.name}, row {last.image_id}: the image cannot be read"):
        _run(Fake(tmp_path / "calls"), images, tmp_path / "r.h5", mode="stop")
    last.path.write_bytes(good)
    return images, tmp_path / "r.h5"


def test_stop_ends_at_the_bad_image_and_goes_on_when_it_is_mended(tmp_path: Path) -> None:
    images, out = _stopped(tmp_path)
    assert not out.exists() and len(_calls(tmp_path / "calls")) == 2
    assert _run(Fake(tmp_path / "calls"), images, out, mode="stop").resumed == 8
    assert sum(map(len, _calls(tmp_path / "calls"))) == 18


@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_a_torn_end_is_done_again(tmp_path: Path, damage: str) -> None:
    images, out = _stopped(tmp_path)
    log, data = path_for(out), path_for(out).read_bytes()
    log.write_bytes(data[:-1] if damage == "cut" else data[:-40] + bytes([data[-40] ^ 1]) + data[-39:])
    assert _run(Fake(tmp_path / "calls"), images, out).resumed == 4
    assert not list(RegionStore(out).damaged())


def test_other_settings_or_images_begin_anew(tmp_path: Path) -> None:
    images, out = _stopped(tmp_path)
    log = path_for(out).read_bytes()
    assert _run(Fake(tmp_path / "calls", settings={"threshold": 0.4}), images, out).resumed == 0
    path_for(out).write_bytes(log)
    assert _run(Fake(tmp_path / "calls"), images[:-1], out).resumed == 0
    path_for(out).write_bytes(log)
    assert _run(Fake(tmp_path / "calls"), images, out).resumed == 8


def test_an_image_left_out_before_a_kill_is_tried_again(tmp_path: Path) -> None:
    folder = _images(tmp_path / "grey", 12)
    images, out = _records(folder), tmp_path / "r.h5"
    first, last = plan.batches(images, 4)[0][2], plan.batches(images, 4)[2][3]
    good = first.path.read_bytes()
    first.path.write_text("bad")
    last.path.unlink()

    class Ended(Fake):
        def __call__(self, images: Any, sizes: Any) -> Any:
            if self.batches == 2:
                raise KeyboardInterrupt
            return super().__call__(images, sizes)

    with pytest.raises(KeyboardInterrupt):
        _run(Ended(tmp_path / "calls"), images, out)
    first.path.write_bytes(good)
    skipped, fake = Skipped("skip"), Fake(tmp_path / "calls")
    result = extract(fake, images, out, skipped, store_facts(fake), threads=1, batch_size=4)
    assert result.images == 11 and result.resumed == 7
    assert [row["image_id"] for row in skipped.images] == [last.image_id]
    assert "missing" in skipped.images[0]["reason"]


@pytest.mark.slow
def test_two_extractions_into_one_store_are_refused(tmp_path: Path) -> None:
    folder, out = _images(tmp_path / "grey", 5), tmp_path / "r.h5"
    command = [sys.executable, "-c", KILLED, str(folder), str(out), "9", "0"]
    with Finished(path_for(out), "key", SIZE):
        done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)
        assert done.returncode == 1 and "another extraction is at work" in done.stderr
    assert subprocess.run(command, cwd=Path(__file__).parents[2]).returncode == 0
    assert len(RegionStore(out)) == 5


def test_a_feature_that_float16_cannot_hold_ends_it_at_once(tmp_path: Path) -> None:
    class Huge(Fake):
        def __call__(self, images: Any, sizes: Any) -> Any:
            return [found._replace(features=found.features + 1e6) for found in super().__call__(images, sizes)]

    with pytest.raises(InputError, match=r"row grey/001: its features as float16: 5 of 5 numbers"):
        _run(Huge(tmp_path / "calls"), _records(_images(tmp_path / "grey", 9)), tmp_path / "r.h5")
    assert len(_calls(tmp_path / "calls")) == 1


def _shards(tmp_path: Path, count: int, **changed: Any) -> list[Path]:
    folder = tmp_path / "grey"
    files = in_folder(folder if folder.exists() else _images(folder, 14), "grey")
    made = []
    for number in range(1, count + 1):
        skipped, path = Skipped("skip"), shards.shard_file(tmp_path / "out", number, count)
        images = measured(shard(files, number, count), skipped)
        fake = Fake(tmp_path / "calls", **changed)
        result = extract(fake, images, path, skipped, store_facts(fake), threads=1, batch_size=1)
        path.with_suffix(".json").write_text(json.dumps(shards.record(result, skipped.images, (number, count))))
        made.append(path)
    return made


def test_merged_shards_are_the_store_of_one_run(tmp_path: Path) -> None:
    files = _shards(tmp_path, 4)
    assert shards.in_folder(tmp_path / "out") == files
    result = shards.merge(files, tmp_path / "merged.h5")
    assert result.images == 14 and RegionStore(tmp_path / "merged.h5").attribute_names == ["bright", "dark"]
    _run(Fake(tmp_path / "calls"), _records(tmp_path / "grey"), tmp_path / "one.h5", batch_size=1)
    assert (tmp_path / "merged.h5").read_bytes() == (tmp_path / "one.h5").read_bytes()


def test_shards_that_are_kept_are_the_store(tmp_path: Path) -> None:
    files = _shards(tmp_path, 3)
    before = [path.read_bytes() for path in files]
    result = shards.keep(files, files[0].parent)
    store, one = RegionStore(files[0].parent), tmp_path / "one.h5"
    shards.merge(files, one)
    whole = RegionStore(one)
    assert result.images == len(store) == 14 and result.regions == store.rows == whole.rows
    assert [path.read_bytes() for path in files] == before and store.image_ids == whole.image_ids
    for image_id in whole.image_ids:
        np.testing.assert_array_equal(store.regions(image_id).features, whole.regions(image_id).features)
    other = files[0].with_name("older.h5")
    other.write_bytes(before[0])
    with pytest.raises(InputError, match=r"older\.h5: not one of the shards"):
        shards.keep(files, files[0].parent)
    other.unlink()
    files[1].write_bytes(before[1][:-100])
    with pytest.raises(InputError, match=r"2-of-3\.h5"):
        shards.keep(files, files[0].parent)


def test_more_shards_than_images(tmp_path: Path) -> None:
    _images(tmp_path / "grey", 2)
    assert shards.merge(_shards(tmp_path, 3), tmp_path / "merged.h5").images == 2


def test_ground_truth_of_shards_is_merged(tmp_path: Path) -> None:
    files = _shards(tmp_path, 2)
    last = RegionStore(files[1]).image_ids[-1]
    annotate(files[1], {last: ["tree", "sky"]}, files[1])
    shards.merge(files, tmp_path / "merged.h5")
    merged = RegionStore(tmp_path / "merged.h5", verify=True)
    assert merged.truth(last) == ["tree", "sky"] and merged.truth(merged.image_ids[0]) is None


def test_merge_names_what_is_wrong(tmp_path: Path) -> None:
    files, out = _shards(tmp_path, 3), tmp_path / "merged.h5"
    with pytest.raises(InputError, match=r"shard 2/3 is missing .*--shard 2/3 again"):
        shards.merge([files[0], files[2]], out)
    with pytest.raises(InputError, match="comes twice, or not in order"):
        shards.merge([files[1], files[0], files[2]], out)
    with h5py.File(files[1]) as file:
        place = file["features"].id.get_offset()  # pyright: ignore
    data = bytearray(files[1].read_bytes())
    data[place] ^= 1
    whole = files[1].read_bytes()
    files[1].write_bytes(data)
    with pytest.raises(InputError, match=r"2-of-3\.h5, row grey/004: the bytes do not give the checksum"):
        shards.merge(files, out)
    files[1].write_bytes(whole)
    other = _shards(tmp_path, 3, settings={"threshold": 0.1})[2]
    third = other.read_bytes()
    _shards(tmp_path, 3)
    files[2].write_bytes(third)
    with pytest.raises(InputError, match=r"3-of-3\.h5: made otherwise than 1-of-3\.h5: threshold"):
        shards.merge(files, out)
    other = _shards(tmp_path, 3, attribute_names=("light", "dark"))[2]
    third = other.read_bytes()
    _shards(tmp_path, 3)
    files[2].write_bytes(third)
    with pytest.raises(InputError, match=r"3-of-3\.h5: made otherwise than 1-of-3\.h5: attribute names"):
        shards.merge(files, out)
    _shards(tmp_path, 2)
    with pytest.raises(InputError, match="shards of an extraction in 2 and of one in 3"):
        shards.in_folder(tmp_path / "out")
    assert not out.exists()


def test_images_of_a_folder(tmp_path: Path) -> None:
    folder = _images(tmp_path / "grey", 3)
    (folder / "deep").mkdir()
    Image.new("RGB", (9, 7)).save(folder / "deep" / "a.JPG", format="JPEG")
    (folder / "notes.txt").write_text("no image")
    (folder / "001.png").write_text("no image either")
    skipped = Skipped("skip")
    records = measured(in_folder(folder, "set"), skipped)
    assert [(r.image_id, r.width, r.height) for r in records] == [
        *(("set/000", 24, 16), ("set/002", 20, 20), ("set/deep/a", 9, 7))
    ]
    assert [row["image_id"] for row in skipped.images] == ["set/001"]
    packed = tmp_path / "packed" / "part.tar"
    packed.parent.mkdir()
    with tarfile.open(packed, "w") as tar:
        tar.add(folder, ".")
    for where in (packed, packed.parent):  # the archive, and the folder it lies in
        assert measured(in_folder(where, "set"), Skipped("skip")) == [
            replace(r, path=packed / r.path.relative_to(folder)) for r in records
        ]
    Image.new("RGB", (9, 7)).save(folder / "deep" / "a.png")
    with pytest.raises(InputError, match=r"row set/deep/a: deep/a\.JPG and deep/a\.png would have the same id"):
        in_folder(folder, "set")
    with pytest.raises(InputError, match="there is no such folder"):
        in_folder(tmp_path / "none", "set")


def test_an_image_without_a_region_is_told_as_it_is_found(tmp_path: Path) -> None:
    """Else the stage that trains on it would say so, hours later."""
    none = without_attributes(np.zeros((0, 4)), np.zeros(0), np.zeros(0), np.zeros((0, 3)))
    assert none.features.shape == (0, 3)
    with (
        Finished(tmp_path / "done", "key", 3) as done,
        pytest.raises(InputError, match=r"row d/1: the detector gave no region. A detector gives each image at least"),
    ):
        done.add({"d/1": none}, {})
