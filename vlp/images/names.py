"""The one rule for what an image is called.

`1`, `000000000001`, `1.0`, `COCO_train2014_000000000001.jpg` name the same image; of a path the longest tail that two
names share decides, and a name that fits several images equally well names none. COCO's numbers are of all its years
and splits, so their folders (`train2014`) tell nothing apart. An id is a data set's name, then the name in it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from functools import cached_property

_YEAR = re.compile(r"^COCO_(?:train|val|test)\d{4}_")
_OF_COCO = re.compile(r"^(?:COCO_(?:train|val|test)\d{4}_\d+|\d{12})$")
_FOLDER_OF_COCO = re.compile(r"^(?:train|val|test|unlabeled)\d{4}$")
_NUMBER = re.compile(r"^(\d{1,19})(?:\.0+)?$", re.ASCII)
_ENDING = re.compile(
    r"\.(?:avif|bmp|gif|heic|jfif|jp2|jpe|jpeg|jpg|mpo|pgm|png|pnm|ppm|tif|tiff|webp)$", re.IGNORECASE | re.ASCII
)
_SHOWN = 3

Name = str | int | float


class AmbiguousError(Exception):
    """A name that fits several images."""

    def __init__(self, name: Name, ids: Sequence[str]) -> None:
        self.ids = list(ids)
        super().__init__(f"{name!r} may be {_shown(ids)}")


def key_of(name: str) -> str:
    """The last part of an image's id: the file's name without its ending; `COCO_train2014_` is cut off, so that the
    2014 and 2017 files of an image agree."""
    return _YEAR.sub("", _stem(name))


def number_of(name: Name) -> int | None:
    """The number that a name is: `1`, 1.0, `1.0`, `000000000001`, `COCO_val2014_000000000001.jpg`; else None."""
    if isinstance(name, bool):
        return None
    if isinstance(name, int):
        return name if name >= 0 else None
    if isinstance(name, float):
        return int(name) if math.isfinite(name) and name >= 0 and name == int(name) else None
    found = _NUMBER.match(key_of(name.strip()))
    return int(found[1]) if found else None


def parts(name: Name) -> tuple[str, ...]:
    """Folders and name, without what the rule passes over: equal parts are the same image."""
    return _Parts(name).plain


class _Parts:
    def __init__(self, name: Name) -> None:
        text = name.strip() if isinstance(name, str) else ""
        *folders, last = [part for part in text.split("/") if part not in ("", ".")] or [""]
        number = number_of(name if not isinstance(name, str) else last)
        end = str(number) if number is not None else key_of(last)
        self.exact = str(number) if not isinstance(name, str) else key_of(last)
        """The last part as it stands."""
        self.raw = (*folders, end)
        """With COCO's folders."""
        of_coco = _OF_COCO.match(_stem(last))
        self.plain = (*(f for f in folders if not (of_coco and _FOLDER_OF_COCO.match(f))), end)


class Names:
    """Ids, found by what files, annotations and published features call their images."""

    def __init__(self, ids: Iterable[str], prefix: str | None = None) -> None:
        """`prefix`: a data set; only its ids are there, and names are of it. None: names are of any of them, and may
        begin with the data set's."""
        self._prefix = prefix
        self._of: dict[str, str | list[str]] = {}
        for image_id in ids:
            if prefix is not None and not image_id.startswith(f"{prefix}/"):
                continue
            end = _Parts(image_id).plain[-1]
            known = self._of.get(end)
            if known is None:
                self._of[end] = image_id
            elif isinstance(known, list):
                known.append(image_id)
            elif known != image_id:
                self._of[end] = [known, image_id]

    def find(self, name: Name) -> str | None:
        """The id of the image; None: there is none. Raises AmbiguousError: it fits several."""
        wanted = _Parts(name)
        found = self._of.get(wanted.plain[-1], [])
        fits: dict[tuple[int, int, bool], list[str]] = {}
        for image_id in [found] if isinstance(found, str) else found:
            fit = self._fit(wanted, image_id)
            if fit is not None:
                fits.setdefault(fit, []).append(image_id)
        if not fits:
            return None
        best = fits[max(fits)]
        if len(best) > 1:
            raise AmbiguousError(name, best)
        return best[0]

    def _fit(self, wanted: _Parts, image_id: str) -> tuple[int, int, bool] | None:
        """How long a tail the two share, without COCO's folders and with, and whether the last parts are the same;
        None: their folders contradict each other."""
        data_set, _, inner = image_id.partition("/")
        known = _Parts(inner)
        whole = (data_set, *known.plain)
        tail = _common(wanted.plain, whole if self._prefix is None else known.plain)
        if tail < len(wanted.plain) and tail < len(known.plain):
            return None
        return tail, _common(wanted.raw, known.raw), wanted.exact == known.exact


class Same:
    """Ids of one side, found by those of another: the whole name must be the same, not a tail of it."""

    def __init__(self, ids: Iterable[str]) -> None:
        self._ids = dict.fromkeys(ids)

    def __contains__(self, image_id: str) -> bool:
        return self.find(image_id) is not None

    def find(self, image_id: str) -> str | None:
        """Raises AmbiguousError: several of them are this image."""
        if image_id in self._ids:
            return image_id
        found = self._of.get(_whole(image_id), [])
        if len(found) > 1:
            raise AmbiguousError(image_id, found)
        return found[0] if found else None

    @cached_property
    def _of(self) -> dict[tuple[str, ...], list[str]]:
        made: dict[tuple[str, ...], list[str]] = {}
        for image_id in self._ids:
            made.setdefault(_whole(image_id), []).append(image_id)
        return made


def _whole(image_id: str) -> tuple[str, ...]:
    data_set, _, name = image_id.partition("/")
    return data_set, *parts(name)


def both_sides(theirs: Iterable[object], ours: Iterable[object]) -> str:
    """Three names of each side, for whoever has to see why they do not meet."""
    return f"there: {_shown(theirs)}; here: {_shown(ours)}"


def _shown(names: Iterable[object]) -> str:
    shown: list[str] = []
    for name in names:
        if len(shown) == _SHOWN:
            return ", ".join([*shown, "..."])
        shown.append(repr(name)[:80])
    return ", ".join(shown) or "none"


def _stem(name: str) -> str:
    return _ENDING.sub("", name.strip().rpartition("/")[2])


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """Length of the tail that both have."""
    count = 0
    for a, b in zip(reversed(one), reversed(other), strict=False):
        if a != b:
            break
        count += 1
    return count
