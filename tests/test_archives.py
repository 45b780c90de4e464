"""Images inside tar archives are found, measured and read as files are."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vlp.archives import members, open_binary
from vlp.data.readers.image_files import Folders, Probed, probe
from vlp.errors import ConfigError, InputError
from vlp.images.decode import ImageError, ImageRecord, read_image


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    with tarfile.open(tmp_path / "images.tar", "w") as tar:
        for i, name in enumerate(("./top.png", "a/one.png", "a/two.jpg")):
            data = io.BytesIO()
            Image.new("RGB", (20 + i, 10), (200, i, 0)).save(data, {"png": "PNG", "jpg": "JPEG"}[name[-3:]])
            member = tarfile.TarInfo(name)
            member.size = data.tell()
            data.seek(0)
            tar.addfile(member, data)
    return tmp_path / "images.tar"


def _record(path: Path, width: int) -> ImageRecord:
    return ImageRecord("t/1", path, width, 10, "train")


def test_members_are_read_as_files(archive: Path) -> None:
    assert sorted(members(archive)) == ["a/one.png", "a/two.jpg", "top.png"]
    pixels = read_image(_record(archive / "a/one.png", 21))
    assert pixels.shape == (3, 10, 21) and pixels[:, 0, 0].tolist() == [200, 1, 0]
    assert probe(archive / "a/two.jpg") == Probed((22, 10), ())
    with open_binary(archive / "top.png") as file, Image.open(file) as image:
        assert np.asarray(image).shape == (10, 20, 3)


def test_an_image_folder_may_be_an_archive(archive: Path) -> None:
    folders = Folders(archive.parent, ["images.tar", "images.tar/a"])
    assert folders.find(["one.png"]) == archive / "a/one.png"
    assert folders.find(["none.png", "top.png"]) == archive / "top.png"
    assert folders.find(["none.png"]) is None
    with pytest.raises(ConfigError, match="there is no folder"):
        Folders(archive.parent, ["other.tar"])


def test_what_is_missing_or_damaged_is_named(archive: Path) -> None:
    with pytest.raises(ImageError, match="the image file is missing"):
        read_image(_record(archive / "a/none.png", 20))
    whole = archive.read_bytes()
    archive.write_bytes(whole[: members(archive)["a/two.jpg"][0] + 100])
    with pytest.raises(InputError, match=r"images\.tar.*(not a whole tar file|cut short)"):
        open_binary(archive / "a/two.jpg")
    archive.write_bytes(b"no archive at all" * 100)
    with pytest.raises(InputError, match=r"images\.tar: not a whole tar file"):
        open_binary(archive / "top.png")


@pytest.mark.parametrize("kind", ["old", "new"])
def test_a_sparse_member_is_refused(tmp_path: Path, kind: str) -> None:
    """Its bytes do not lie in one piece: read as others are, they are wrong."""
    archive, header = tmp_path / "a.tar", tarfile.TarInfo("sparse.jpg")
    if kind == "old":
        header.type = tarfile.GNUTYPE_SPARSE
    else:
        header.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9"}
        header.size = 512
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(header, io.BytesIO(b"1\n0\n1\n".ljust(512, b"\0")))
    with pytest.raises(InputError, match="sparse member"):
        open_binary(archive / "sparse.jpg")


def test_a_fifo_and_a_device_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(OSError, match="is no plain file"):
            open_binary(path)
