"""The region store's file: its columns, digests and HDF5 details, shared by writer and reader."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from vlp.errors import InputError
from vlp.finite import demand

FORMAT = "vlp-regions/1"
# column -> (dtype, numbers of a row; 0: D)
COLUMNS: dict[str, tuple[str, int]] = {
    "features": ("<f2", 0),
    "boxes": ("<f4", 4),
    "classes": ("<i4", 1),
    "scores": ("<f4", 1),
    "attributes": ("<i4", 1),
    "attribute_scores": ("<f4", 1),
}
OPTIONAL = {"attributes": -1, "attribute_scores": np.nan}
"""Columns that a file may lack -> what is read then."""
TRUTH = ("truth_known", "truth_offsets", "truth_classes", "truth_names")
"""Ground-truth tags, all or none: images that are annotated [M], offsets [M+1] into indices of names."""
INDEX_DIGEST = "index_sha256"
"""File attribute: digest of all that is not a column. Files written before it was there are read without."""


@dataclass(frozen=True)
class Regions:
    """An image's regions, best score first: K rows."""

    features: NDArray[np.float16]
    """[K,D]"""
    boxes: NDArray[np.float32]
    """[K,4] xyxy, pixels of the original image"""
    geometry: NDArray[np.float32]
    """[K,6] x1/W, y1/H, x2/W, y2/H, w/W, h/H"""
    classes: NDArray[np.int32]
    """[K] index of the class name, -1: none"""
    scores: NDArray[np.float32]
    """[K], NaN: the source gives none"""
    attributes: NDArray[np.int32] | None = None
    """[K] index of the best attribute's name, -1: none; None: not from a store"""
    attribute_scores: NDArray[np.float32] | None = None
    """[K], NaN: none"""

    def __len__(self) -> int:
        return len(self.boxes)


def demand_columns(path: Path, image_id: str, columns: Mapping[str, NDArray[Any]], remedy: str) -> None:
    """Raises InputError: of an image's rows a feature (float16), a box or a score is not finite; a score may be NaN."""
    for name, what in (("features", "features as float16"), ("boxes", "boxes")):
        demand(columns[name], path, f"its {what}", remedy, image_id)
    for name in ("scores", "attribute_scores"):
        if name in columns and (count := int(np.isinf(columns[name]).sum())):
            raise InputError(path, f"its {name}: {count} of {len(columns[name])} are infinite.", remedy, image_id)


def tags_of(classes_K: NDArray[np.int32], class_names: Sequence[str]) -> list[str]:
    """Names of an image's classes (-1: none), each once, in the order of its regions."""
    numbers: list[int] = classes_K.tolist()
    return [class_names[c] for c in dict.fromkeys(numbers) if c >= 0]


def spool_folder(path: Path) -> Path:
    """Where the writer of `path` keeps rows until the store is whole."""
    return path.with_name(f".{path.name}.partial")


def image_digest(
    image_id: str, size: tuple[int, int], data: Mapping[str, bytes], truth: Sequence[str] | None = None
) -> bytes:
    """sha256 of an image's id, size, rows and, where it has them, ground-truth tags."""
    digest = hashlib.sha256(f"{image_id}\n{int(size[0])} {int(size[1])}\n".encode())
    for name in COLUMNS:
        if name in data:
            digest.update(data[name])
    if truth is not None:
        digest.update("\n".join(["", "truth", *truth]).encode())
    return digest.digest()


def index_digest(file: h5py.File) -> str:
    """sha256 over every dataset that is not a column, by name, as hex."""
    digest = hashlib.sha256()
    for name in sorted(set(file) - set(COLUMNS)):
        values = np.ascontiguousarray(dataset(file, name)[()])
        digest.update(f"{name} {values.shape} {values.dtype.str}\n".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def allocate(file: h5py.File, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> int | None:
    """Reserve a contiguous dataset without writing it -> its place in the file (None: it is empty)."""
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_layout(h5py.h5d.CONTIGUOUS)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    properties.set_obj_track_times(False)
    kind, space = h5py.h5t.py_create(dtype, logical=True), h5py.h5s.create_simple(shape)
    return h5py.h5d.create(file.id, name.encode(), kind, space, properties).get_offset()


def dataset(file: h5py.File, name: str) -> h5py.Dataset:
    found = file[name]
    if not isinstance(found, h5py.Dataset):
        raise KeyError(name)
    return found


def write_strings(file: h5py.File, name: str, values: Sequence[str]) -> None:
    encoded = [v.encode() for v in values]
    kind = h5py.string_dtype("utf-8", max([1, *map(len, encoded)]))  # fixed length: contiguous, quick to read
    file.create_dataset(name, data=np.array(encoded, kind), dtype=kind)


def read_strings(file: h5py.File, name: str) -> list[str]:
    return [value.decode() for value in dataset(file, name)[:].tolist()]


def write_truth(file: h5py.File, truth: Sequence[Sequence[str] | None]) -> None:
    """The ground-truth tags of each image in turn (None: not annotated)."""
    names = sorted({name for tags in truth for name in tags or ()})
    number = {name: i for i, name in enumerate(names)}
    file["truth_known"] = np.array([tags is not None for tags in truth], "u1")
    file["truth_offsets"] = np.concatenate([[0], np.cumsum([len(tags or ()) for tags in truth], dtype=np.int64)])
    file["truth_classes"] = np.array([number[name] for tags in truth for name in tags or ()], "<i4")
    write_strings(file, "truth_names", names)
