"""Which images the experiment has, in which split, and how annotations name them.

The split of an image is that of the captions source (`split.rename`), and every record has the split of its
image, whatever file it came from. `split.set_apart` images of train become `val`: those with the smallest
sha256 of their id, so the choice depends on no order, seed or machine. `limit` keeps the images of a split with
the smallest sha256 as well, after setting apart: a trial never has a val image in train.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from vlp.data.readers.common import BadRecord, LeftOut, Report, Row
from vlp.data.readers.image_files import UNREADABLE, Folders, Sizes
from vlp.data.readers.losses import BEYOND, MISSING_IMAGE, UNKNOWN_IMAGE, UNNAMED_SPLIT, check_splits, nothing_left
from vlp.data.readers.origins import UNKNOWN, Origin
from vlp.data.readers.source import Place
from vlp.data.tables import CAPTION, SPLITS
from vlp.errors import ConfigError

_COCO_YEAR = re.compile(r"^COCO_(train|val|test)\d{4}_")


@dataclass(frozen=True)
class Caption:
    row: Row
    text: str | BadRecord
    """Stripped, or why it cannot be used."""
    key: str | None = None
    """Last part of its id; None: its place among the image's texts."""
    kind: str = CAPTION


@dataclass
class Entry:
    """An image as a source of texts names it."""

    file: Path
    row: Row
    names: tuple[str, ...]
    """Where it may lie inside an image folder, first choice first. Empty: known by its number alone."""
    number: int | None
    """The number COCO's annotation files call it by."""
    split: str
    """The source's split."""
    captions: list[Caption] = field(default_factory=list)
    origin: Origin = UNKNOWN

    @property
    def key(self) -> str:
        return image_key(self.names[0])

    @property
    def known_number(self) -> int | None:
        """The stated number; else the key, where it is one."""
        if self.number is not None or not self.names:
            return self.number
        return int(self.key) if self.key.isdecimal() and len(self.key) < 20 else None


@dataclass(frozen=True)
class Image:
    image_id: str
    path: str
    """Relative to the data root; absolute where it lies elsewhere."""
    width: int
    height: int
    split: str
    captions: tuple[Caption, ...]
    """All of the source, in its order."""
    file: Path
    row: Row
    origin: Origin = UNKNOWN

    def caption_id(self, index: int) -> str:
        key = self.captions[index].key
        return f"{self.image_id}#{index if key is None else key}"


def image_key(name: str) -> str:
    """The part of an image's id after the data set's name: the file's stem; `COCO_train2014_` is cut off, so that
    the 2014 and 2017 files of an image agree."""
    return _COCO_YEAR.sub("", PurePosixPath(name).stem)


class Images:
    """The images that are kept, found by the names and numbers that annotations call them by."""

    def __init__(self, kept: dict[str, Image], lost: dict[str, str], numbers: dict[int, str | None]) -> None:
        self.kept, self.lost, self._numbers = kept, lost, numbers

    def __iter__(self) -> Iterator[Image]:
        return iter(self.kept.values())

    def find(self, name: str | int, prefix: str) -> Image:
        """By COCO number (int), or by file name or stem (str).

        Raises:
            LeftOut: the captions source has the image, but it was skipped, or its split is not used.
            BadRecord: the captions source has no such image.
        """
        if isinstance(name, int):
            candidates = [self._numbers.get(name) or ""]
        else:
            candidates = [f"{prefix}/{name}", f"{prefix}/{image_key(name)}"]
            if name.isdecimal() and len(name) < 20:
                candidates.append(self._numbers.get(int(name)) or "")
        for image_id in candidates:
            if image_id in self.kept:
                return self.kept[image_id]
            if image_id in self.lost:
                raise LeftOut(self.lost[image_id], f"image {name}")
        raise BadRecord(UNKNOWN_IMAGE, f"the captions source has no image {name}")


class _Lost:
    """Images that are not kept, with the reason: their captions and later their annotations are counted under it."""

    def __init__(self, report: Report, rename: Mapping[str, str]) -> None:
        self._report, self._rename = report, rename
        self.reasons: dict[str, str] = {}

    def add(self, image_id: str, source: Entry | Image, bad: BadRecord) -> None:
        self.reasons[image_id] = f"its image was skipped ({bad.reason})" if bad.stops else bad.reason
        self.captions(image_id, source, bad, self.reasons[image_id])

    def noted(self, source: Entry, notes: Sequence[str]) -> None:
        """What was decided on the pixels of an image that is kept."""
        for note in notes:
            self._report.change("images", source.file, f"image {note}")

    def captions(self, image_id: str, source: Entry | Image, bad: BadRecord, reason: str) -> None:
        report, known = self._report, isinstance(source, Image)
        split = source.split if known else self._rename.get(source.split)
        with report.record("images", source.file, source.row):
            report.split, report.used = split, bad.reason == UNREADABLE
            raise bad
        for caption in source.captions:
            with report.record("captions", source.file, caption.row):
                report.split = split
                raise LeftOut(reason, f"image {image_id}")


