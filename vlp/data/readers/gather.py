"""Texts that name their image -> images with their texts."""

from __future__ import annotations

from pathlib import Path

from vlp.data.readers.common import BadRecord, Row
from vlp.data.readers.images import Caption, Entry
from vlp.data.readers.origins import UNKNOWN, Origin
from vlp.data.tables import CAPTION

ONLY_SPLIT = "train"
"""Source split of a file whose format knows none, and whose path has no `{split}`."""


class Gathered:
    """Images in the order in which they come first, each with its texts."""

    def __init__(self) -> None:
        self._of: dict[str, Entry] = {}

    def add(
        self,
        file: Path,
        row: Row,
        name: str,
        split: str | None,
        text: str | BadRecord,
        *,
        key: str | None = None,
        kind: str = CAPTION,
        origin: Origin = UNKNOWN,
        number: int | None = None,
    ) -> None:
        """One text of the image file `name`.

        Raises:
            BadRecord: the image came before, in another split.
        """
        entry = self.image(file, row, name, split, origin, number)
        entry.captions.append(Caption(row, text, key, kind))

    def image(
        self,
        file: Path,
        row: Row,
        name: str,
        split: str | None,
        origin: Origin = UNKNOWN,
        number: int | None = None,
    ) -> Entry:
        split = split or ONLY_SPLIT
        entry = self._of.setdefault(name, Entry(file, row, (name,), number, split, origin=origin))
        if entry.split != split:
            raise BadRecord("image in two splits", f"{name} in {entry.split} and {split}")
        return entry

    @property
    def entries(self) -> list[Entry]:
        return list(self._of.values())
