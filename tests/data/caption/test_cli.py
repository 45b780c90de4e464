"""`vlp data images`, `caption`, `merge-captions`, and the reader that takes what they write."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from tests.data import corpora
from tests.data.caption.tiny import directory, photos
from vlp.cli.data import app
from vlp.config import load
from vlp.data.readers import named_files, read_experiment, source_files
from vlp.data.tables import rows
from vlp.errors import ConfigError
from vlp.launch import record


def call(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def captioner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return directory("vision-encoder-decoder", tmp_path_factory.mktemp("models") / "captioner")


@pytest.fixture
def config(tmp_path: Path, captioner: Path) -> Path:
    """OpenImages and what lies beside it; its captions are to be made, in two shards."""
    base = corpora.write(tmp_path / "raw")
    photos(tmp_path / "more", 4)
    for number, name in enumerate(("0a1b.jpg", "0c2d.jpg")):
        (base / "openimages" / "images" / name).write_bytes((tmp_path / "more" / f"{number + 1}.png").read_bytes())
    value = corpora.experiment(base).model_dump(mode="json", exclude_unset=True)
    own = value["data"]["sets"]["openimages"]
    del own["texts"]
    own["captioner"] = {"model": str(captioner), "max_tokens": 6, "shards": 2, "batch_size": 1}
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(value))
    return path


def test_a_folder_in_shards(captioner: Path, tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos", 7)
    common = ("caption", "--model", captioner, "--images", folder, "--max-tokens", 5, "--batch-size", 2)
    files = [tmp_path / f"{number}.jsonl" for number in (1, 2)]
    text = "".join(call(*common, "--shard", f"{n}/2", "--out", path) for n, path in enumerate(files, 1))
    assert "captions of 3 images" in text and "skipped 3.png: the image cannot be read" in text
    assert "captions of 7 images" in call("merge-captions", *files, "--out", tmp_path / "all.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]
    names = [line["image_id"] for line in lines]
    assert names == [f"{n}.png" for n in (0, 1, 2, 4, 5, 6)] and all(line["caption"] for line in lines)


def test_the_experiment_reads_what_its_captioner_writes(config: Path, tmp_path: Path) -> None:
    chosen = load(config)
    made = chosen.captions_of("openimages")
    assert made == (tmp_path / "results" / "several" / "captions" / "openimages.jsonl").resolve()
    assert made not in named_files(chosen)
    assert "openimages.texts.captions" not in source_files(chosen, made=False)
    listed = [path.name for path in named_files(chosen, of="openimages")]
    assert listed == ["train-images.csv", "validation-images.csv"]
    tables = made.parent / "openimages"
    assert "2 images" in call("images", "--config", config, "--dataset", "openimages", "--out", tables)
    files = [tables / f"{number}-of-2.jsonl" for number in (1, 2)]
    common = ("caption", "--config", config, "--dataset", "openimages", "--tables", tables)
    for number, path in enumerate(files, 1):
        call(*common, "--shard", f"{number}/2", "--out", path)
    call("merge-captions", *files, "--config", config, "--out", made)
    read_experiment(chosen, tmp_path / "tables")
    found = {r["caption_id"]: r["text"] for r in rows(tmp_path / "tables", "captions")}
    told = [json.loads(line) for line in made.read_text().splitlines()]
    assert [line["image_id"] for line in told] == ["openimages/0a1b", "openimages/0c2d"]
    assert {f"{line['image_id']}#t{n}": line["caption"] for n, line in enumerate(told, 1)}.items() <= found.items()
    journals = {path.stem for path in (tmp_path / "results" / "several" / "journals").glob("*.jsonl")}
    expected = {"caption.openimages", "caption.openimages.1-of-2", "caption.openimages.2-of-2"}
    assert journals == expected | {"caption-images.openimages"}


@pytest.mark.slow
def test_a_job_writes_the_same(config: Path, tmp_path: Path) -> None:
    folder = tmp_path / "results" / "several"
    tables = folder / "captions" / "openimages"
    call("images", "--config", config, "--dataset", "openimages", "--out", tables)
    common = ("caption", "--config", config, "--dataset", "openimages", "--tables", tables, "--shard", "2/2")
    call(*common, "--out", tmp_path / "here.jsonl")
    call(*common, "--out", tmp_path / "job.jsonl", "--set", "launch.captioning.executor=local")
    assert (tmp_path / "job.jsonl").read_bytes() == (tmp_path / "here.jsonl").read_bytes()
    last = record.read(folder / "runs" / "caption.openimages.2-of-2")
    assert last is not None and (last.executor, last.status) == ("local", "taken")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give --images DIR or --tables DIR"),
        (["--images", "x", "--tables", "y"], "give --images DIR or --tables DIR"),
        (["--images", "x"], "give --model, or --config and --dataset"),
        (["--images", "x", "--config", "CONFIG"], "--config: give --dataset too"),
        (["--images", "x", "--config", "CONFIG", "--dataset", "gqa"], "data set gqa has no captioner"),
        (["--images", "x", "--model", "m", "--beams", "0"], "beams"),
        (["--images", "x", "--model", "m", "--on-bad-image", "cry"], "skip or stop"),
        (["--images", "x", "--model", "m", "--shard", "3/2"], "wanted I/N"),
    ],
)
def test_wrong_options_are_named(config: Path, arguments: list[str], message: str) -> None:
    given = [str(config) if a == "CONFIG" else a for a in arguments]
    with pytest.raises(ConfigError, match=message):
        CliRunner().invoke(app, ["caption", "--out", "o.jsonl", *given], catch_exceptions=False)


def test_a_captioner_beside_texts_is_refused(config: Path) -> None:
    value = yaml.safe_load(config.read_text())
    value["data"]["sets"]["openimages"]["texts"] = corpora.SETS["openimages"]["texts"]
    config.write_text(yaml.safe_dump(value))
    with pytest.raises(ConfigError, match=r"sets\.openimages\.captioner: writes the `texts`; name one of the two"):
        load(config)
