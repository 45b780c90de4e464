"""Any picture or array -> RGB, 8 bits a channel: depth scaled, what is transparent on white."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_TO_8_BITS = 257
"""65535 / 255"""
_NARROWEST = 64
_KINDS = {np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.float64)}


def to_rgb(image: Image.Image, notes: list[str]) -> Image.Image:
    """-> RGB; `notes` gets what was decided.

    16-bit grey / 257; whole numbers of 32 bits count as 16-bit where one is above 255; floats as 0 to 1 where none is
    above 1, else as 0 to 255. CMYK as Pillow gives it, which undoes Adobe's inversion.

    Raises:
        ValueError: numbers beyond those ranges, or not finite; a mode that Pillow cannot convert.
    """
    if image.mode.startswith(("I", "F")):
        grey = Image.fromarray(levels(np.asarray(image), notes, image.format in ("PNG", "PPM")))
        key = image.info.get("transparency")
        if isinstance(key, int):
            grey.putalpha(Image.fromarray(np.where(np.asarray(image) == key, 0, 255).astype(np.uint8)))
        image = grey
    if image.mode == "La":
        image = _straight(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def levels(values: NDArray[Any], notes: list[str], is_16_bit: bool = False) -> NDArray[np.uint8]:
    """Numbers of any depth -> 0 to 255; errors and `notes` as `to_rgb`.

    Args:
        is_16_bit: whole numbers go to 65535, whatever the largest is.
    """
    if values.dtype == np.uint8:
        return values
    if not np.isfinite(values).all():
        raise ValueError("a number of it is not finite")
    low, high = float(values.min()), float(values.max())
    if values.dtype.kind == "f":
        if low < 0 or high > 255:
            raise ValueError(f"its numbers reach from {low:g} to {high:g}, wanted 0 to 1 or 0 to 255")
        notes.append(f"float numbers are taken as 0 to {1 if high <= 1 else 255}")
        return np.rint(values.astype(np.float64) * (255 if high <= 1 else 1)).astype(np.uint8)
    if low < 0 or high > 65535:
        raise ValueError(f"its numbers reach from {low:g} to {high:g}, wanted 0 to 65535")
    if values.dtype.itemsize > 2 and not is_16_bit:
        notes.append(f"numbers of 32 bits are taken as 0 to {65535 if high > 255 else 255}")
        if high <= 255:
            return values.astype(np.uint8)
    return ((values.astype(np.int64) + _TO_8_BITS // 2) // _TO_8_BITS).astype(np.uint8)


def from_array(values: NDArray[Any], notes: list[str]) -> Image.Image:
    """H x W, or H x W x 1, 3 or 4 (the fourth is alpha) of uint8, uint16 or float -> RGB.

    Raises:
        ValueError: another shape or type, or numbers out of range.
    """
    channels = values.shape[2] if values.ndim == 3 else 1
    if values.ndim not in (2, 3) or channels not in (1, 3, 4) or 0 in values.shape:
        shape = " x ".join(map(str, values.shape))
        raise ValueError(f"an array of {shape or 'no axis'}, wanted height x width, or height x width x 1, 3 or 4")
    if values.dtype.newbyteorder("=") not in _KINDS:
        raise ValueError(f"an array of {values.dtype}, wanted uint8, uint16 or float")
    found = levels(values, notes)
    return to_rgb(Image.fromarray(found[..., 0] if values.ndim == 3 and channels == 1 else found), notes)


def widened(image: Image.Image) -> Image.Image:
    """The image; one whose sides are as 1 to more than 64 is stretched to that: resized to what a detector or a
    captioner reads, nothing would be left of its shorter side."""
    width, height = image.size
    least = -(-max(width, height) // _NARROWEST)
    if min(width, height) >= least:
        return image
    return image.resize((max(width, least), max(height, least)), Image.Resampling.BILINEAR)


def _straight(image: Image.Image) -> Image.Image:
    """La -> LA, which Pillow does not convert."""
    bands = Image.frombytes("LA", image.size, image.tobytes()).split()
    grey, alpha = (np.asarray(band).astype(np.int64) for band in bands)
    level = np.where(alpha > 0, np.minimum(255, (grey * 255 + alpha // 2) // np.maximum(alpha, 1)), 0)
    made = Image.fromarray(level.astype(np.uint8))
    made.putalpha(Image.fromarray(alpha.astype(np.uint8)))
    return made