Located = tuple[str, Entry, Path]
"""Image id, entry, the file."""


def add_texts(entries: Sequence[Entry], more: Sequence[Entry], report: Report) -> None:
    """Give the images of `entries` the texts of `more`, found by the file's name or by number; others are counted."""
    of_key = {entry.key: entry for entry in entries}
    of_number = {n: entry for entry in entries if (n := entry.known_number) is not None}
    for found in more:
        target = of_key.get(found.key) if found.names else None
        if target is None and found.known_number is not None:
            target = of_number.get(found.known_number)
        if target is not None:
            target.captions.extend(found.captions)
            continue
        name = found.names[0] if found.names else found.number
        bad = BadRecord(UNKNOWN_IMAGE, f"the captions source has no image {name}")
        for caption in found.captions:
            report.skip("captions", found.file, caption.row, bad)


def choose(
    entries: Sequence[Entry], place: Place, files: Sequence[Path], report: Report, progress: bool = False
) -> Images:
    """Find the files, read their sizes, divide into splits, report what is left out, with its captions.

    Args:
        files: those that `entries` were read from.

    Raises:
        InputError: no image is left, or none of a split that the file calls otherwise; a bad image where the config
            says to stop.
        ConfigError: a folder of `images` is missing; more images are to be set apart than there are.
    """
    lost = _Lost(report, place.settings.split.rename)
    numbers: dict[int, str | None] = {}
    located = _locate(entries, place, lost, numbers)
    with Sizes(sum(map(len, located.values())), progress) as sizes:
        kept = _divide(located, place, lost, sizes)
    if not kept:
        raise nothing_left(place, files, len(entries), report)
    check_splits((entry.split for entry in entries), files[0], place, "image")
    return Images({i: kept[i] for i in sorted(kept)}, lost.reasons, numbers)


def _locate(
    entries: Sequence[Entry], place: Place, lost: _Lost, numbers: dict[int, str | None]
) -> dict[str, list[Located]]:
    """Our split -> its images that lie on disk; fills `numbers` (None: two images have it)."""
    settings, where = place.settings, place.where
    folders = Folders(place.root, settings.images, where)
    located: dict[str, list[Located]] = {split: [] for split in SPLITS}
    seen: set[str] = set()
    for entry in entries:
        image_id = f"{place.name}/{entry.key}"
        if image_id in seen:
            bad = BadRecord("duplicate image", image_id)
            lost.captions(image_id, entry, bad, "its image was skipped (duplicate image)")
            continue
        seen.add(image_id)
        number = entry.known_number
        if number is not None:
            numbers[number] = None if number in numbers else image_id
        split = settings.split.rename.get(entry.split)
        if split is None:
            bad = LeftOut(f"{UNNAMED_SPLIT}{entry.split!r} is not in {where}.split.rename", image_id)
            lost.add(image_id, entry, bad)
        elif (path := folders.find(entry.names)) is None:
            remedy = f"Put the file there, or name its folder in {where}.images."
            bad = BadRecord(MISSING_IMAGE, f"{entry.names[0]} is not in {', '.join(settings.images)}", remedy)
            lost.add(image_id, entry, bad)
        else:
            located[split].append((image_id, entry, path))
    return located


def _divide(located: dict[str, list[Located]], place: Place, lost: _Lost, sizes: Sizes) -> dict[str, Image]:
    found: dict[str, list[Image]] = {}
    extra, limit = place.settings.split.set_apart, place.settings.limit
    for split in SPLITS:
        images = found[split] = []
        wanted = None if limit is None else limit + (extra if split == "train" else 0)
        ranked = sorted(located[split], key=lambda item: _rank(item[0]))
        # `images` grows while it is read: no more files are opened than are wanted.
        for (image_id, entry, path), size in sizes.read(ranked, lambda item: item[2], lambda: len(images), wanted):  # noqa: B023
            if isinstance(size, BadRecord):
                lost.add(image_id, entry, size)
            elif size is None:
                lost.add(image_id, entry, LeftOut(BEYOND, image_id))
            else:
                relative = (path.relative_to(place.base) if path.is_relative_to(place.base) else path).as_posix()
                captions = tuple(entry.captions)
                images.append(
                    Image(image_id, relative, *size.size, split, captions, entry.file, entry.row, entry.origin)
                )
                lost.noted(entry, size.notes)
    if extra:
        if len(found["train"]) <= extra:
            left = f"{extra} of {len(found['train'])} train images; none would be left to train on"
            raise ConfigError(f"{place.where}.split.set_apart: {left}")
        apart = [replace(image, split="val") for image in found["train"][:extra]]
        found["train"] = found["train"][extra:]
        found["val"] = sorted([*found["val"], *apart], key=lambda image: _rank(image.image_id))
        if limit is not None:
            for image in found["val"][limit:]:
                lost.add(image.image_id, image, LeftOut(BEYOND, image.image_id))
            del found["val"][limit:]
    return {image.image_id: image for images in found.values() for image in images}


def _rank(image_id: str) -> str:
    return hashlib.sha256(image_id.encode()).hexdigest()
