"""Which images VinVL/Oscar files are of, and how large, where no tables tell."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from vlp.errors import InputError
from vlp.images.decode import ImageRecord, Skipped
from vlp.images.folder import in_folder, measured
from vlp.regions.tsv_lines import REMEDY, raw_lines

_NUMBER = re.compile(r"(\d+)$")


def annotated(folder: Path, prefix: str, split: str) -> list[ImageRecord]:
    """A record for each line of predictions.tsv, in the size that stands there.

    Raises:
        InputError: the file is missing, a line is no JSON, or one does not say how large its image is.
    """
    path = folder / "predictions.tsv"
    made = []
    for row, name, text in _predictions(path):
        try:
            value = json.loads(text)
            width, height = int(value["image_w"]), int(value["image_h"])
        except (ValueError, KeyError, TypeError) as error:
            problem = f"{name}: the line does not say how large the image is ({type(error).__name__}: {error})."
            raise InputError(path, problem, "Name the folder of the images with --images.", row=row) from error
        made.append(ImageRecord(f"{prefix}/{name}", Path(name), width, height, split))
    if not made:
        raise InputError(path, "it has no line.", REMEDY)
    return made


def of_files(folder: Path, prefix: str, split: str, images: Path, skipped: Skipped) -> list[ImageRecord]:
    """Records of those image files that predictions.tsv has, in their real size.

    A file is known by its name without suffix, or, as COCO's, by the number at its end: `COCO_val2014_000000000042.jpg`
    is the files' `42`.

    Raises:
        InputError: predictions.tsv or the folder is missing; two files are of one image; none is in predictions.tsv.
    """
    names = {name for _, name, _ in _predictions(folder / "predictions.tsv")}
    found: dict[str, Path] = {}
    for image_id, path in in_folder(images, prefix):
        name = image_id.removeprefix(f"{prefix}/")
        number = _NUMBER.search(name)
        if name not in names and number is not None:
            name = str(int(number[1]))
        if name not in names:
            continue
        if name in found:
            problem = f"{found[name].name} and {path.name} are both image {name} of predictions.tsv."
            raise InputError(images, problem, "Name the folder that has each once.", row=f"{prefix}/{name}")
        found[name] = path
    if not found:
        problem = f"none of its images is in {folder / 'predictions.tsv'} (as {sorted(names)[:1]})."
        raise InputError(images, problem, "Files are named as the ids there, or end in them.")
    records = measured([(f"{prefix}/{name}", path) for name, path in found.items()], skipped)
    return [ImageRecord(r.image_id, r.path, r.width, r.height, split) for r in records]


def _predictions(path: Path) -> Iterator[tuple[int, str, bytes]]:
    """Row, id and text of each line."""
    for row, _, line in raw_lines(path):
        if line.strip():
            name, tab, text = line.partition(b"\t")
            if not tab:
                raise InputError(path, "a line without a tab.", REMEDY, row=row)
            yield row, name.decode("utf-8", "replace").strip(), text
