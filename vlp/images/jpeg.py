"""Whether a JPEG holds all of its picture.

Where the data end too soon, libjpeg fills the rest and says so in a warning that Pillow does not pass on: a file that
was cut and got an end mark opens without a word. What it shows is told apart here: sequential files end in grey then,
and in all others, bytes put before the end mark change the picture where it was not complete.
"""

from __future__ import annotations

import random
import re
import struct
from dataclasses import dataclass

from PIL import Image

_MARK = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])")
"""A marker other than a restart, which stands among a picture's data."""
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_START, _END, _SCAN = 0xD8, 0xD9, 0xDA
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
_FIRST_ARITHMETIC = 0xC9
_COEFFICIENTS = 64
_NOISE = bytes(random.Random(0).choices(range(255), k=256))
_GREY = 128
"""What a block without data becomes."""


@dataclass(frozen=True)
class Scans:
    end: int
    """Where the end mark stands."""
    simple: bool
    """One scan of Huffman codes: what is missing becomes grey."""
    lacking: bool
    """A component, or the last bits of its coefficients, is in no scan."""
    restarts: int
    """Of the last scan."""


def scans(data: bytes) -> Scans | None:
    """What the headers of a JPEG tell; None: it has no end mark."""
    at, count, frame, start = 2, 0, _START, 0
    bits: dict[int, list[int | None]] = {}
    while (found := _MARK.search(data, at)) is not None:
        kind, at = found[1][0], found.end()
        if kind == _END:
            lacking = any(b != 0 for component in bits.values() for b in component)
            simple = count == 1 and frame < _FIRST_ARITHMETIC and frame not in _PROGRESSIVE
            restarts = len(_RESTART.findall(data, start, found.start()))
            return Scans(found.start(), simple, lacking, restarts)
        if kind == _START or at + 2 > len(data):
            continue
        (length,) = struct.unpack_from(">H", data, at)
        segment = data[at + 2 : at + length]
        if kind in _FRAMES and len(segment) >= 6:
            frame = kind
            bits = {c: [None] * _COEFFICIENTS for c in segment[6::3]}
        elif kind == _SCAN and segment and len(segment) >= 4 + 2 * segment[0]:
            count, start = count + 1, at
            first, last, exactness = segment[1 + 2 * segment[0] : 4 + 2 * segment[0]]
            if frame not in _PROGRESSIVE:
                first, last, exactness = 0, _COEFFICIENTS - 1, 0
            for component in segment[1 : 1 + 2 * segment[0] : 2]:
                known = bits.get(component, [])
                known[first : last + 1] = [exactness & 15] * len(known[first : last + 1])
        at += length
    return None


def filled(data: bytes, known: Scans) -> bytes:
    """The file with bytes of no meaning, and the restarts that would come next, before its end mark: of a complete
    picture no pixel changes."""
    restarts = (bytes([0xFF, 0xD0 + (known.restarts + n) % 8]) for n in range(16))
    return data[: known.end] + b"".join(_NOISE + restart for restart in restarts) + data[known.end :]


def ends_grey(image: Image.Image, width: int) -> bool:
    """Whether the last block is such as libjpeg makes of missing data.

    Args:
        image: as decoded, before any change; it may be decoded smaller.
        width: in the file.
    """
    side = max(1, 8 * image.width // max(1, width))
    x, y = ((n - 1) // side * side for n in image.size)
    block = image.crop((x, y, *image.size))
    bands = block.split() if image.mode == "CMYK" else [block.convert("L")]
    return all(abs(level - _GREY) <= 2 for band in bands for level in band.getextrema())  # pyright: ignore
