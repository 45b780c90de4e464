"""The pictures of the images table, by id."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlp.errors import InputError
from vlp.images.decode import Decoded, ImageError, ImageRecord, decode, from_memory, open_image, records

if TYPE_CHECKING:
    from numpy.typing import NDArray
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


def look(source: str | Path | Image | NDArray[Any]) -> Decoded:
    """A picture that someone hands over: a file, a picture of Pillow's, or an array (`modes.from_array`).

    Raises:
        InputError: missing, damaged, or no image.
    """
    is_file = isinstance(source, str | Path)
    try:
        return decode(Path(source)) if is_file else from_memory(source)
    except ImageError as error:
        remedy = "Give a whole JPEG or PNG file." if is_file else "Give another, or the image's file."
        remedy = "Check the path." if isinstance(error.__cause__, FileNotFoundError) else remedy
        raise InputError(source if is_file else "image", f"{error}.", remedy) from error


def open_picture(source: str | Path | Image | NDArray[Any]) -> Image:
    """The image of `look`: upright and in RGB."""
    return look(source).image
