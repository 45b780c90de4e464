"""Karpathy's splits of Flickr30k and COCO: `{"images": [{filename, filepath?, cocoid?, split, sentences: [{raw}]}],
"dataset": "coco"}`.

Role: `captions`, one file. Rows are indices in `images`; a caption's row names its place in `sentences` too.
"""

from __future__ import annotations

from typing import Any

from vlp.data.readers.common import BadRecord, Once, field, list_in, number_in, read_object, text_of
from vlp.data.readers.images import Caption, Entry
from vlp.data.readers.origins import of_file
from vlp.data.readers.source import Files

ROLES = ("captions",)


def read(files: Files) -> list[Entry]:
    entries: list[Entry] = []
    for _, path in files.of("captions"):
        once = Once("caption")
        value = read_object(path, _slim)
        data_set = value.get("dataset") if isinstance(value, dict) else None
        for row, record in enumerate(list_in(value, path, "images")):
            with files.report.record("images", path, row):
                name = text_of(record, "filename", "file name")
                folder = record.get("filepath")
                names = (name, f"{folder}/{name}") if isinstance(folder, str) and folder else (name,)
                number = number_in(record, "cocoid") if "cocoid" in record else None
                split = field(record, "split", str)
                captions = [
                    _caption(sentence, record, f"{row}, sentence {i}", once)
                    for i, sentence in enumerate(field(record, "sentences", list))
                ]
                entries.append(Entry(path, row, names, number, split, captions, of_file(name, data_set)))
    return entries


def _slim(record: dict[str, Any]) -> dict[str, Any]:
    record.pop("tokens", None)  # half of the memory of COCO's file
    return record


def _caption(sentence: Any, image: dict[str, Any], row: str, once: Once) -> Caption:
    try:
        text = text_of(sentence, "raw", "caption")
        if "imgid" in sentence and "imgid" in image and sentence["imgid"] != image["imgid"]:
            raise BadRecord("caption of an unknown image", f"imgid {sentence['imgid']}, not {image['imgid']}")
        if "sentid" in sentence:
            once(field(sentence, "sentid", int))
    except BadRecord as bad:
        return Caption(row, bad)
    return Caption(row, text)
