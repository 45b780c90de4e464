"""Images of the tables as pixels; what cannot be read is counted and named, or ends the command."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from vlp.archives import open_binary
from vlp.errors import InputError
from vlp.images import jpeg
from vlp.images.heard import listening
from vlp.images.modes import from_array, to_rgb, widened

TURNED = "turned upright, as its EXIF data say"
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


class TooLargeError(ImageError):
    """More pixels than Pillow opens."""


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


@dataclass(frozen=True)
class Decoded:
    image: Image.Image
    """RGB, upright; with `small` of a grey JPEG, L."""
    notes: tuple[str, ...] = ()
    """What was decided, and what the decoder warned of."""
    format: str | None = None
    mode: str = ""
    """Of the file."""

    @property
    def turned(self) -> bool:
        return TURNED in self.notes


@dataclass(frozen=True)
class Header:
    size: tuple[int, int]
    """Width, height of the upright picture."""
    format: str | None


def decode(
    source: Path | bytes, formats: tuple[str, ...] | None = None, small: tuple[int, int] | None = None
) -> Decoded:
    """The picture of a file, of a member of an archive, or of bytes: the one place where images are opened.

    Upright, as its EXIF data say, since annotations refer to what people saw; RGB as `modes.to_rgb` makes it; of an
    animation the first picture. A JPEG that was cut is damaged, whatever stands at its end, unless what is missing lies
    in its last block.

    Args:
        formats: Pillow's names of those that may be; None: all.
        small: (width, height): a JPEG may be decoded at a fraction, no smaller than this and in grey, many times as
            fast.

    Raises:
        ImageError: missing, damaged, no image, or numbers that are no grey levels.
    """
    with _said(source), listening() as heard:
        data = source if isinstance(source, bytes) else _bytes(source)
        with Image.open(io.BytesIO(data), formats=formats) as opened:
            width, mode, form = opened.width, opened.mode, opened.format
            if small is not None:
                opened.draft("L", small)
            opened.load()
            if form in ("JPEG", "MPO"):
                _check_jpeg(data, opened, width, small)
            image = upright(opened, heard)
            image = image if small is not None and image.mode == "L" else to_rgb(image, heard)
    return Decoded(image, tuple(dict.fromkeys(heard)), form, mode)


def header(source: Path | bytes, formats: tuple[str, ...] | None = None) -> Header:
    """What the first bytes tell; errors as `decode`."""
    with (
        _said(source),
        listening(),
        open_binary(source) if isinstance(source, Path) else io.BytesIO(source) as file,
        Image.open(file, formats=formats) as opened,
    ):
        width, height = opened.size
        # a TIFF's size is upright already
        turned = opened.format != "TIFF" and _orientation(opened, []) in _SIDEWAYS
        return Header((height, width) if turned else (width, height), opened.format)


def from_memory(picture: Image.Image | NDArray[Any]) -> Decoded:
    """A picture of Pillow's, upright and in RGB, or an array (`modes.from_array`).

    Raises:
        ImageError: neither; no pixel; a file that is damaged; numbers that are no grey levels.
    """
    with _said(None), listening() as heard:
        if isinstance(picture, np.ndarray):
            image, mode = from_array(picture, heard), str(picture.dtype)
        elif isinstance(picture, Image.Image):
            if 0 in picture.size:
                raise ImageError(f"the image has {picture.width} x {picture.height} pixels")
            _check_lazy(picture)
            picture.load()
            image, mode = to_rgb(upright(picture, heard), heard), picture.mode
        else:
            kind = type(picture)
            raise ImageError(f"{kind.__module__}.{kind.__qualname__} is no image: wanted a file, a PIL image, an array")
    return Decoded(image, tuple(dict.fromkeys(heard)), None, mode)


def upright(image: Image.Image, notes: list[str]) -> Image.Image:
    """The image, turned as its EXIF data say, of which `notes` gets a word."""
    turn = _TURNS.get(_orientation(image, notes))
    if turn is None:
        return image
    notes.append(TURNED)
    turned = image.transpose(turn)
    turned.format = image.format
    return turned


def open_rgb(path: Path) -> Image.Image:
    """As `decode`."""
    return decode(path).image


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = range(5, 9)


def _orientation(image: Image.Image, notes: list[str]) -> int:
    """EXIF's, 1 where there is none or it cannot be read."""
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:  # damaged EXIF data of a sound picture
        notes.append("its EXIF data are damaged: taken as it lies in the file")
        return 1


