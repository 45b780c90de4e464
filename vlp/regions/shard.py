"""One file of a region store, opened for reading."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from vlp.errors import InputError
from vlp.images.names import AmbiguousError, Same
from vlp.regions.layout import (
    COLUMNS,
    FORMAT,
    INDEX_DIGEST,
    OPTIONAL,
    TRUTH,
    dataset,
    demand_columns,
    image_digest,
    index_digest,
    read_strings,
    spool_folder,
)

_AGAIN = "Run the command that writes it again."


def damage(path: Path, image_id: str, remedy: str = "Extract or import the regions again.") -> InputError:
    """The error of an image whose bytes do not give its checksum."""
    return InputError(path, "the bytes do not give the checksum.", remedy, row=image_id)


class Shard:
    """The index in memory, the columns as views of a map of the file."""

    def __init__(self, path: Path) -> None:
        """Raises InputError: the file is missing, cut short, not a region store, or has another dtype or layout;
        its index does not give its digest.
        """
        self.path = path
        if not path.is_file():
            note = " (an unfinished write stands beside it)" if spool_folder(path).exists() else ""
            raise InputError(path, f"there is no region store{note}.", _AGAIN)
        try:
            with h5py.File(path, "r", locking=False) as file:
                self._read(file)
        except (OSError, RuntimeError, KeyError, ValueError) as error:
            raise InputError(path, f"the file is cut short or damaged ({error}).", _AGAIN) from error
        self._check()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def rows(self) -> int:
        return len(self.columns["boxes"])

    @property
    def feature_size(self) -> int:
        return self.columns["features"].shape[1]

    def column(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Rows of a column; of one that the file lacks, the value that stands for none."""
        found = self.columns.get(name)
        return np.full(stop - start, OPTIONAL[name], COLUMNS[name][0]) if found is None else found[start:stop]

    def truth(self, at: int) -> list[str] | None:
        """Ground-truth tags of the image; None: it is not annotated."""
        if self.truth_names is None or not self._truth_known[at]:
            return None
        start, stop = self._truth_offsets[at : at + 2]
        return [self.truth_names[c] for c in self._truth_classes[start:stop]]

    def damaged(self) -> Iterator[str]:
        """The ids of the images whose bytes do not give their checksum."""
        for at, name in enumerate(self.ids.tolist()):
            if self.digest(at, self.truth(at)) != self.checksums[at].tobytes():
                yield name.decode()

    def faults(self, remedy: str) -> Iterator[InputError]:
        """One for each image whose bytes do not give its checksum, or of which a number is not finite, or a class
        has no name.

        A file of another writer may hold such numbers under checksums that are right.
        """
        for at, name in enumerate(self.ids.tolist()):
            image_id = name.decode()
            if self.digest(at, self.truth(at)) != self.checksums[at].tobytes():
                yield damage(self.path, image_id, remedy)
                continue
            start, stop = (int(v) for v in self.offsets[at : at + 2])
            try:
                rows = {name: column[start:stop] for name, column in self.columns.items()}
                demand_columns(self.path, image_id, rows, remedy)
                if (rows["classes"] >= len(self.class_names)).any():
                    problem = f"has the class {rows['classes'].max()} of {len(self.class_names)} names."
                    raise InputError(self.path, problem, remedy, image_id)
            except InputError as error:
                yield error

    def check_whole(self, remedy: str) -> None:
        """Raises InputError: the first of `faults`."""
        for fault in self.faults(remedy):
            raise fault

    def digest(self, at: int, truth: Sequence[str] | None) -> bytes:
        """The checksum of the image's rows with these ground-truth tags."""
        start, stop = (int(v) for v in self.offsets[at : at + 2])
        data = {name: column[start:stop].tobytes() for name, column in self.columns.items()}
        width, height = (int(v) for v in self.sizes[at])
        return image_digest(self.ids[at].decode(), (width, height), data, truth)

    def _read(self, file: h5py.File) -> None:
        facts = {k: v.item() if isinstance(v, np.generic) else v for k, v in file.attrs.items()}
        if facts.get("format") != FORMAT:
            raise InputError(self.path, f"not a region store of the format {FORMAT}.", _AGAIN)
        self.index_sha256: str | None = facts.pop(INDEX_DIGEST, None)
        if self.index_sha256 is not None and index_digest(file) != self.index_sha256:
            raise InputError(self.path, "the index (ids, sizes, names) is damaged: not its digest.", _AGAIN)
        self.facts = facts
        self.ids: NDArray[np.bytes_] = dataset(file, "image_ids")[:]
        self.class_names = read_strings(file, "class_names")
        self.attribute_names = read_strings(file, "attribute_names") if "attribute_names" in file else []
        self.offsets: NDArray[np.int64] = dataset(file, "offsets")[:]
        self.sizes: NDArray[np.int32] = dataset(file, "image_sizes")[:]
        self.checksums: NDArray[np.uint8] = dataset(file, "checksums")[:]
        there = [name for name in COLUMNS if name in file or name not in OPTIONAL]
        self.columns = {name: self._map(file, name) for name in there}
        self.truth_names: list[str] | None = None
        if TRUTH[0] in file:
            self._truth_known, self._truth_offsets, self._truth_classes = (dataset(file, n)[:] for n in TRUTH[:3])
            self.truth_names = read_strings(file, TRUTH[3])

    def _map(self, file: h5py.File, name: str) -> NDArray[Any]:
        found, (dtype, _) = dataset(file, name), COLUMNS[name]
        if found.dtype != np.dtype(dtype):
            raise InputError(self.path, f"{name} is {found.dtype}, wanted {np.dtype(dtype)}.", _AGAIN)
        if found.chunks is not None:
            raise InputError(self.path, f"{name} is chunked or compressed, wanted contiguous.", _AGAIN)
        if found.size == 0:
            return np.zeros(found.shape, dtype)
        place = found.id.get_offset()
        if place is None or place + found.nbytes > self.path.stat().st_size:
            raise InputError(self.path, f"the file is cut short within {name}.", _AGAIN)
        return np.memmap(self.path, dtype, mode="r", offset=place, shape=found.shape).view(np.ndarray)

    def _check(self) -> None:
        ordered = bool((np.diff(self.offsets) >= 0).all())
        if len(self.offsets) != len(self) + 1 or not ordered or self.offsets[-1] != self.rows:
            raise InputError(self.path, "the offsets do not fit the rows.", _AGAIN)
        lengths = {name: len(column) for name, column in self.columns.items()}
        if len(set(lengths.values())) != 1 or len(self.sizes) != len(self) or len(self.checksums) != len(self):
            raise InputError(self.path, f"the columns are not of one length ({lengths}).", _AGAIN)


