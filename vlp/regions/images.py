"""Images of the tables as pixels; what cannot be read is counted and named, or ends the command."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vlp.data.archives import open_binary
from vlp.errors import InputError

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


def read_image(record: ImageRecord) -> Tensor:
    """The pixels -> [3,H,W] uint8; H, W of the file, which may be a smaller copy of the image the table tells of.

    Raises:
        ImageError: the file is missing, cut short, no image, or has other proportions than the table says.
    """
    try:
        with open_binary(record.path) as file, Image.open(file) as image:
            pixels = np.asarray(image.convert("RGB"))
    except FileNotFoundError as error:
        raise ImageError("the image file is missing") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ImageError(
            f"the image cannot be read ({str(error).replace(str(record.path), record.path.name)})"
        ) from error
    height, width = pixels.shape[:2]
    stretch = (width / record.width) / (height / record.height)
    if abs(stretch - 1) > _MAX_STRETCH:
        raise ImageError(f"the image has {width} x {height} pixels, the table says {record.width} x {record.height}")
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).contiguous()


def scale_to(record: ImageRecord, pixels: Tensor) -> Tensor:
    """[4]: what takes a box in the file's pixels to the pixels the table speaks of."""
    height, width = pixels.shape[-2:]
    return torch.tensor([record.width / width, record.height / height] * 2)


def to_float(pixels: Tensor) -> Tensor:
    """uint8 -> float32 in [0,1]."""
    return pixels.float() / 255
