"""Images of the tables as pixels; what cannot be read is counted and named, or ends the command."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vlp.archives import members, open_binary
from vlp.errors import InputError

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")
_MAX_STRETCH = 0.02


@dataclass(frozen=True)
class ImageRecord:
    """A row of the `images` table, its path made absolute or relative to the working directory."""

    image_id: str
    path: Path
    width: int
    height: int
    split: str


class ImageError(Exception):
    """An image that cannot be used; the message is the reason."""


@dataclass
class Skipped:
    """Counts what is left out; ends the command where the config says `regions.on_bad_image: stop`."""

    mode: Literal["skip", "stop"]
    images: list[dict[str, str]] = field(default_factory=list)

    def add(self, record: ImageRecord, file: Path, reason: str) -> None:
        """Raises InputError: the config says stop."""
        if self.mode == "stop":
            raise InputError(
                file, f"{reason}.", "Mend the file, or set regions.on_bad_image: skip.", row=record.image_id
            )
        self.images.append({"image_id": record.image_id, "file": str(file), "reason": reason})


def records(rows: Iterable[Mapping[str, Any]], root: Path) -> list[ImageRecord]:
    """Rows of the `images` table -> records, in the table's order."""
    return [ImageRecord(r["image_id"], root / r["path"], r["width"], r["height"], r["split"]) for r in rows]


def open_rgb(path: Path) -> Image.Image:
    """The image of a file, or of a member of an archive, in RGB.

    Raises:
        ImageError: the file is missing, cut short or no image.
    """
    try:
        with open_binary(path) as file, Image.open(file) as opened:
            image = opened.convert("RGB")
    except FileNotFoundError as error:
        raise ImageError("the image file is missing") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ImageError(f"the image cannot be read ({str(error).replace(str(path), path.name)})") from error
    return image


def open_image(record: ImageRecord) -> Image.Image:
    """The image in RGB, in the file's size, which may be a smaller copy of the image the table tells of.

    Raises:
        ImageError: the file is missing, cut short, no image, or has other proportions than the table says.
    """
    image = open_rgb(record.path)
    width, height = image.size
    if stretched(image.size, (record.width, record.height)):
        raise ImageError(f"the image has {width} x {height} pixels, the table says {record.width} x {record.height}")
    return image


def stretched(size: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether two sizes (width, height) have so unlike proportions that they are not of one image."""
    return abs((size[0] / other[0]) / (size[1] / other[1]) - 1) > _MAX_STRETCH


def read_image(record: ImageRecord) -> Tensor:
    """The pixels of `open_image` -> [3,H,W] uint8. Raises ImageError."""
    return to_pixels(open_image(record))


def to_pixels(image: Image.Image) -> Tensor:
    """-> [3,H,W] uint8"""
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).contiguous()


def in_folder(folder: Path, dataset: str) -> list[tuple[str, Path]]:
    """The image files below `folder`, by name, each with its id: `dataset`/path without suffix.

    Members of tar archives count as files that lie beside the archive; `folder` may be an archive itself.

    Raises:
        InputError: there is none, two differ in nothing but the suffix, an archive is damaged.
    """
    if not folder.is_dir() and not _is_archive(folder):
        raise InputError(folder, "there is no such folder or tar archive.", "Name the folder that holds the images.")
    found: dict[str, Path] = {}
    for name, path in _image_files(folder):
        image_id = f"{dataset}/{name.with_suffix('').as_posix()}"
        if image_id in found:
            one, other = (file.relative_to(folder).as_posix() for file in (found[image_id], path))
            problem = f"{one} and {other} would have the same id."
            raise InputError(folder, problem, "Rename one of the two, or move it away.", row=image_id)
        found[image_id] = path
    if not found:
        raise InputError(folder, f"no image ({', '.join(SUFFIXES)}) in it.", "Name the folder that holds the images.")
    return list(found.items())


def _image_files(folder: Path) -> Iterator[tuple[PurePosixPath, Path]]:
    """Name within `folder` and path of each image; that of a member goes through its archive."""
    for path in [folder] if _is_archive(folder) else sorted(folder.rglob("*")):
        if _is_archive(path):
            inner = PurePosixPath() if path == folder else PurePosixPath(path.relative_to(folder).parent)
            names = (PurePosixPath(name) for name in sorted(members(path)))
            yield from ((inner / name, path / name) for name in names if name.suffix.lower() in SUFFIXES)
        elif path.suffix.lower() in SUFFIXES and path.is_file():
            yield PurePosixPath(path.relative_to(folder)), path


def _is_archive(path: Path) -> bool:
    return path.suffix == ".tar" and path.is_file()


def measured(files: Iterable[tuple[str, Path]], skipped: Skipped) -> list[ImageRecord]:
    """Records of image files, sizes read from their headers; a file without a readable one goes to `skipped`."""
    made = []
    for image_id, path in files:
        try:
            with open_binary(path) as file, Image.open(file) as image:
                made.append(ImageRecord(image_id, path, *image.size, split=""))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            reason = f"the image cannot be read ({str(error).replace(str(path), path.name)})"
            skipped.add(ImageRecord(image_id, path, 0, 0, ""), path, reason)
    return made


def scale_to(record: ImageRecord, pixels: Tensor) -> Tensor:
    """[4]: what takes a box in the file's pixels to the pixels the table speaks of."""
    height, width = pixels.shape[-2:]
    return torch.tensor([record.width / width, record.height / height] * 2)


def to_float(pixels: Tensor) -> Tensor:
    """uint8 -> float32 in [0,1]."""
    return pixels.float() / 255