class ImageIds:
    """From ids to their numbers: sorted bytes and a search, a tenth of the memory of a dict of millions of strings."""

    def __init__(self, path: Path, ids: NDArray[np.bytes_]) -> None:
        """Raises InputError: an id comes twice."""
        self._path = path
        self._order = np.argsort(ids, kind="stable")
        self._sorted = ids[self._order]
        self._dtype = self._sorted.dtype
        twice = np.flatnonzero(self._sorted[1:] == self._sorted[:-1]) if len(ids) else np.zeros(0, int)
        if len(twice):
            image_id = bytes(self._sorted[int(twice[0])]).decode()
            raise InputError(path, "the image id comes twice.", "Remove one of the two.", row=image_id)

    def find_all(self, image_ids: Sequence[str]) -> NDArray[np.int64]:
        """[B], -1: not there."""
        if not len(self._sorted):
            return np.full(len(image_ids), -1)
        keys = np.array([image_id.encode() for image_id in image_ids], np.bytes_)  # as wide as the longest needs
        at = np.minimum(self._sorted.searchsorted(keys.astype(self._dtype)), len(self._sorted) - 1)
        found = np.where(self._sorted[at] == keys, self._order[at], -1)
        for row in np.flatnonzero(found < 0).tolist():
            found[row] = self.find(image_ids[row])
        return found

    def find(self, image_id: str) -> int:
        """-1: not there. An id that is written otherwise (`coco/1`, `coco/000000000001`) is the same image.

        Raises InputError: several are.
        """
        at = self._exact(image_id)
        if at >= 0:
            return at
        try:
            same = self._same.find(image_id)
        except AmbiguousError as error:
            raise InputError(self._path, f"{error}.", "Name the id as it stands there.", row=image_id) from error
        return -1 if same is None else self._exact(same)

    @cached_property
    def _same(self) -> Same:
        return Same(name.decode() for name in self._sorted.tolist())

    def _exact(self, image_id: str) -> int:
        key = image_id.encode()
        if len(key) > self._dtype.itemsize:
            return -1
        at = int(self._sorted.searchsorted(np.array(key, self._dtype)))
        return int(self._order[at]) if at < len(self._sorted) and self._sorted[at] == key else -1
