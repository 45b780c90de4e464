"""Captions of a folder: order, resumption after a kill, bad images, damage, shards."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.data.caption.tiny import photos
from vlp.data.caption.finished import path_for
from vlp.data.caption.run import Result, caption, merge, record_of
from vlp.errors import InputError
from vlp.files import sha256
from vlp.images.decode import ImageRecord
from vlp.parts import shard


class KilledError(Exception):
    pass


class Sizes:
    """Tells an image's width; after `calls` batches it is killed."""

    def __init__(self, calls: int | None = None, **facts: Any) -> None:
        self.facts, self.calls, self.seen = {"model": "sizes", **facts}, calls, 0

    def __call__(self, images: Sequence[Image.Image]) -> list[str]:
        if self.calls is not None and self.seen == self.calls:
            raise KilledError
        self.seen += 1
        return ["" if image.width == 50 else f"{image.width} pixels – wide" for image in images]


def records(folder: Path) -> list[ImageRecord]:
    files = sorted(folder.glob("*.png"), key=lambda path: int(path.stem))
    return [ImageRecord(path.name, path, 0, 0, "") for path in files]


@pytest.fixture
def images(tmp_path: Path) -> list[ImageRecord]:
    return records(photos(tmp_path / "photos", 9))


def run(images: Sequence[ImageRecord], out: Path, model: Sizes | None = None, **more: Any) -> Result:
    return caption(model or Sizes(), images, out, batch_size=2, threads=2, **more)


def test_a_line_for_each_image_in_order_and_what_was_left_out(images: list[ImageRecord], tmp_path: Path) -> None:
    out = tmp_path / "captions.jsonl"
    result = run(images, out)
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert rows == [{"image_id": f"{n}.png", "caption": f"{50 + 7 * n} pixels – wide"} for n in (1, 2, 4, 5, 6, 7, 8)]
    assert [(row["image_id"], row["reason"].split("(")[0]) for row in result.skipped] == [
        ("0.png", "the captioner says nothing"),
        ("3.png", "the image cannot be read "),
    ]
    record = json.loads(record_of(out).read_text())
    assert (record["images"], record["captions"], record["sha256"]) == (9, 7, sha256(out))
    assert not path_for(out).exists()


@pytest.mark.parametrize("after", range(5))
def test_a_killed_run_goes_on_and_gives_the_same_bytes(images: list[ImageRecord], tmp_path: Path, after: int) -> None:
    whole, out = tmp_path / "whole.jsonl", tmp_path / "captions.jsonl"
    run(images, whole)
    with pytest.raises(KilledError):
        run(images, out, Sizes(after))
    assert not out.exists() and path_for(out).exists()
    again = Sizes()
    result = run(images, out, again)
    assert out.read_bytes() == whole.read_bytes()
    clean = [number for number in range(after) if number > 1]  # batches 0 and 1 have a bad image: tried again
    assert again.seen == 5 - len(clean) and result.resumed == 2 * len(clean)


def test_a_mended_image_is_captioned_by_the_next_run(images: list[ImageRecord], tmp_path: Path) -> None:
    out, whole = tmp_path / "captions.jsonl", images[3].path.with_name("4.png").read_bytes()
    with pytest.raises(KilledError):
        run(images, out, Sizes(4))
    images[3].path.write_bytes(whole)
    assert [row["image_id"] for row in run(images, out).skipped] == ["0.png"]
    assert '"3.png"' in out.read_text()


def test_torn_and_damaged_lines_are_done_again(images: list[ImageRecord], tmp_path: Path) -> None:
    whole, out = tmp_path / "whole.jsonl", tmp_path / "captions.jsonl"
    run(images, whole)
    with pytest.raises(KilledError):
        run(images, out, Sizes(4))
    journal = path_for(out)
    lines = journal.read_bytes().splitlines(keepends=True)
    assert len(lines) == 5
    lines[3] = lines[3].replace(b"pixels", b"pixets", 1)
    journal.write_bytes(b"".join(lines)[:-9])
    again = Sizes()
    run(images, out, again)
    assert out.read_bytes() == whole.read_bytes() and again.seen == 5


def test_another_captioner_or_other_images_begin_anew(images: list[ImageRecord], tmp_path: Path) -> None:
    out = tmp_path / "captions.jsonl"
    for model, left in ((Sizes(beams=2), images), (Sizes(), images[:-1])):
        with pytest.raises(KilledError):
            run(images, out, Sizes(4))
        assert run(left, out, model).resumed == 0


def test_stop_names_the_image_and_keeps_what_was_there(images: list[ImageRecord], tmp_path: Path) -> None:
    out = tmp_path / "captions.jsonl"
    out.write_text("before")
    with pytest.raises(InputError, match=r"3\.png, row 3\.png: the image cannot be read.*on_bad_record: skip"):
        run(images[1:], out, on_bad_image="stop")
    with pytest.raises(InputError, match=r"no image got a caption \(the first: the image cannot be read"):
        run(images[3:4], out)
    assert out.read_text() == "before"


def test_two_processes_do_not_write_one_file(images: list[ImageRecord], tmp_path: Path) -> None:
    out = tmp_path / "captions.jsonl"

    class Second(Sizes):
        def __call__(self, images: Sequence[Image.Image]) -> list[str]:
            with pytest.raises(InputError, match="another process is at work on it"):
                run(records(tmp_path / "photos"), out)
            return super().__call__(images)

    assert run(images, out, Second()).captions == 7


def shards(images: Sequence[ImageRecord], folder: Path, count: int) -> list[Path]:
    paths = [folder / f"{n}-of-{count}.jsonl" for n in range(1, count + 1)]
    for n, path in enumerate(paths, 1):
        run(shard(images, n, count), path, shard=(n, count))
    return paths


@pytest.mark.parametrize("count", [1, 2, 4])
def test_shards_give_the_captions_of_one_job(images: list[ImageRecord], tmp_path: Path, count: int) -> None:
    whole, out = tmp_path / "whole.jsonl", tmp_path / "captions.jsonl"
    one, result = run(images, whole), merge(shards(images, tmp_path / "s", count), out)
    assert out.read_bytes() == whole.read_bytes()
    assert (result.captions, result.images, result.skipped) == (one.captions, one.images, one.skipped)


def test_shards_that_do_not_fit_are_named(images: list[ImageRecord], tmp_path: Path) -> None:
    paths, out = shards(images, tmp_path / "s", 3), tmp_path / "captions.jsonl"
    with pytest.raises(InputError, match=r"shard 3/3 is missing.*caption --shard 3/3 again"):
        merge(paths[:2], out)
    with pytest.raises(InputError, match="a shard comes twice, or not in order"):
        merge([paths[1], paths[0], paths[2]], out)
    text = paths[1].read_text()
    paths[1].write_text(text.replace("wide", "high", 1))
    with pytest.raises(
        InputError, match=r"2-of-3\.jsonl: not the captions that its record tells of.*--shard 2/3 again"
    ):
        merge(paths, out)
    run(shard(images, 2, 3), paths[1], Sizes(beams=2), shard=(2, 3))
    with pytest.raises(InputError, match=r"2-of-3\.jsonl: made otherwise than 1-of-3\.jsonl: beams"):
        merge(paths, out)
    assert not out.exists()
