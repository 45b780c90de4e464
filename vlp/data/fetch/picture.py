"""What came from an address: does it decode whole, is it a picture, and as JPEG no larger than wanted."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass

from PIL import Image, ImageOps

from vlp.data.fetch.client import Status

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
        with Image.open(io.BytesIO(body), formats=_FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:
                return Picture(Status.TOO_LARGE, f"{image.width} x {image.height} pixels", digest, size)
            if min(image.size) < SMALLEST:
                return Picture(Status.TOO_SMALL, f"{image.width} x {image.height} pixels", digest, size)
            image.load()
            turned = image.getexif().get(0x0112, 1) != 1
            if image.format == "JPEG" and image.mode == "RGB" and max(image.size) <= side and not turned:
                return Picture(Status.OK, "", digest, size, *image.size, body)
            whole = ImageOps.exif_transpose(image)
            if whole.mode in ("RGBA", "LA", "PA", "P"):
                # on white, as a page shows it
                whole = Image.alpha_composite(Image.new("RGBA", whole.size, "white"), whole.convert("RGBA"))
            whole = whole.convert("RGB")
            whole.thumbnail((side, side), Image.Resampling.LANCZOS)
            out = io.BytesIO()
            whole.save(out, "JPEG", quality=QUALITY)
            return Picture(Status.OK, "", digest, size, *whole.size, out.getvalue())
    except Image.DecompressionBombError as error:
        return Picture(Status.TOO_LARGE, str(error), digest, size)
    except Exception as error:  # Pillow raises nearly anything on damaged bytes
        what = str(error).split(" <")[0] or type(error).__name__
        return Picture(Status.NOT_AN_IMAGE, what[:200], digest, size)
