"""What came from an address: does it decode whole, is it a picture, and as JPEG no larger than wanted."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass

from PIL import Image

from vlp.data.fetch.client import Status
from vlp.images.decode import ImageError, TooLargeError, decode, header

SMALLEST = 32
"""Pixels of the shorter side: below it stand counters and blanks."""
MOST_PIXELS = 100_000_000
QUALITY = 92
_FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")


@dataclass(frozen=True)
class Picture:
    status: Status
    detail: str
    sha256: str
    """Of what came."""
    bytes: int
    """Of what came."""
    width: int | None = None
    height: int | None = None
    data: bytes = b""
    """JPEG."""


def check(body: bytes, side: int) -> Picture:
    """Decode `body` whole; a JPEG in RGB that is small enough is kept as it is, all else is encoded again.

    Args:
        side: the longer side of the result, at most, in pixels.
    """
    digest, size = hashlib.sha256(body).hexdigest(), len(body)
    try:
        width, height = header(body, _FORMATS).size
        if width * height > MOST_PIXELS:
            return Picture(Status.TOO_LARGE, f"{width} x {height} pixels", digest, size)
        if min(width, height) < SMALLEST:
            return Picture(Status.TOO_SMALL, f"{width} x {height} pixels", digest, size)
        found = decode(body, _FORMATS)
        whole = found.image
        if found.format == "JPEG" and found.mode == "RGB" and max(whole.size) <= side and not found.turned:
            return Picture(Status.OK, "", digest, size, *whole.size, body)
        whole.thumbnail((side, side), Image.Resampling.LANCZOS)
        out = io.BytesIO()
        whole.save(out, "JPEG", quality=QUALITY)
        return Picture(Status.OK, "", digest, size, *whole.size, out.getvalue())
    except TooLargeError as error:
        return Picture(Status.TOO_LARGE, str(error), digest, size)
    except ImageError as error:
        return Picture(Status.NOT_AN_IMAGE, str(error)[:200], digest, size)
