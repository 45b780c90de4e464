"""The region store: what is written is read, and what is damaged is named."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.regions.full_disk import tiny_disk
from vlp.errors import InputError
from vlp.regions.geometry import geometry
from vlp.regions.layout import INDEX_DIGEST
from vlp.regions.shard import Shard
from vlp.regions.store import COLUMNS, RegionStore, RegionWriter, spool_folder

NAMES = ["circle", "square", "rösti"]


def _image(rng: np.random.Generator, count: int, size: tuple[int, int], width: int = 5) -> dict[str, Any]:
    corners = np.sort(rng.uniform(0, 1, (count, 2, 2)), axis=1) * size
    return {
        "features": rng.normal(size=(count, width)),
        "boxes": corners.reshape(count, 4).astype(np.float32),
        "classes": rng.integers(-1, len(NAMES), count),
        "scores": rng.permutation(count).astype(np.float32) / 8,
    }


def _write(path: Path, counts: list[int], seed: int = 0) -> list[dict[str, Any]]:
    rng, images = np.random.default_rng(seed), []
    with RegionWriter(path, 5, NAMES, {"detector": "test", "score_threshold": 0.2}) as writer:
        for i, count in enumerate(counts):
            images.append(_image(rng, count, (64 + i, 48)))
            writer.add(f"t/{i}", (64 + i, 48), **images[-1])
    return images


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(counts=st.lists(st.integers(0, 6), min_size=0, max_size=8), seed=st.integers(0, 1000))
def test_reads_back_what_was_written(tmp_path: Path, counts: list[int], seed: int) -> None:
    path = tmp_path / "regions.h5"
    images = _write(path, counts, seed)
    store = RegionStore(path)
    assert store.image_ids == [f"t/{i}" for i in range(len(counts))]
    assert (store.feature_size, store.rows, store.class_names) == (5, sum(counts), NAMES)
    for i, image in enumerate(images):
        order = np.argsort(-image["scores"])
        got = store.regions(f"t/{i}")
        assert len(got) == counts[i]
        np.testing.assert_array_equal(got.features, image["features"][order].astype(np.float16))
        np.testing.assert_array_equal(got.boxes, image["boxes"][order])
        np.testing.assert_array_equal(got.classes, image["classes"][order])
        np.testing.assert_array_equal(got.scores, image["scores"][order])
        # the six numbers are derived: a region is D + 6 numbers
        np.testing.assert_array_equal(got.geometry, geometry(got.boxes, (64 + i, 48)))
        assert store.image_size(f"t/{i}") == (64 + i, 48)
        assert store.index(f"t/{i}") == i
    assert list(store.damaged()) == []
    batch, pad = store.padded(store.image_ids, 4), store.ragged(store.image_ids)
    assert batch.lengths.tolist() == [min(count, 4) for count in counts] and len(pad.features) == sum(counts)
    assert not batch.features[~batch.mask].any() and np.isnan(batch.scores[~batch.mask]).all()


def test_images_without_regions_are_padding_alone(tmp_path: Path) -> None:
    _write(tmp_path / "r.h5", [0, 0])
    batch = RegionStore(tmp_path / "r.h5").padded(["t/1", "t/0"], 3)
    assert batch.features.shape == (2, 3, 5) and not batch.mask.any() and not batch.features.any()
    assert not batch.boxes.any() and (batch.classes == -1).all() and np.isnan(batch.scores).all()


def test_same_rows_same_bytes(tmp_path: Path) -> None:
    _write(tmp_path / "a.h5", [2, 0, 3])
    _write(tmp_path / "b.h5", [2, 0, 3])
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_rows_best_first_and_rows_without_score_last(tmp_path: Path) -> None:
    with RegionWriter(tmp_path / "r.h5", 1, NAMES, {}) as writer:
        boxes = np.tile(np.array([0, 0, 1, 1], np.float32), (5, 1))
        scores = np.array([np.nan, 0.2, np.nan, 0.9, 0.2])
        writer.add("t/0", (9, 9), np.arange(5)[:, None], boxes, [-1, 0, -1, 1, 0], scores)
    store = RegionStore(tmp_path / "r.h5")
    assert store.regions("t/0").features.ravel().tolist() == [3, 1, 4, 0, 2]
    assert store.regions("t/0", limit=2).features.ravel().tolist() == [3, 1]
    assert store.tags("t/0") == ["square", "circle"]


def test_features_are_a_view_of_the_file(tmp_path: Path) -> None:
    _write(tmp_path / "r.h5", [3])
    features = RegionStore(tmp_path / "r.h5").regions("t/0").features
    assert not features.flags.owndata and not features.flags.writeable


def _sum_of_features(store: RegionStore) -> float:
    return float(sum(store.regions(i).features.astype(np.float64).sum() for i in store.image_ids))


@pytest.mark.slow
def test_goes_to_worker_processes(tmp_path: Path) -> None:
    _write(tmp_path / "r.h5", [3, 1])
    store = RegionStore(tmp_path / "r.h5")
    assert len(pickle.dumps(store)) < 1000
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply(_sum_of_features, (store,)) == _sum_of_features(store)


def test_facts_are_kept(tmp_path: Path) -> None:
    _write(tmp_path / "r.h5", [1])
    facts = RegionStore(tmp_path / "r.h5").facts
    assert facts["detector"] == "test" and facts["score_threshold"] == 0.2


def test_unknown_image_is_named(tmp_path: Path) -> None:
    _write(tmp_path / "r.h5", [1])
    store = RegionStore(tmp_path / "r.h5")
    assert "t/0" in store and "t/7" not in store
    with pytest.raises(InputError, match=r"row t/7: the image is not in the store"):
        store.regions("t/7")


def test_id_twice_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    path = tmp_path / "r.h5"
    image = _image(np.random.default_rng(0), 2, (9, 9))
    with pytest.raises(InputError, match=r"row t/0: the image id comes twice"), RegionWriter(path, 5, NAMES, {}) as w:
        w.add("t/0", (9, 9), **image)
        w.add("t/0", (9, 9), **image)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"boxes": [[0, 0, 10, 5]]}, "a box is not inside the image of 9 x 9"),
        ({"boxes": [[5, 0, 4, 5]]}, "a box is not inside the image"),
        ({"boxes": [[np.nan, 0, 4, 5]]}, r"row t/0: its boxes: 1 of 4 numbers is NaN or infinite"),
        ({"features": [[1e6, np.nan, 0, 0, 0]]}, r"its features as float16: 2 of 5 numbers are NaN or infinite"),
        ({"scores": [np.inf]}, r"its scores: 1 of 1 are infinite"),
        ({"classes": [3]}, "a class is not among the 3 names"),
    ],
)
def test_bad_rows_are_refused(tmp_path: Path, change: dict, message: str) -> None:
    good = {"features": [[0.0] * 5], "boxes": [[0, 0, 4, 5]], "classes": [0], "scores": [1.0]}
    with RegionWriter(tmp_path / "r.h5", 5, NAMES, {}) as writer:
        with pytest.raises(InputError, match=message):
            writer.add("t/0", (9, 9), **{**good, **change})
        writer.add("t/0", (9, 9), **good)
    assert RegionStore(tmp_path / "r.h5").image_ids == ["t/0"]


def test_wrong_shape_is_a_fault_of_the_caller(tmp_path: Path) -> None:
    with RegionWriter(tmp_path / "r.h5", 5, NAMES, {}) as writer, pytest.raises(ValueError, match="features: shape"):
        writer.add("t/0", (9, 9), [[0.0] * 4], [[0, 0, 1, 1]], [0], [1.0])


def test_every_cut_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "r.h5"
    _write(path, [3, 4, 2])
    whole = path.read_bytes()
    for length in (0, 10, 700, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"r\.h5: .*(cut short|damaged)"):
            RegionStore(path)


def test_changed_byte_names_the_image(tmp_path: Path) -> None:
    path = tmp_path / "r.h5"
    _write(path, [3, 4, 2])
    with h5py.File(path) as file:
        place = file["features"].id.get_offset()  # pyright: ignore
    with path.open("r+b") as file:
        file.seek(place + 4 * 5 * 2)  # the second row of the second image
        file.write(b"\xff")
    assert list(RegionStore(path).damaged()) == [(path, "t/1")]


@pytest.mark.parametrize(
    ("name", "at", "told"),
    [
        ("features", (4, 2), r"r\.h5, row t/1: its features as float16: 1 of 20 numbers is NaN or infinite"),
        ("boxes", (0, 1), r"row t/0: its boxes: 1 of 12 numbers is NaN or infinite"),
        ("scores", (8,), r"row t/2: its scores: 1 of 2 are infinite"),
    ],
)
def test_numbers_of_another_writer_are_read_if_they_are_finite(
    tmp_path: Path, name: str, at: tuple[int, ...], told: str
) -> None:
    """Its checksums are right."""
    path = tmp_path / "r.h5"
    _write(path, [3, 4, 2])
    with h5py.File(path, "r+") as file:
        file[name][at] = np.inf  # pyright: ignore
        del file.attrs[INDEX_DIGEST]
    shard = Shard(path)
    digests = b"".join(shard.digest(i, None) for i in range(3))
    with h5py.File(path, "r+") as file:
        file["checksums"][...] = np.frombuffer(digests, np.uint8).reshape(-1, 32)  # pyright: ignore
    assert list(RegionStore(path).damaged()) == []
    with pytest.raises(InputError, match=told):
        RegionStore(path, verify=True)
    (fault,) = RegionStore(path).faults()
    assert str(fault.row) in told


def test_other_dtype_layout_or_format_is_named(tmp_path: Path) -> None:
    _write(tmp_path / "r.h5", [3])
    for change, message in (
        ({"features": {"dtype": "<f4"}}, "features is float32, wanted float16"),
        ({"features": {"dtype": "<f2", "chunks": (1, 5)}}, "features is chunked or compressed"),
        ({}, "not a region store"),
    ):
        path = tmp_path / "other.h5"
        with h5py.File(tmp_path / "r.h5") as old, h5py.File(path, "w") as new:
            for name in old:
                new.create_dataset(name, data=old[name][()], **change.get(name, {}))  # pyright: ignore
            if change:
                new.attrs.update(old.attrs)
        with pytest.raises(InputError, match=message):
            RegionStore(path)


def test_missing_and_unfinished_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "r.h5"
    with pytest.raises(InputError, match=r"there is no region store\. Run"):
        RegionStore(path)
    spool_folder(path).mkdir()
    with pytest.raises(InputError, match="an unfinished write stands beside it"):
        RegionStore(path)


@pytest.mark.slow
def test_killed_writer_leaves_no_store_and_the_next_one_cleans_up(tmp_path: Path) -> None:
    path = tmp_path / "r.h5"
    code = (
        "import sys, time; from vlp.regions.store import RegionWriter\n"
        "with RegionWriter(sys.argv[1], 1, ['a'], {}) as w:\n"
        "    w.add('t/0', (9, 9), [[1.0]], [[0, 0, 1, 1]], [0], [1.0]); print('ready', flush=True); time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not path.exists() and spool_folder(path).exists()
    _write(path, [2])
    assert RegionStore(path).image_ids == ["t/0"] and list(tmp_path.iterdir()) == [path]


def test_error_keeps_the_store_that_was_there(tmp_path: Path) -> None:
    path = tmp_path / "r.h5"
    _write(path, [2])
    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt), RegionWriter(path, 5, NAMES, {}):
        raise KeyboardInterrupt
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


@pytest.mark.slow
def test_full_disk_while_rows_arrive(tmp_path: Path) -> None:
    with tiny_disk(tmp_path / "disk") as disk:
        image = _image(np.random.default_rng(0), 300, (64, 48), width=256)
        with pytest.raises(InputError, match="the disk is full"), RegionWriter(disk / "r.h5", 256, NAMES, {}) as writer:
            for i in range(40):
                writer.add(f"t/{i}", (64, 48), **image)
        assert list(disk.iterdir()) == []


@pytest.mark.slow
def test_full_disk_when_the_file_is_put_together(tmp_path: Path) -> None:
    with tiny_disk(tmp_path / "disk") as disk:
        image = _image(np.random.default_rng(0), 1200, (64, 48), width=256)  # fits once, not twice
        with pytest.raises(InputError, match="the disk is full"), RegionWriter(disk / "r.h5", 256, NAMES, {}) as writer:
            writer.add("t/0", (64, 48), **image)
        assert list(disk.iterdir()) == []


def test_memory_does_not_grow_with_the_features(tmp_path: Path) -> None:
    import tracemalloc

    image = _image(np.random.default_rng(0), 50, (64, 48), width=1024)
    tracemalloc.start()
    with RegionWriter(tmp_path / "r.h5", 1024, NAMES, {}) as writer:
        for i in range(60):
            writer.add(f"t/{i}", (64, 48), **image)
            if i == 5:
                tracemalloc.reset_peak()
                early = tracemalloc.get_traced_memory()[0]
        late = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    one_image = 50 * 1024 * 2
    assert late - early < one_image


def test_reading_is_quick(tmp_path: Path) -> None:
    _write(tmp_path / "r.h5", [5] * 500)
    store = RegionStore(tmp_path / "r.h5")
    began = time.process_time()
    for image_id in store.image_ids:
        store.regions(image_id, 3)
    assert time.process_time() - began < 0.5
    assert set(COLUMNS) == {"features", "boxes", "classes", "scores", "attributes", "attribute_scores"}
