"""The pictures of the images table, by id."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlp.archives import open_binary
from vlp.errors import InputError
from vlp.images.decode import ImageError, ImageRecord, open_image, records

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Pictures:
    """Opens images; sizes and boxes of the tables are in pixels of the original, which a file may be a copy of."""

    found: Mapping[str, ImageRecord]

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, Any]], root: Path) -> Pictures:
        """Those of rows of the `images` table, whose paths are relative to `root`."""
        return cls({r.image_id: r for r in records(rows, root)})

    @cached_property
    def _number(self) -> dict[str, int]:
        return {image_id: number for number, image_id in enumerate(self.found)}

    def index(self, image_id: str) -> int:
        """A number of the image: equal numbers are the same image."""
        self.record(image_id)
        return self._number[image_id]

    def record(self, image_id: str) -> ImageRecord:
        """Raises InputError: the table does not know the image."""
        if image_id not in self.found:
            raise InputError("images", "the table has no such image.", "Read the tables again.", row=image_id)
        return self.found[image_id]

    def open(self, image_id: str) -> Image:
        """In RGB. Raises InputError: the file is missing, damaged, or has other proportions than the table says."""
        record = self.record(image_id)
        try:
            return open_image(record)
        except ImageError as error:
            remedy = "Mend the file, or leave the image out of the tables."
            raise InputError(record.path, f"{error}.", remedy, row=image_id) from error


def open_picture(path: str | Path) -> Image:
    """The image, upright (as its EXIF data say) and in RGB. Raises InputError: missing, or not an image."""
    from PIL import Image, ImageOps

    try:
        with open_binary(Path(path)) as file, Image.open(file) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except FileNotFoundError as error:
        raise InputError(path, "there is no such image.", "Check the path.") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        said = str(error).replace(str(path), Path(path).name)
        raise InputError(path, f"the image cannot be read ({said}).", "Give a whole JPEG or PNG file.") from error
