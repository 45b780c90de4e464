"""`vlp regions` as a user calls it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from tests.regions.scenes import SIDE, make
from tests.regions.tiny_models import picture, transformers_directory
from vlp.cli.regions import app
from vlp.errors import ConfigError, InputError
from vlp.regions.store import RegionStore


@pytest.fixture
def config(tmp_path: Path) -> Path:
    optimisation = {"epochs": 1, "batch_size": 2, "learning_rate": 1e-3}
    value = {
        "name": "toy",
        "results": str(tmp_path / "results"),
        "data": {
            "name": "toy",
            "root": str(tmp_path / "toy" / "raw"),
            "captions": {"format": "karpathy"},
            "objects": {"format": "coco_instances"},
        },
        "regions": {
            "detector": {"width": 8, "feature_size": 64, "image_size": SIDE, "epochs": 1, "train_images": 8},
        },
        "pretraining": {stage: {**optimisation, "losses": ["vsc"]} for stage in ("stage1", "stage2")},
        "tracking": {"enabled": False},
    }
    path = tmp_path / "toy.yaml"
    path.write_text(yaml.safe_dump(value))
    return path


def _call(*arguments: str | Path | int) -> str:
    result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_train_extract_info_verify(config: Path, tmp_path: Path) -> None:
    world = make(tmp_path / "toy", train=10, val=2, test=3)
    folder = tmp_path / "results" / "toy"
    detector, store, quality = folder / "d" / "detector.safetensors", folder / "r.h5", folder / "quality.json"
    assert "2 classes, 8 images, 2 steps" in _call(
        "train", "--config", config, "--tables", world.tables, "--out", detector
    )
    text = _call(
        *("extract", "--config", config, "--tables", world.tables),
        *("--weights", detector, "--out", store, "--quality", quality),
    )
    assert "test" in text and "recall" in text
    value = json.loads(quality.read_text())
    assert {split: numbers["images"] for split, numbers in value["splits"].items()} == {
        "train": 10,
        "val": 2,
        "test": 3,
    }
    facts = RegionStore(store).facts
    assert facts["weights_sha256"] == json.loads(detector.with_suffix(".json").read_text())["sha256"]
    assert facts["score_threshold"] == 0.2 and facts["code_version"]
    assert "images              15" in _call("info", store)
    assert "15 of 15 images are whole" in _call("verify", store)
    journals = sorted(p.name for p in (folder / "journals").glob("*.jsonl"))
    assert journals == ["detector.jsonl", "regions.jsonl"]
    metrics = [json.loads(line) for line in (folder / "journals" / "regions.jsonl").read_text().splitlines()]
    assert any(event.get("key") == "test/recall" for event in metrics)


def _place_of_boxes(store: Path) -> int:
    import h5py

    with h5py.File(store) as file:
        return file["boxes"].id.get_offset()  # pyright: ignore


def test_verify_names_the_damaged_image(config: Path, tmp_path: Path) -> None:
    world = make(tmp_path / "toy", train=8, val=1, test=1)
    detector, store = tmp_path / "d.safetensors", tmp_path / "r.h5"
    _call("train", "--config", config, "--tables", world.tables, "--out", detector)
    arguments = ("--weights", detector, "--out", store, "--quality", tmp_path / "q.json")
    _call("extract", "--config", config, "--tables", world.tables, *arguments)
    place = _place_of_boxes(store)
    with store.open("r+b") as file:
        file.seek(place)
        file.write(b"\xff\xff")
    result = CliRunner().invoke(app, ["verify", str(store)])
    first = RegionStore(store).image_ids[0]
    assert result.exit_code == 1 and f"{first}: the bytes do not give the checksum" in result.output


@pytest.mark.slow
def test_a_folder_in_shards_with_a_detector_by_directory(tmp_path: Path) -> None:
    folder, out = tmp_path / "photos", tmp_path / "out"
    folder.mkdir()
    for i in range(5):
        picture(90 + 10 * i, 80, seed=i).save(folder / f"{i}.png")
    (folder / "3.png").write_bytes((folder / "3.png").read_bytes()[:300])
    model = transformers_directory("detr", tmp_path / "detr")
    arguments = ("--detector", model, "--images", folder, "--out", out, "--batch-size", 2, "--threads", 1)
    for shard in ("1/2", "2/2"):
        text = _call("extract", *arguments, "--shard", shard)
        assert f"{shard.replace('/', '-of-')}.h5: 2 images, 24 regions" in text
    assert "skipped photos/3: the image cannot be read" in text and ", 1 skipped" in text
    assert "regions.h5: 4 images" in _call("merge", out)
    store = RegionStore(out / "regions.h5")
    assert store.image_ids == ["photos/0", "photos/1", "photos/2", "photos/4"] and store.feature_size == 16
    record = json.loads((out / "regions.json").read_text())
    assert [row["image_id"] for row in record["skipped"]] == ["photos/3"] and record["images"] == 4
    assert "4 of 4 images are whole" in _call("verify", out / "regions.h5")
    shown = _call("info", out / "regions.h5")
    assert "feature size        16" in shown and "model_type          detr" in shown
    archive = tmp_path / "photos.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(folder, ".")
    packed = ("--detector", model, "--images", archive, "--out", tmp_path / "packed", "--batch-size", 2, "--threads", 1)
    assert "4 images, " in _call("extract", *packed, "--workers", 1)
    again = RegionStore(tmp_path / "packed" / "regions.h5")
    assert again.image_ids == store.image_ids
    assert all(
        (again.tags(i), len(again.regions(i))) == (store.tags(i), len(store.regions(i))) for i in again.image_ids
    )
    result = CliRunner().invoke(app, [*map(str, ("extract", *arguments)), "--on-bad-image", "stop"])
    assert isinstance(result.exception, InputError) and "3.png, row photos/3" in str(result.exception)


def test_an_experiment_in_shards_gives_the_store_of_one_job(config: Path, tmp_path: Path) -> None:
    world = make(tmp_path / "toy", train=10, val=2, test=3)
    detector, common = tmp_path / "d.safetensors", ("--config", config, "--tables", world.tables)
    _call("train", *common, "--out", detector)
    one, store = tmp_path / "one.h5", tmp_path / "r.h5"
    # batches of one: else the last bits depend on which images share a batch
    extract = ("extract", *common, "--weights", detector, "--batch-size", 1)
    _call(*extract, "--out", one, "--quality", tmp_path / "one.json")
    shards = [tmp_path / f"{i}-of-2.h5" for i in (1, 2)]
    for i, shard in enumerate(shards, 1):
        _call(*extract, "--shard", f"{i}/2", "--out", shard, "--quality", shard.with_suffix(".json"))
    text = _call("merge", *shards, *common, "--out", store, "--quality", tmp_path / "q.json")
    assert "recall" in text
    assert store.read_bytes() == one.read_bytes()
    assert (tmp_path / "q.json").read_text() == (tmp_path / "one.json").read_text()
    journals = {p.stem for p in (tmp_path / "results" / "toy" / "journals").glob("*.jsonl")}
    assert journals == {"detector", "regions", "regions-shard.1-of-2", "regions-shard.2-of-2"}
    with pytest.raises(ConfigError, match="--keep: the store is the shards' folder"):
        _call("merge", *shards, "--keep", "--out", store)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--images", "x"], "--images: give --detector too"),
        ([], "give --images DIR, or --config, --tables and --quality"),
        (["--images", "x", "--detector", "small", "--device", "tpu"], "extraction.device"),
        (["--images", "x", "--detector", "small", "--on-bad-image", "sleep"], "on_bad_image"),
        (["--images", "x", "--detector", "small", "--shard", "3/2"], "--shard 3/2: wanted I/N"),
    ],
)
def test_wrong_options_are_named(arguments: list[str], said: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["extract", "--out", str(tmp_path / "out"), *arguments])
    assert isinstance(result.exception, ConfigError) and said in str(result.exception)


@pytest.mark.slow
def test_a_missing_store_is_one_line_and_exit_2(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from vlp.cli import main; main()", "regions", "info", str(tmp_path / "no.h5")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("vlp: ") and "there is no region store" in done.stderr
    assert "Traceback" not in done.stderr


def test_annotate_export_import_manifest_stage_bound(config: Path, tmp_path: Path) -> None:
    import numpy as np

    from vlp.data.tables import write_table
    from vlp.regions.store import RegionWriter

    world = make(tmp_path / "toy", train=4, val=1, test=2)
    shards = tmp_path / "shards"
    for number, images in enumerate((world.images[:3], world.images[3:])):
        with RegionWriter(shards / f"{number}.h5", 4, ["disc", "square"], {"detector": "truth"}) as writer:
            for row in images:
                boxes = [o["box"] for o in world.objects if o["image_id"] == row["image_id"]]
                columns = (np.ones((len(boxes), 4)), boxes, np.zeros(len(boxes), int), np.ones(len(boxes)))
                writer.add(row["image_id"], (SIDE, SIDE), *columns)
    assert "2 files, 7 images, sha256 " in _call("manifest", shards)
    assert "4 images have ground-truth tags" in _call(
        "annotate", shards, "--tables", world.tables, "--out", tmp_path / "annotated"
    )
    local = Path(_call("stage", tmp_path / "annotated", tmp_path / "disk").splitlines()[-1])  # after the progress
    assert "7 of 7 images are whole" in _call("verify", local)
    damaged = tmp_path / "damaged"
    shutil.copytree(local, damaged)
    place = _place_of_boxes(damaged / "1.h5")
    with (damaged / "1.h5").open("r+b") as file:
        file.seek(place)
        file.write(b"\xff\xff")
    result = CliRunner().invoke(app, ["verify", str(damaged)])
    first = RegionStore(damaged).image_ids[3]  # the first of the second file
    assert result.exit_code == 1 and "6 of 7 images are whole" in result.output
    assert f"{damaged / '1.h5'}, row {first}: the bytes do not give the checksum" in result.output
    assert "images              7" in _call("info", local)
    assert "7 images" in _call("export", local, "--out", tmp_path / "tsv")
    again, quality = tmp_path / "again.h5", tmp_path / "quality.json"
    _call(
        *("import", "--config", config, "--set", f"regions.tsv={tmp_path / 'tsv'}", "--set", "data.name=toy"),
        *("--tables", world.tables, "--out", again, "--quality", quality),
    )
    before, after = RegionStore(local), RegionStore(again)
    assert after.image_ids == before.image_ids and after.facts["detector"] == "truth"
    for row in world.images:
        assert after.truth(row["image_id"]) == before.truth(row["image_id"])
        assert (after.truth(row["image_id"]) is not None) == (row["split"] == "train")
    test = next(o for o in world.objects if o["split"] == "test")
    phrase = {"phrase_id": "p", "caption_id": "c", "image_id": test["image_id"], "text": "it", "start": 0, "end": 2}
    write_table(
        world.tables, "phrase_boxes", [{**phrase, "phrase_type": "other", "boxes": [test["box"]], "split": "test"}]
    )
    text = _call("bound", "--config", config, again, "--tables", world.tables, "--out", tmp_path / "bounds.csv")
    assert "test  IoU > 0.5, any box, all regions: 100.00 [100.00, 100.00], 1 phrases" in text
    assert (tmp_path / "bounds.csv").read_text().startswith("method,variant,stage")
