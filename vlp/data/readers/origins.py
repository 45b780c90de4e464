"""Which photo of COCO, Flickr or Visual Genome an image is: the same photo has another name in each data set.

Only what a format states is used (a file name in COCO's form, a Flickr address, the name Karpathy's file gives the
data set), never a number that might mean something else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

_COCO = re.compile(r"^(?:COCO_(?:train|val|test)\d{4}_)?(\d{12})$")
_FLICKR_HOST = re.compile(r"^https?://(?:[\w.-]+\.)?(?:static)?flickr\.com/", re.IGNORECASE)
_PHOTO = re.compile(r"^(\d+)_[0-9a-f]+(?:_\w+)?$", re.IGNORECASE)
_FLICKR_SETS = ("flickr8k", "flickr30k")


@dataclass(frozen=True)
class Origin:
    """Ids of one photo, None where unknown: decimal, without leading zeros."""

    coco_id: str | None = None
    flickr_id: str | None = None
    vg_id: str | None = None


UNKNOWN = Origin()


def coco_id(name: str) -> str | None:
    """`COCO_val2014_000000000042.jpg` and `000000000042.jpg` -> `42`; any other file name -> None."""
    match = _COCO.match(PurePosixPath(name).stem)
    return str(int(match[1])) if match else None


def flickr_id(url: str) -> str | None:
    """The photo's id in the address of a Flickr image or page; None: not one of Flickr's.

    `http://farm3.staticflickr.com/2253/1755223462_fabbeb8dc3_z.jpg` and `https://www.flickr.com/photos/who/1755223462`.
    """
    if not _FLICKR_HOST.match(url):
        return None
    parts = PurePosixPath(url.split("?")[0])
    if match := _PHOTO.match(parts.stem):
        return str(int(match[1]))
    pages = parts.parts
    at = pages.index("photos") + 2 if "photos" in pages else len(pages)
    return str(int(pages[at])) if at < len(pages) and pages[at].isdecimal() else None


def of_file(name: str, data_set: str | None = None) -> Origin:
    """From the file's name; `data_set` is what the file that lists it calls itself (Karpathy's `dataset`)."""
    stem = PurePosixPath(name).stem.split("_")[0]
    photo = str(int(stem)) if data_set in _FLICKR_SETS and stem.isdecimal() else None
    return Origin(coco_id(name), photo)
