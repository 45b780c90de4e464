"""Training, the detector's files, and extraction on the toy world."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.regions.full_disk import tiny_disk
from tests.regions.scenes import SIDE, World, make
from vlp.config.regions import Detector as DetectorConfig
from vlp.data.tables import rows
from vlp.errors import ConfigError, InputError
from vlp.files import read_json
from vlp.images.decode import ImageRecord, Skipped, records
from vlp.regions import detector as detectors
from vlp.regions.detector import Detector
from vlp.regions.detectors.small import Small
from vlp.regions.extract import extract, report, store_facts
from vlp.regions.store import RegionStore
from vlp.regions.train import Examples, deterministic, examples, train

CONFIG = DetectorConfig.model_validate(
    {
        "width": 12,
        "feature_size": 80,
        "image_size": SIDE,
        "epochs": 14,
        "batch_size": 4,
        "learning_rate": 2e-3,
        "min_regions": 3,
    }
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make(tmp_path_factory.mktemp("world") / "toy", train=60, val=10, test=20)


@pytest.fixture(scope="module")
def trained(world: World) -> tuple[Detector, dict[str, Any]]:
    return _train(world, CONFIG)


def _records(world: World) -> list[ImageRecord]:
    return records(rows(world.tables, "images"), world.folder / "raw")


def _train(world: World, config: DetectorConfig) -> tuple[Detector, dict[str, Any]]:
    found, names = examples(_records(world), rows(world.tables, "objects"), config.train_images, "objects")
    return train(config, Examples(found, Skipped("stop")), len(found), names, seed=3, threads=1)


def _extract(world: World, detector: Detector, out: Path, mode: Any = "skip") -> dict[str, Any]:
    skipped = Skipped(mode)
    small = Small(detector, "0" * 64)
    result = extract(small, _records(world), out, skipped, store_facts(small), threads=1)
    return report(out, _records(world), rows(world.tables, "objects"), skipped.images, result)


def test_finds_objects_it_was_not_trained_on(
    world: World, trained: tuple[Detector, dict[str, Any]], tmp_path: Path
) -> None:
    quality = _extract(world, trained[0], tmp_path / "r.h5")
    assert quality["splits"]["test"]["images"] == 20
    assert quality["splits"]["test"]["recall_any_class"] > 0.8
    assert quality["splits"]["test"]["recall"] > 0.5 and quality["splits"]["test"]["precision"] > 0.5
    assert quality["skipped"] == []
    store = RegionStore(tmp_path / "r.h5")
    assert store.class_names == ["disc", "square"] and store.feature_size == 80
    for image_id in store.image_ids:
        regions = store.regions(image_id)
        assert CONFIG.min_regions <= len(regions) <= CONFIG.max_regions
        assert ((regions.classes >= 0) == (regions.scores >= np.float32(CONFIG.score_threshold))).all()
        assert (np.diff(regions.scores) <= 0).all()
        assert (regions.geometry >= 0).all() and (regions.geometry <= 1).all()


def test_feature_tells_the_colour_that_the_class_does_not(
    world: World, trained: tuple[Detector, dict[str, Any]]
) -> None:
    """A linear rule on the features of train objects tells red from blue on test objects."""
    sets: dict[str, tuple[list[np.ndarray], list[float]]] = {"train": ([], []), "test": ([], [])}
    for record in _records(world):
        if record.split == "val":
            continue
        pixels = torch.from_numpy(np.asarray(Image.open(record.path)).copy()).permute(2, 0, 1) / 255
        for row in (o for o in world.objects if o["image_id"] == record.image_id):
            x1, y1, x2, y2 = (int(v) for v in row["box"])
            features, colours = sets[record.split]
            features.append(trained[0].describe([pixels], [torch.tensor([row["box"]])])[0][0].numpy())
            colours.append(1.0 if pixels[0, (y1 + y2) // 2, (x1 + x2) // 2] > 0.5 else -1.0)
    (train_ND, train_N), (test_ND, test_N) = ((np.array(f), np.array(c)) for f, c in sets.values())
    weights = np.linalg.solve(train_ND.T @ train_ND + np.eye(80), train_ND.T @ train_N)
    assert (np.sign(test_ND @ weights) == test_N).mean() > 0.95


def test_features_are_standardised(world: World, trained: tuple[Detector, dict[str, Any]], tmp_path: Path) -> None:
    _extract(world, trained[0], tmp_path / "r.h5")
    store = RegionStore(tmp_path / "r.h5")
    ids = [r.image_id for r in _records(world) if r.split == "train"]
    every = np.concatenate([store.regions(i).features for i in ids]).astype(np.float32)
    assert np.abs(every).max() <= 8
    moving = every.std(0) > 0
    assert np.abs(every.mean(0)).max() < 0.3 and 0.5 < np.median(every.std(0)[moving]) < 1.5


def test_same_seed_same_bytes(world: World, tmp_path: Path) -> None:
    short = CONFIG.model_copy(update={"epochs": 0.5, "train_images": 16})
    for name in ("a", "b"):
        detector, facts = _train(world, short)
        detectors.save(tmp_path / name / "detector.safetensors", detector, facts)
        _extract(world, detector, tmp_path / name / "r.h5")
    for file in ("detector.safetensors", "detector.json", "r.h5"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_saved_and_loaded_is_the_same_detector(
    trained: tuple[Detector, dict[str, Any]], world: World, tmp_path: Path
) -> None:
    path = tmp_path / "detector.safetensors"
    facts = detectors.save(path, *trained)
    loaded, read = detectors.load(path)
    assert read == facts and read["class_names"] == ["disc", "square"] and read["training"]["images"] == 60
    image = torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    with deterministic(0, 1):
        for a, b in zip(trained[0].detect([image]), loaded.detect([image]), strict=True):
            torch.testing.assert_close(a.features, b.features)
            torch.testing.assert_close(a.boxes, b.boxes)


def test_other_weights_than_told_are_refused(trained: tuple[Detector, dict[str, Any]], tmp_path: Path) -> None:
    path = tmp_path / "detector.safetensors"
    detectors.save(path, *trained)
    path.write_bytes(path.read_bytes()[:-4] + b"abcd")
    with pytest.raises(InputError, match="the weights are not those"):
        detectors.load(path)
    path.unlink()
    with pytest.raises(InputError, match="weights are missing"):
        detectors.load(path)
    path.with_suffix(".json").unlink()
    with pytest.raises(InputError, match=r"detector\.json: the file is missing"):
        detectors.load(path)


def test_only_train_images_are_looked_at(world: World) -> None:
    found, names = examples(_records(world), rows(world.tables, "objects"), None, "objects")
    assert {e.record.split for e in found} == {"train"} and len(found) == 60 and names == ["disc", "square"]
    limited, _ = examples(_records(world), rows(world.tables, "objects"), 5, "objects")
    assert [e.record.image_id for e in limited] == [f"toy/{i:04d}" for i in range(5)]


def test_no_objects_and_flat_boxes_are_named(world: World) -> None:
    with pytest.raises(InputError, match="no train image has an object box"):
        examples(_records(world), [], None, "objects.parquet")
    flat = {"object_id": "o/7", "image_id": "toy/0000", "class_name": "disc", "box": [3.0, 3.0, 3.0, 9.0]}
    with pytest.raises(InputError, match=r"objects.parquet, row o/7: the box .* has no area"):
        examples(_records(world), [flat], None, "objects.parquet")


def test_too_small_a_feature_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match=r"regions\.detector\.feature_size: 32 is too small for width 12"):
        Detector(CONFIG.model_copy(update={"feature_size": 32}), ["a"])


def _with_bad_images(tmp_path: Path) -> World:
    world = make(tmp_path / "bad", train=3, val=1, test=2)
    raw = world.folder / "raw"
    (raw / "0000.png").unlink()
    (raw / "0001.png").write_bytes((raw / "0001.png").read_bytes()[:200])
    (raw / "0002.png").write_text("no picture")
    Image.new("RGB", (SIDE, SIDE // 2)).save(raw / "0003.png")
    return world


def test_bad_images_are_skipped_named_and_counted(trained: tuple[Detector, dict[str, Any]], tmp_path: Path) -> None:
    world = _with_bad_images(tmp_path)
    quality = _extract(world, trained[0], tmp_path / "r.h5")
    reasons = {row["image_id"]: row["reason"] for row in quality["skipped"]}
    assert sorted(reasons) == [f"toy/{i:04d}" for i in range(4)]
    assert "missing" in reasons["toy/0000"]
    assert "cannot be read" in reasons["toy/0001"] and "cannot be read" in reasons["toy/0002"]
    assert f"{SIDE} x {SIDE // 2} pixels, the table says {SIDE} x {SIDE}" in reasons["toy/0003"]
    assert sorted(RegionStore(tmp_path / "r.h5").image_ids) == ["toy/0004", "toy/0005"]
    assert list(quality["splits"]) == ["train", "val", "test"] and quality["splits"]["train"]["images"] == 0


def test_bad_image_stops_where_the_config_says_so(trained: tuple[Detector, dict[str, Any]], tmp_path: Path) -> None:
    world = _with_bad_images(tmp_path)
    with pytest.raises(InputError, match=r"0000\.png, row toy/0000: the image file is missing"):
        _extract(world, trained[0], tmp_path / "r.h5", mode="stop")
    assert not (tmp_path / "r.h5").exists()


def test_bad_images_are_left_out_of_training(tmp_path: Path) -> None:
    world, skipped = _with_bad_images(tmp_path), Skipped("skip")
    found, names = examples(_records(world), rows(world.tables, "objects"), None, "objects")
    with pytest.raises(InputError, match=r"0000\.png: this and all other train images cannot be read"):
        train(
            CONFIG.model_copy(update={"batch_size": 2}), Examples(found, skipped), len(found), names, seed=0, threads=1
        )
    assert [row["image_id"] for row in skipped.images] and len(skipped.images) == 3


def test_image_without_detection_is_one_region_and_reported(
    trained: tuple[Detector, dict[str, Any]], tmp_path: Path
) -> None:
    world = make(tmp_path / "empty", train=2)
    Image.new("RGB", (SIDE, SIDE), (128, 128, 128)).save(world.folder / "raw" / "0001.png")
    detector = Detector(CONFIG.model_copy(update={"min_regions": 0, "score_threshold": 0.6}), ["disc", "square"])
    detector.load_state_dict(trained[0].state_dict())
    quality = _extract(world, detector.eval(), tmp_path / "r.h5")
    assert "toy/0001" in quality["without_detection"] and "toy/0001" in quality["whole_image"]
    store = RegionStore(tmp_path / "r.h5")
    regions = store.regions("toy/0001")
    assert regions.boxes.tolist() == [[0, 0, SIDE, SIDE]]
    assert regions.classes.tolist() == [-1] and regions.scores.tolist() == [0] and store.tags("toy/0001") == []


def test_boxes_are_in_the_pixels_of_the_original(trained: tuple[Detector, dict[str, Any]], tmp_path: Path) -> None:
    """The file may be a smaller copy of the image that the tables speak of."""
    world = make(tmp_path / "small", train=1)
    _extract(world, trained[0], tmp_path / "a.h5")
    for image in world.images:
        image["width"], image["height"] = 3 * SIDE, 3 * SIDE
    world.write()
    _extract(world, trained[0], tmp_path / "b.h5")
    a, b = RegionStore(tmp_path / "a.h5"), RegionStore(tmp_path / "b.h5")
    for image_id in a.image_ids:
        np.testing.assert_allclose(b.regions(image_id).boxes, 3 * a.regions(image_id).boxes, rtol=1e-5)
        np.testing.assert_allclose(b.regions(image_id).geometry, a.regions(image_id).geometry, rtol=1e-5)
        np.testing.assert_array_equal(b.regions(image_id).features, a.regions(image_id).features)


@pytest.mark.slow
def test_full_disk_during_extraction(trained: tuple[Detector, dict[str, Any]], tmp_path: Path) -> None:
    world = make(tmp_path / "world", train=80)
    with tiny_disk(tmp_path / "disk") as disk:
        (disk / "ballast").write_bytes(bytes((1 << 20) - 24_000))
        with pytest.raises(
            InputError, match=r"r\.h5: the disk is full; (16|32|48) finished images are kept.*Free some space"
        ):
            _extract(world, trained[0], disk / "r.h5")
        assert sorted(p.name for p in disk.iterdir()) == [".r.h5.extracting", "ballast"]
        (disk / "ballast").unlink()
        _extract(world, trained[0], disk / "r.h5")
        assert [p.name for p in disk.iterdir()] == ["r.h5"]
        _extract(world, trained[0], tmp_path / "r.h5")
        assert (disk / "r.h5").read_bytes() == (tmp_path / "r.h5").read_bytes()


def test_json_beside_the_weights_tells_where_they_come_from(
    trained: tuple[Detector, dict[str, Any]], tmp_path: Path
) -> None:
    detectors.save(tmp_path / "d.safetensors", *trained)
    value = read_json(tmp_path / "d.json")
    assert set(value) == {"format", "sha256", "class_names", "config", "training"}
    assert value["config"]["score_threshold"] == CONFIG.score_threshold
    assert value["training"]["steps"] == 210 and value["training"]["seed"] == 3
