"""COCO captions: `{"images": [{id, file_name}], "annotations": [{id, image_id, caption}]}`, one file a split.

Role: `captions`. An image's split is that of the file. Rows are indices in `images` or in `annotations`. A file without
`annotations` lists images alone (`image_info_test2015.json`).
"""

from __future__ import annotations

from pathlib import PurePosixPath

from vlp.data.readers.common import BadRecord, Once, field, list_in, number_in, read_object, text_of
from vlp.data.readers.images import Caption, Entry
from vlp.data.readers.origins import Origin, coco_id, flickr_id
from vlp.data.readers.source import Files
from vlp.errors import ConfigError

ROLES = ("captions",)


def read(files: Files) -> list[Entry]:
    """
    Raises:
        ConfigError: the file name holds no `{split}`, so that the images have no split.
    """
    entries: list[Entry] = []
    report = files.report
    once = Once("caption id")
    for split, path in files.of("captions"):
        if split is None:
            raise ConfigError(f"{files.where}.captions: wanted {{split}} in the name: COCO's files name no split")
        value = read_object(path)
        of_number: dict[int, Entry] = {}
        for row, record in enumerate(list_in(value, path, "images")):
            with report.record("images", path, row):
                number = number_in(record, "id")
                name = text_of(record, "file_name", "file name")
                if number in of_number:
                    raise BadRecord("duplicate image", f"id {number}")
                base = PurePosixPath(name).name
                names = (name,) if base == name else (name, base)
                address = record.get("flickr_url")
                photo = flickr_id(address) if isinstance(address, str) else None
                of_number[number] = Entry(path, row, names, number, split, origin=Origin(coco_id(name), photo))
        captioned = "annotations" in value
        if not captioned:
            report.note(f"captions: {report.name(path)} lists images without captions")
        for row, record in enumerate(list_in(value, path, "annotations") if captioned else []):
            with report.record("captions", path, row):
                number = number_in(record, "image_id")
                if number not in of_number:
                    raise BadRecord("caption of an unknown image", f"image_id {number}")
                once(field(record, "id", int))
                text: str | BadRecord
                try:
                    text = text_of(record, "caption", "caption")
                except BadRecord as bad:
                    text = bad  # it keeps its place, so that the numbers of the others do not change
                of_number[number].captions.append(Caption(row, text))
        entries.extend(of_number.values())
    return entries
