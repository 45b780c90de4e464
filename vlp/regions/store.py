"""The region store: ragged rows of an image's regions in HDF5 files, read through memory maps.

Contiguous and uncompressed, so a row is found by arithmetic: no chunk cache, no lock, safe with worker processes.
A store is one file, or a folder of such files with a manifest (`shards.py`).
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vlp.errors import InputError
from vlp.images.names import AmbiguousError, Names
from vlp.regions.geometry import geometry
from vlp.regions.layout import COLUMNS, OPTIONAL, Regions, spool_folder, tags_of
from vlp.regions.manifest import read_manifest
from vlp.regions.shard import ImageIds, Shard
from vlp.regions.writer import RegionWriter

__all__ = ["COLUMNS", "RegionBatch", "RegionStore", "RegionWriter", "Regions", "TagSource", "spool_folder"]

TagSource = Literal["detector", "ground_truth"]
LIMIT = 50
"""Regions of an image that VinVL-style models read."""
ALIKE = ("feature_size", "class_names", "attribute_names")
"""What the files of one store have in common."""
_verified: set[tuple[str, int, int, int]] = set()
"""Files whose checksums were compared in this process: path, inode, size, time of change."""


@dataclass(frozen=True)
class RegionBatch:
    """Regions of B images, best score first, R for each; padding is 0, class and attribute -1, scores NaN."""

    features: NDArray[np.float16]
    """[B,R,D]"""
    boxes: NDArray[np.float32]
    """[B,R,4] xyxy, pixels"""
    geometry: NDArray[np.float32]
    """[B,R,6]"""
    classes: NDArray[np.int32]
    """[B,R]"""
    scores: NDArray[np.float32]
    """[B,R]"""
    attributes: NDArray[np.int32]
    """[B,R]"""
    attribute_scores: NDArray[np.float32]
    """[B,R]"""
    lengths: NDArray[np.int64]
    """[B] regions of each image"""

    @property
    def mask(self) -> NDArray[np.bool_]:
        """[B,R] True where there is a region."""
        return np.arange(self.features.shape[1]) < self.lengths[:, None]


@dataclass(frozen=True)
class RaggedRegions:
    """Regions of B images one after the other: N rows; those of image b are `offsets[b]` to `offsets[b + 1]`."""

    features: NDArray[np.float16]
    """[N,D]"""
    boxes: NDArray[np.float32]
    """[N,4]"""
    geometry: NDArray[np.float32]
    """[N,6]"""
    classes: NDArray[np.int32]
    scores: NDArray[np.float32]
    attributes: NDArray[np.int32]
    attribute_scores: NDArray[np.float32]
    offsets: NDArray[np.int64]
    """[B+1]"""


class RegionStore:
    """Read a region store. Pickles as its path, so each worker process maps the files itself."""

    def __init__(self, path: str | Path, verify: bool = False) -> None:
        """
        Args:
            verify: compare every image's bytes with its checksum, and see that its numbers are finite, once in a
                process for each file. A folder's files are compared with the manifest when they are staged, and by
                `vlp regions verify`.

        Raises:
            InputError: a file is missing, cut short, not a region store, has another dtype or layout, or does not
                fit the manifest or the other files; with `verify`: an image's bytes are damaged, or not finite.
        """
        self.path = Path(path)
        self._manifest = read_manifest(self.path) if self.path.is_dir() else None
        if self._manifest is None:
            self._shards = [Shard(self.path)]
        else:
            self._shards = [self._manifest.open(entry) for entry in self._manifest.shards]
        self._starts = np.cumsum([0, *map(len, self._shards)]).tolist()
        self._first = self._shards[0]
        for shard in self._shards[1:]:
            self._check_alike(shard)
        if verify and self._manifest is None:
            self._verify_once()

    def __reduce__(self) -> tuple[type[RegionStore], tuple[Path]]:
        return RegionStore, (self.path,)

    def __len__(self) -> int:
        return self._starts[-1]

    def __contains__(self, image_id: str) -> bool:
        return self._ids.find(image_id) >= 0

    @property
    def feature_size(self) -> int:
        return self._first.feature_size

    @property
    def rows(self) -> int:
        return sum(shard.rows for shard in self._shards)

    @property
    def counts(self) -> NDArray[np.int64]:
        """[M] regions of each image."""
        return np.concatenate([np.diff(shard.offsets) for shard in self._shards])

    @property
    def image_ids(self) -> list[str]:
        return self._names

    @cached_property
    def _names(self) -> list[str]:
        return [name.decode() for shard in self._shards for name in shard.ids.tolist()]

    @property
    def class_names(self) -> list[str]:
        return self._first.class_names

    @property
    def attribute_names(self) -> list[str]:
        """Empty: the source names none."""
        return self._first.attribute_names

    @property
    def truth_names(self) -> list[str]:
        """All names of ground-truth tags, sorted."""
        return sorted({name for shard in self._shards for name in shard.truth_names or ()})

    @property
    def has_truth(self) -> bool:
        """Whether any image has ground-truth tags."""
        return any(shard.truth_names is not None for shard in self._shards)

    @property
    def facts(self) -> dict[str, Any]:
        """The file's attributes (of a folder, its first file's): detector, weights sha256, thresholds, version."""
        return dict(self._first.facts)

    @property
    def bytes(self) -> int:
        """On disk."""
        return sum(shard.path.stat().st_size for shard in self._shards)

    def named(self, name: str) -> str:
        """The id of the image that someone calls so: `000000000001` or a file's path is enough (`images.names`).

        Raises:
            InputError: it fits no image of the store, or several.
        """
        at = self._ids.find(name)
        if at >= 0:
            return self.image_ids[at]
        try:
            found = self._called.find(name)
        except AmbiguousError as error:
            raise InputError(self.path, f"{error}.", "Name the whole id.", row=name) from error
        return self.image_ids[self.index(name)] if found is None else found

    @cached_property
    def _called(self) -> Names:
        return Names(self.image_ids)

    def index(self, image_id: str) -> int:
        """Raises InputError: the image is not in the store."""
        at = self._ids.find(image_id)
        if at < 0:
            raise InputError(
                self.path,
                f"the image is not in the store (of {len(self)} images).",
                "It may have been skipped: see quality.json beside the store; else extract the regions again.",
                row=image_id,
            )
        return at

    def image_size(self, image_id: str) -> tuple[int, int]:
        """Width, height in pixels."""
        shard, at = self._place(image_id)
        width, height = shard.sizes[at]
        return int(width), int(height)

    def regions(self, image_id: str, limit: int | None = None) -> Regions:
        """The image's regions, best first, at most `limit`; all but the geometry are views of the map.

        Raises InputError: the image is not in the store.
        """
        shard, at = self._place(image_id)
        start, stop = _rows(shard, at, limit)
        columns = {name: shard.column(name, start, stop) for name in COLUMNS}
        return Regions(geometry=geometry(columns["boxes"], shard.sizes[at]), **columns)

    def padded(self, image_ids: Sequence[str], limit: int = LIMIT) -> RegionBatch:
        """The best `limit` regions of each image, [B,limit,...]. Raises InputError: an image is not in the store."""
        places = self._places(image_ids)
        out = {n: np.empty((len(image_ids), limit, *self._width(n)), COLUMNS[n][0]) for n in COLUMNS}
        lengths, sizes = np.zeros(len(image_ids), np.int64), np.ones((len(image_ids), 2))
        for shard, at_B, here_B in places:
            sizes[here_B] = shard.sizes[at_B]
            start_B = shard.offsets[at_B]
            count_B = lengths[here_B] = np.minimum(shard.offsets[at_B + 1] - start_B, limit)
            features, into = shard.columns["features"], out["features"]
            for b, start, count in zip(here_B.tolist(), start_B.tolist(), count_B.tolist(), strict=True):
                row_RD = into[b]
                row_RD[:count] = features[start : start + count]  # the bulk: one copy of neighbouring bytes
                row_RD[count:] = 0
            step_R = np.arange(limit)
            row_BR = np.where(step_R < count_B[:, None], start_B[:, None] + step_R, 0)
            for name in _SMALL:
                found = shard.columns.get(name)
                out[name][here_B] = _PADDING[name] if found is None or not len(found) else found.take(row_BR, 0)
        batch = RegionBatch(**out, geometry=geometry(out["boxes"], sizes[:, None]), lengths=lengths)
        padding = ~batch.mask
        for name in ("geometry", *_SMALL):
            getattr(batch, name)[padding] = _PADDING[name]
        return batch

    def ragged(self, image_ids: Sequence[str], limit: int | None = LIMIT) -> RaggedRegions:
        """The best `limit` regions of each image without padding. Raises InputError: an image is not in the store."""
        places = self._places(image_ids)
        lengths, sizes = np.zeros(len(image_ids), np.int64), np.ones((len(image_ids), 2))
        for shard, at_B, here_B in places:
            sizes[here_B] = shard.sizes[at_B]
            lengths[here_B] = shard.offsets[at_B + 1] - shard.offsets[at_B]
        lengths = lengths if limit is None else np.minimum(lengths, limit)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        out = {n: np.empty((offsets[-1], *self._width(n)), COLUMNS[n][0]) for n in COLUMNS}
        for shard, at_B, here_B in places:
            for at, b in zip(at_B.tolist(), here_B.tolist(), strict=True):
                start, stop = _rows(shard, at, limit)
                for name, column in out.items():
                    column[offsets[b] : offsets[b + 1]] = shard.column(name, start, stop)
        numbers = geometry(out["boxes"], np.repeat(sizes, lengths, axis=0))
        return RaggedRegions(**out, geometry=numbers, offsets=offsets)

    def tags(self, image_id: str, source: TagSource = "detector") -> list[str]:
        """The image's tags, each once.

        Args:
            source: `detector`: class names of the regions, best first; regions without a class give none.
                `ground_truth`: the annotation's class names in its order, for pre-training only; an image that is
                not annotated has the detector's (paper 3.1.2: only some data sets have such tags).

        Raises:
            InputError: the image is not in the store; no image of it has ground-truth tags and they are asked for.
        """
        if source == "ground_truth":
            if not self.has_truth:
                remedy = "Add them (vlp regions annotate), or have the detector's tags read."
                raise InputError(self.path, "the store has no ground-truth tags.", remedy)
            truth = self.truth(image_id)
            if truth is not None:
                return truth
        elif source != "detector":
            raise ValueError(f"no tag source {source!r}; known: detector, ground_truth")
        shard, at = self._place(image_id)
        classes = shard.columns["classes"][slice(*_rows(shard, at, None))]
        return tags_of(classes, shard.class_names)

    def truth(self, image_id: str) -> list[str] | None:
        """The annotation's class names, each once; None: the image is not annotated."""
        shard, at = self._place(image_id)
        return shard.truth(at)

    def damaged(self) -> Iterator[tuple[Path, str]]:
        """File and id of the images whose bytes do not give their checksum."""
        for shard in self._shards:
            yield from ((shard.path, image_id) for image_id in shard.damaged())

    def faults(self, remedy: str = "Extract or import the regions again.") -> Iterator[InputError]:
        """One for each image whose bytes do not give their checksum, or of which a number is not finite."""
        for shard in self._shards:
            yield from shard.faults(remedy)

    def check_whole(self, remedy: str) -> None:
        """Raises InputError: the first of `faults`."""
        for shard in self._shards:
            shard.check_whole(remedy)

    @cached_property
    def _ids(self) -> ImageIds:
        # ids of several lengths become one array of the longest
        return ImageIds(self.path, np.concatenate([shard.ids for shard in self._shards]))

    def _place(self, image_id: str) -> tuple[Shard, int]:
        at = self.index(image_id)
        if len(self._shards) == 1:
            return self._first, at
        number = bisect.bisect_right(self._starts, at) - 1
        return self._shards[number], at - self._starts[number]

    def _places(self, image_ids: Sequence[str]) -> list[tuple[Shard, NDArray[np.int64], NDArray[np.int64]]]:
        """For each file that has some of the images: it, their numbers in it, their places in `image_ids`."""
        at_B = self._ids.find_all(image_ids)
        if len(at_B) and at_B.min() < 0:
            self.index(image_ids[int(at_B.argmin())])  # names it
        if len(self._shards) == 1:
            return [(self._first, at_B, np.arange(len(at_B)))]
        shard_B = np.searchsorted(self._starts, at_B, side="right") - 1
        groups = ((number, np.flatnonzero(shard_B == number)) for number in np.unique(shard_B).tolist())
        return [(self._shards[number], at_B[here] - self._starts[number], here) for number, here in groups]

    def _width(self, name: str) -> tuple[int, ...]:
        width = COLUMNS[name][1] or self.feature_size
        return () if width == 1 and name != "features" else (width,)

    def _check_alike(self, shard: Shard) -> None:
        for name in ALIKE:
            if getattr(shard, name) != getattr(self._first, name):
                remedy = "Extract the shards with one detector."
                raise InputError(shard.path, f"its {name} is not that of {self._first.path.name}.", remedy)

    def _verify_once(self) -> None:
        state = self.path.stat()
        key = (str(self.path.resolve()), state.st_ino, state.st_size, state.st_mtime_ns)
        if key in _verified:
            return
        self.check_whole("Extract or import the regions again; vlp regions verify names all such images.")
        _verified.add(key)


_SMALL = [name for name in COLUMNS if name != "features"]
_PADDING: dict[str, float] = {"boxes": 0, "geometry": 0, "classes": -1, "scores": np.nan, **OPTIONAL}


def _rows(shard: Shard, at: int, limit: int | None) -> tuple[int, int]:
    start, stop = int(shard.offsets[at]), int(shard.offsets[at + 1])
    return start, stop if limit is None else min(stop, start + limit)
