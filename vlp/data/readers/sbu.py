"""SBU captioned photos: Flickr addresses and captions, images fetched from the addresses.

Roles: `captions`, `{"image_urls": [...], "captions": [...]}`; or, with the optional role `urls`, two text files whose
lines belong together. Both are one file or one a split. Rows are places in the lists, or line numbers. An image file is
named by its address (`addresses.file_name`), as `vlp data fetch` names it, or as Flickr did. An address
that comes again is the same image, with one caption more.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from vlp.data.addresses import file_name
from vlp.data.readers.common import BadRecord, Row, check_whole, list_in, read_lines, read_object, sound_text
from vlp.data.readers.gather import Gathered
from vlp.data.readers.images import Entry
from vlp.data.readers.origins import Origin, flickr_id
from vlp.data.readers.source import Files
from vlp.errors import InputError

ROLES = ("captions",)
OPTIONAL = ("urls",)


def read(files: Files) -> list[Entry]:
    found = Gathered()
    addresses = dict(files.of("urls"))
    for split, path in files.of("captions"):
        if addresses and split not in addresses:
            raise InputError(path, "there is no file of addresses beside it.", f"Check {files.where}.urls.")
        for row, address, caption in _pairs(path, addresses.get(split)):
            with files.report.record("captions", path, row):
                if not isinstance(address, str) or not isinstance(caption, str):
                    raise BadRecord("malformed record", "address and caption are wanted as text")
                photo = flickr_id(address)
                if photo is None:
                    raise BadRecord("not an address of Flickr", address[:80])
                text = sound_text(caption, "caption")
                check_whole(address)
                entry = found.image(path, row, file_name(address), split, Origin(flickr_id=photo))
                entry.names = (entry.names[0], PurePosixPath(address).name)
                found.add(path, row, entry.names[0], split, text)
    return found.entries


def _pairs(captions: Path, addresses: Path | None) -> Iterator[tuple[Row, Any, Any]]:
    if addresses is None:
        value, first = read_object(captions), 0
        left, right = list_in(value, captions, "image_urls"), list_in(value, captions, "captions")
    else:
        left, right, first = read_lines(addresses), read_lines(captions), 1
    if len(left) != len(right):
        problem = f"{len(right):,} captions for {len(left):,} addresses; they belong together by their place."
        raise InputError(captions, problem, "Fetch the files again.")
    for row, (address, caption) in enumerate(zip(left, right, strict=True), start=first):
        yield row, address.strip() if isinstance(address, str) else address, caption
