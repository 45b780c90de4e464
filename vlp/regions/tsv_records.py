"""Which images VinVL/Oscar files are of, and how large, where no tables tell."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vlp.errors import InputError
from vlp.images.decode import ImageRecord, Skipped
from vlp.images.folder import in_folder, measured
from vlp.images.names import AmbiguousError, Names, both_sides
from vlp.regions.tsv_lines import REMEDY, raw_lines
from vlp.regions.tsv_objects import parse_json
from vlp.regions.tsv_rows import RowError

_NO_SIZE = "the line does not say how large the image is"


def annotated(folder: Path, prefix: str, split: str, skipped: Skipped, max_lost: float) -> list[ImageRecord]:
    """A record for each line of predictions.tsv, in the size that stands there; a bad line is skipped.

    Raises:
        InputError: the file is missing, or has no good line; a line is bad and `skipped` says stop; more than the share
            `max_lost` of the lines is bad.
    """
    path = folder / "predictions.tsv"
    made, bad = [], None
    for row, name, text in _predictions(path):
        try:
            width, height = _size(text)
        except RowError as error:
            remedy = "Name the folder of the images with --images." if str(error).startswith(_NO_SIZE) else REMEDY
            bad = bad or InputError(path, f"{name[:40]}: {error}.", remedy, row=row)
            skipped.add(ImageRecord(f"{prefix}/{name}", Path(name), 1, 1, split), path, f"line {row}: {error}")
            continue
        made.append(ImageRecord(f"{prefix}/{name}", Path(name), width, height, split))
    if bad is not None and len(skipped.images) > max_lost * (len(skipped.images) + len(made)):
        raise bad
    if not made:
        raise bad or InputError(path, "it has no line.", REMEDY)
    return made


def _size(text: bytes) -> tuple[int, int]:
    """Raises RowError: no JSON, or without the size of its image."""
    value = parse_json(text)
    try:
        width, height = int(value["image_w"]), int(value["image_h"])
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise RowError(f"{_NO_SIZE} ({type(error).__name__}: {error!s:.60})") from error
    if not (0 < width < 2**31 and 0 < height < 2**31):
        raise RowError(f"an image of {width} x {height}")
    return width, height


def of_files(
    folder: Path, prefix: str, split: str, images: Path, skipped: Skipped, max_lost: float
) -> list[ImageRecord]:
    """Records of those image files that predictions.tsv has, in their real size.

    A file is known by its path (`images.names`): `val2014/COCO_val2014_000000000042.jpg` is the files' `42`.

    Raises:
        InputError: predictions.tsv or the folder is missing; two files are of one image, or one of two; none is in
            predictions.tsv;            more than the share `max_lost` of them cannot be read.
    """
    ids = dict.fromkeys(f"{prefix}/{name}" for _, name, _ in _predictions(folder / "predictions.tsv"))
    names, found, others = Names(ids, prefix), dict[str, Path](), list[str]()
    for own_id, path in in_folder(images, prefix):
        name = own_id.removeprefix(f"{prefix}/")
        try:
            image_id = names.find(name)
        except AmbiguousError as error:
            remedy = "Name the folder whose paths tell the images apart."
            raise InputError(images, f"{error} of predictions.tsv.", remedy, row=own_id) from error
        if image_id is None:
            others.append(name)
            continue
        if image_id in found:
            one, other = (file.relative_to(images).as_posix() for file in (found[image_id], path))
            problem = f"{one} and {other} are both image {image_id.removeprefix(f'{prefix}/')} of predictions.tsv."
            raise InputError(images, problem, "Name the folder that has each once.", row=image_id)
        found[image_id] = path
    if not found:
        sides = both_sides(others, (image_id.removeprefix(f"{prefix}/") for image_id in ids))
        problem = f"none of its images is in {folder / 'predictions.tsv'} ({sides})."
        raise InputError(images, problem, "Files are named as the ids there, or as COCO names their numbers.")
    records = measured(found.items(), skipped)
    if len(lost := skipped.images) > max_lost * len(found):
        problem = f"{len(lost):,} of {len(found):,} images cannot be read: {lost[0]['reason']}."
        raise InputError(images, problem, "Fetch or make them again; --max-lost allows more.", row=lost[0]["image_id"])
    return [ImageRecord(r.image_id, r.path, r.width, r.height, split) for r in records]


def _predictions(path: Path) -> Iterator[tuple[int, str, bytes]]:
    """Row, id and text of each line; without a tab the text is empty."""
    for row, _, line in raw_lines(path):
        if line.strip():
            name, _, text = line.partition(b"\t")
            yield row, name.decode("utf-8", "replace").strip(), text
