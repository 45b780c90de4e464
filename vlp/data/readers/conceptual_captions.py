"""Conceptual Captions: lines `caption <tab> address`, further cells are passed over; images fetched from the addresses.

Role: `captions`, one file or one a split. An image file is named by its address (`addresses.file_name`), which is
where `vlp data fetch` puts it; most addresses of 2018 are gone, so most missing images are no fault of the user's.
Rows are line numbers. An address that comes again is the same image, with one caption more.
"""

from __future__ import annotations

from vlp.data.addresses import file_name
from vlp.data.readers.common import BadRecord, cells, sound_text
from vlp.data.readers.gather import Gathered
from vlp.data.readers.images import Entry
from vlp.data.readers.origins import Origin, flickr_id
from vlp.data.readers.source import Files

ROLES = ("captions",)


def read(files: Files) -> list[Entry]:
    found = Gathered()
    for split, path in files.of("captions"):
        for row, (caption, address, *_) in cells(path, files.report, "captions", least=2):
            with files.report.record("captions", path, row):
                address = address.strip()
                if not address.startswith(("http://", "https://")):
                    raise BadRecord("not an address", address[:80])
                text = sound_text(caption, "caption")
                origin = Origin(flickr_id=flickr_id(address))
                found.add(path, row, file_name(address), split, text, origin=origin)
    return found.entries
