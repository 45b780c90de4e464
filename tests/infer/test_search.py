"""`vlp search` as a user calls it, and its order against scoring each pair by itself."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from tests.infer.lab import Lab
from vlp.cli.search import app
from vlp.errors import InputError
from vlp.files import read_json
from vlp.infer import Predictor
from vlp.infer.search import lines, of_store

pytestmark = pytest.mark.slow

TEXT = "a red square above a blue disc"


def search(*arguments: Any) -> Any:
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture
def folder(lab: Lab, tmp_path: Path) -> Path:
    """Three images of the lab, one of them in a folder below."""
    (tmp_path / "pictures" / "below").mkdir(parents=True)
    files = sorted((lab.world.folder / "raw").glob("*.png"))[:3]
    for file, name in zip(files, ("a.png", "b.png", "below/c.png"), strict=True):
        shutil.copyfile(file, tmp_path / "pictures" / name)
    return tmp_path / "pictures"


def test_images_come_in_the_order_of_their_match(lab: Lab, predictor: Predictor, folder: Path, tmp_path: Path) -> None:
    (folder / "broken.jpg").write_bytes(b"no picture")
    out, json = tmp_path / "found.png", tmp_path / "found.json"
    done = search("--model", lab.model("stage2"), "--images", folder, TEXT, "--out", out, "--json", json)
    assert done.exit_code == 0, done.output
    hits = read_json(json)["hits"]
    alone = {name: predictor(folder / name, TEXT) for name in ("a.png", "b.png", "below/c.png")}
    assert [h["name"] for h in hits] == sorted(alone, key=lambda n: -alone[n].match)
    for hit in hits:
        assert hit["match"] == pytest.approx(alone[hit["name"]].match, abs=1e-4)
        assert hit["cosine"] == pytest.approx(alone[hit["name"]].cosine, abs=1e-4)
    assert "left out" in done.stderr and "broken.jpg" in done.stderr
    with Image.open(out) as page:
        assert page.width > 1000 and len(set(page.convert("L").tobytes())) > 20


def test_only_the_kept_candidates_are_shown(lab: Lab, folder: Path, tmp_path: Path) -> None:
    options = ("--top", 1, "--keep", 1, "--out", tmp_path / "x.png", "--json", tmp_path / "x.json")
    assert search("--model", lab.model("stage2"), "--images", folder, TEXT, *options).exit_code == 0
    one = read_json(tmp_path / "x.json")["hits"]
    assert search("--model", lab.model("stage2"), "--images", folder, TEXT, *options[2:]).exit_code == 0
    every = read_json(tmp_path / "x.json")["hits"]
    assert len(every) == 3
    assert [h["name"] for h in one] == [max(every, key=lambda h: h["cosine"])["name"]]


def test_texts_of_an_image_also_from_a_store(lab: Lab, predictor: Predictor, tmp_path: Path) -> None:
    image_id, file = lab.image()
    texts = tmp_path / "texts.txt"
    texts.write_text(f"{TEXT}\n\n a small red disc \n{TEXT}\n")
    assert lines(texts) == [TEXT, "a small red disc"]
    common = ("--model", lab.model("stage2"), "--image", file, "--texts", texts, "--out", tmp_path / "x.png")
    done = search(*common, "--json", tmp_path / "x.json")
    assert done.exit_code == 0, done.output
    hits = read_json(tmp_path / "x.json")["hits"]
    alone = {t: predictor(file, t).match for t in lines(texts)}
    assert [h["name"] for h in hits] == sorted(alone, key=lambda t: -alone[t])
    stored = search(*common, "--regions", lab.paths.regions, "--json", tmp_path / "y.json")
    assert stored.exit_code == 0, stored.output
    wanted = {t: predictor(None, t, regions=lab.paths.regions, image_id=image_id).match for t in alone}
    for hit in read_json(tmp_path / "y.json")["hits"]:
        assert hit["match"] == pytest.approx(wanted[hit["name"]], abs=1e-4)


def test_what_cannot_be_searched_is_said(lab: Lab, folder: Path, tmp_path: Path) -> None:
    model, empty = lab.model("stage2"), tmp_path / "empty"
    empty.mkdir()
    (tmp_path / "none.txt").write_text("\n")
    cases = [
        (("--model", model, "--images", empty, TEXT), "holds no image"),
        (("--model", model, "--images", tmp_path / "gone", TEXT), "there is no such folder"),
        (("--model", model, "--image", folder / "a.png", "--texts", tmp_path / "none.txt"), "holds no text"),
        (("--model", lab.model("vqa"), "--images", folder, TEXT), "does not score matches"),
        (("--model", model, "--images", folder, TEXT, "--regions", lab.paths.regions), "it has none of the images"),
    ]
    for arguments, wanted in cases:
        done = search(*arguments, "--out", tmp_path / "x.png")
        assert isinstance(done.exception, InputError) and wanted in str(done.exception), done.output
    assert search("--model", model).exit_code == 2


@dataclass
class Stored:
    """What of a region store `of_store` asks for."""

    sizes: dict[str, tuple[int, int]]
    path: Path = Path("r.h5")

    @property
    def image_ids(self) -> list[str]:
        return list(self.sizes)

    def image_size(self, image_id: str) -> tuple[int, int]:
        return self.sizes[image_id]


def _files(folder: Path, *names: str, size: tuple[int, int] = (60, 40)) -> list[Path]:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size).save(folder / name)
    return [folder / name for name in names]


def test_a_picture_has_its_own_regions_and_no_others(tmp_path: Path) -> None:
    """Two files of one name in two folders are two images."""
    size = (60, 40)
    store = Stored({"set/a/1": size, "set/b/1": size, "set/2": size, "coco/000000000007": size})
    pictures = tmp_path / "pictures"
    files = _files(pictures, "a/1.png", "b/1.jpg", "c/1.png", "2.png", "COCO_val2014_000000000007.jpg")
    found = {i: path.relative_to(pictures).as_posix() for i, path in of_store(store, files, pictures).items()}
    assert found == {
        "set/a/1": "a/1.png", "set/b/1": "b/1.jpg", "set/2": "2.png",
        "coco/000000000007": "COCO_val2014_000000000007.jpg",
    }  # fmt: skip
    # an image alone, or a folder within, is told by the rest of its path
    for file in files[:2]:
        assert list(of_store(store, [file], file.parent).values()) == [file]
    (other,) = _files(tmp_path / "elsewhere", "1.png")
    with pytest.raises(InputError, match=r"1\.png: '1\.png' may be 'set/a/1', 'set/b/1' of r\.h5"):
        of_store(store, [other], other.parent)
    twice = _files(tmp_path / "twice", "x/2.png", "y/2.png")
    with pytest.raises(InputError, match=r"y/2\.png: this and .*x/2\.png may both be set/2"):
        of_store(store, twice, tmp_path / "twice")
    wrong = _files(tmp_path / "wrong", "2.png", size=(40, 60))
    with pytest.raises(InputError, match=r"2\.png: it has 40 x 60 pixels, set/2 of r\.h5 has 60 x 40"):
        of_store(store, wrong, tmp_path / "wrong")


def test_an_image_of_a_store_is_named_as_people_name_it(lab: Lab, predictor: Predictor) -> None:
    image_id, file = lab.image()
    wanted = predictor(None, TEXT, regions=lab.paths.regions, image_id=image_id)
    name = image_id.rpartition("/")[2]
    for called in (name, f"{name}.jpg", file.with_name(f"{name}.png").as_posix()):
        answer = predictor(file, TEXT, regions=lab.paths.regions, image_id=called)
        assert answer.match == wanted.match
    with pytest.raises(InputError, match="the image is not in the store"):
        predictor(None, TEXT, regions=lab.paths.regions, image_id="none")