def _check_jpeg(data: bytes, raw: Image.Image, width: int, small: tuple[int, int] | None) -> None:
    """Raises ImageError: the data end before the picture."""
    found = jpeg.scans(data)
    if found is None:
        raise ImageError("the image is cut: it has no end mark")
    if found.lacking:
        raise ImageError("the image is cut: scans of it are missing")
    if found.simple and not jpeg.ends_grey(raw, width):
        return
    if small is not None:  # at a fraction of its size not every change is seen
        with Image.open(io.BytesIO(data)) as raw:
            raw.load()
    with Image.open(io.BytesIO(jpeg.filled(data, found))) as again:
        if again.tobytes() != raw.tobytes():
            raise ImageError("the image is cut: its data end before the picture")


def _check_lazy(picture: Any) -> None:
    """A JPEG that Pillow has not read yet is looked at as a file is."""
    file = getattr(picture, "fp", None)
    if getattr(picture, "tile", None) and picture.format in ("JPEG", "MPO") and file is not None and file.seekable():
        at = file.tell()
        file.seek(0)
        data = file.read()
        file.seek(at)
        decode(data)


@contextmanager
def _said(source: Path | bytes | None) -> Iterator[None]:
    """Pillow raises nearly anything on a damaged file; what it says holds addresses of objects and paths."""
    try:
        yield
    except (ImageError, InputError):
        raise
    except FileNotFoundError as error:
        raise ImageError("the image file is missing") from error
    except Image.DecompressionBombError as error:
        raise TooLargeError(f"the image cannot be read ({error})") from error
    except Exception as error:
        what = str(error)
        if isinstance(source, Path):
            what = what.replace(str(source), source.name)
        what = re.sub(r" *<[^>]*>", "", what) or type(error).__name__
        raise ImageError(f"the image cannot be read ({what})") from error


def _bytes(path: Path) -> bytes:
    with open_binary(path) as file:
        return file.read()


def open_image(record: ImageRecord) -> Image.Image:
    """The image of `decode_image`."""
    return decode_image(record).image


def decode_image(record: ImageRecord) -> Decoded:
    """The image in RGB, in the file's size, which may be a smaller copy of the image the table tells of.

    Raises:
        ImageError: as `decode`; or the image has other proportions than the table says.
    """
    found = decode(record.path)
    image = found.image
    width, height = image.size
    if stretched(image.size, (record.width, record.height)):
        raise ImageError(f"the image has {width} x {height} pixels, the table says {record.width} x {record.height}")
    return found


def stretched(size: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether two sizes (width, height) have so unlike proportions that they are not of one image."""
    return abs((size[0] / other[0]) / (size[1] / other[1]) - 1) > _MAX_STRETCH


def read_image(record: ImageRecord) -> Tensor:
    """The pixels of `open_image` -> [3,H,W] uint8, for a detector (`modes.widened`). Raises ImageError."""
    return to_pixels(widened(open_image(record)))


def to_pixels(image: Image.Image) -> Tensor:
    """-> [3,H,W] uint8"""
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).contiguous()


def scale_to(record: ImageRecord, pixels: Tensor) -> Tensor:
    """[4]: what takes a box in the file's pixels to the pixels the table speaks of."""
    height, width = pixels.shape[-2:]
    return torch.tensor([record.width / width, record.height / height] * 2)


def to_float(pixels: Tensor) -> Tensor:
    """uint8 -> float32 in [0,1]."""
    return pixels.float() / 255
