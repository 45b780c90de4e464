"""Which images the experiment has, in which split, and how annotations name them.

The split of an image is that of the captions source (`split.rename`), and every record has the split of its
image, whatever file it came from. `split.set_apart` images of train become `val`: those with the smallest
sha256 of their id, so the choice depends on no order, seed or machine. `limit` keeps the images of a split with
the smallest sha256 as well, after setting apart: a trial never has a val image in train.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from pathlib import Path, PurePosixPath

from vlp.data.readers.common import BadRecord, LeftOut, Report, Row
from vlp.data.readers.image_files import UNREADABLE, Folders, Sizes
from vlp.data.readers.losses import BEYOND, MISSING_IMAGE, UNKNOWN_IMAGE, UNNAMED_SPLIT, check_splits, nothing_left
from vlp.data.readers.origins import UNKNOWN, Origin
from vlp.data.readers.source import Place
from vlp.data.tables import CAPTION, SPLITS
from vlp.errors import ConfigError
from vlp.images.names import AmbiguousError, Name, Names, key_of, number_of, parts

AMBIGUOUS = "ambiguous image"
_TELL_APART = "Name the image by as much of its path as tells it apart."


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

    own_key: str | None = None
    """With its folder, where the source has images of one name in several."""

    @property
    def key(self) -> str:
        """The part of the image's id after the data set's name."""
        return self.own_key or key_of(self.names[0])

    @property
    def path(self) -> str:
        """The name that says most."""
        return max(self.names, key=lambda name: name.count("/"))

    @property
    def known_number(self) -> int | None:
        """The stated number; else the key, where it is one."""
        if self.number is not None or not self.names:
            return self.number
        return number_of(self.key)


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


class Images:
    """The images that are kept, found by the names and numbers that annotations call them by."""

    def __init__(self, kept: dict[str, Image], lost: dict[str, str], numbers: dict[int, str | None]) -> None:
        self.kept, self.lost, self._numbers = kept, lost, numbers

    def __iter__(self) -> Iterator[Image]:
        return iter(self.kept.values())

    def find(self, name: Name, prefix: str) -> Image:
        """By COCO number, or by file name, path or stem (`images.names`).

        Raises:
            LeftOut: the captions source has the image, but it was skipped, or its split is not used.
            BadRecord: the captions source has no such image, or several.
        """
        image_id = self._id(name, prefix)
        if image_id in self.kept:
            return self.kept[image_id]
        if image_id in self.lost:
            raise LeftOut(self.lost[image_id], f"image {name}")
        raise BadRecord(UNKNOWN_IMAGE, f"the captions source has no image {name}")

    def _id(self, name: Name, prefix: str) -> str | None:
        if isinstance(name, str):
            for image_id in (f"{prefix}/{name}", f"{prefix}/{key_of(name)}" if "/" not in name else ""):
                if image_id in self.kept or image_id in self.lost:
                    return image_id
        number = number_of(name) if not isinstance(name, str) or "/" not in name else None
        if number is not None and (found := self._numbers.get(number)) is not None:
            return found
        try:
            return self._called.find(name)
        except AmbiguousError as error:
            raise BadRecord(AMBIGUOUS, f"{error}", _TELL_APART) from error

    @cached_property
    def _called(self) -> Names:
        """Made for the first name that is no id as it stands."""
        return Names(chain(self.kept, self.lost))


class _Lost:
    """Images that are not kept, with the reason: their captions and later their annotations are counted under it."""

    def __init__(self, report: Report, rename: Mapping[str, str]) -> None:
        self._report, self._rename = report, rename
        self.reasons: dict[str, str] = {}
        self.without_file: set[str] = set()

    def found(self, image_id: str) -> None:
        """It was named before, without a file."""
        if image_id in self.without_file:
            self.without_file.remove(image_id)
            del self.reasons[image_id]

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
    _tell_apart(entries)
    of_key: dict[str, Entry] = {}
    of_number: dict[int, Entry | None] = {}
    for entry in entries:
        first, number = of_key.setdefault(f"/{entry.key}", entry), entry.known_number
        if number is not None:
            of_number[number] = first if of_number.get(number, first) is first else None
    called = Names(of_key, "")
    for found in more:
        name = found.path if found.names else found.number
        assert name is not None
        bad = BadRecord(UNKNOWN_IMAGE, f"the captions source has no image {name}")
        try:
            target = _target(found, of_key, of_number, called)
        except AmbiguousError as error:
            target, bad = None, BadRecord(AMBIGUOUS, f"{error}", _TELL_APART)
        if target is not None:
            target.captions.extend(found.captions)
            continue
        for caption in found.captions:
            report.skip("captions", found.file, caption.row, bad)


def _target(
    found: Entry, of_key: Mapping[str, Entry], of_number: Mapping[int, Entry | None], called: Names
) -> Entry | None:
    """Raises AmbiguousError."""
    if found.names and (key := called.find(found.path)) is not None:
        return of_key[key]
    number = found.known_number
    if number is not None and number in of_number:
        entry = of_number[number]
        if entry is None:
            raise AmbiguousError(number, [key[1:] for key, e in of_key.items() if e.known_number == number])
        return entry
    return None


def _tell_apart(entries: Sequence[Entry]) -> None:
    """Files of one name in several folders are several images: their ids have the folder too."""
    folders: dict[str, set[tuple[str, ...]]] = {}
    for entry in entries:
        if "/" in entry.path and (within := parts(entry.path)[:-1]):
            folders.setdefault(key_of(entry.names[0]), set()).add(within)
    for entry in entries:
        key = key_of(entry.names[0])
        if len(folders.get(key, ())) > 1:
            entry.own_key = "/".join((*parts(entry.path)[:-1], key))


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
    files: dict[Path, str] = {}
    _tell_apart(entries)
    for entry in entries:
        split = settings.split.rename.get(entry.split)
        path, bad = None, None
        try:
            path = folders.find(entry.names) if split is not None else None
        except BadRecord as several:
            bad = several
        image_id = f"{place.name}/{_key(entry, path)}"
        missing_before = image_id in lost.without_file and path is not None
        if (image_id in seen and not missing_before) or path in files:
            twice = files.get(path, image_id) if path is not None else image_id
            bad = BadRecord(
                "duplicate image", image_id if twice == image_id else f"{image_id}, whose file is {twice}'s"
            )
            lost.captions(image_id, entry, bad, "its image was skipped (duplicate image)")
            continue
        seen.add(image_id)
        number = entry.known_number
        if number is not None:
            numbers[number] = image_id if numbers.get(number, image_id) == image_id else None
        if split is None:
            bad = LeftOut(f"{UNNAMED_SPLIT}{entry.split!r} is not in {where}.split.rename", image_id)
            lost.add(image_id, entry, bad)
        elif path is None:
            remedy = f"Put the file there, or name its folder in {where}.images."
            missing = BadRecord(MISSING_IMAGE, f"{entry.names[0]} is not in {', '.join(settings.images)}", remedy)
            lost.add(image_id, entry, bad or missing)
            lost.without_file.add(image_id)
        else:
            lost.found(image_id)
            files[path] = image_id
            located[split].append((image_id, entry, path))
    return located


def _key(entry: Entry, path: Path | None) -> str:
    """The entry's; of a file that is named otherwise than the entry says (`1`, `000000000001.jpg`) the file's."""
    if path is None or path.name in {PurePosixPath(name).name for name in entry.names}:
        return entry.key
    return key_of(path.name)


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
