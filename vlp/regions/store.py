"""The region store: ragged rows of an image's regions in one HDF5 file, read through memory maps.

Contiguous and uncompressed, so a row is found by arithmetic: no chunk cache, no lock, safe with worker processes.
"""

from __future__ import annotations

import errno
import hashlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from vlp.errors import InputError
from vlp.files import atomic, raise_if_full
from vlp.regions.geometry import geometry

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
_BLOCK = 1 << 22
_AGAIN = "Run the command that writes it again."


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

    def __len__(self) -> int:
        return len(self.boxes)


class RegionWriter:
    """Write a store image by image; memory does not grow with the features.

    Rows go to a spool folder beside `path`, since a contiguous dataset must know its length; when the block ends
    without an error the HDF5 file is put together under a temporary name and renamed. After an error, and after a
    kill, no file stands at `path` that was not whole before; the spool of a killed writer is removed by the next one.
    """

    def __init__(
        self, path: str | Path, feature_size: int, class_names: Sequence[str], facts: Mapping[str, str | float | int]
    ) -> None:
        """`facts`: file attributes: detector, weights sha256, thresholds, code version."""
        self.path, self.feature_size, self.class_names = Path(path), feature_size, list(class_names)
        self.facts = dict(facts)
        self._ids: dict[str, None] = {}
        self._sizes: list[tuple[int, int]] = []
        self._lengths: list[int] = []
        self._digests: list[bytes] = []
        self._files: dict[str, IO[bytes]] = {}

    @property
    def images(self) -> int:
        return len(self._ids)

    @property
    def rows(self) -> int:
        return sum(self._lengths)

    def __enter__(self) -> RegionWriter:
        spool = spool_folder(self.path)
        shutil.rmtree(spool, ignore_errors=True)
        spool.mkdir(parents=True)
        self._files = {name: (spool / name).open("wb") for name in COLUMNS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            try:
                for file in self._files.values():
                    file.close()
                if kind is None:
                    self._assemble()
            finally:
                shutil.rmtree(spool_folder(self.path), ignore_errors=True)
        except (OSError, RuntimeError) as problem:  # h5py reports a full disk as either
            raise_if_full(problem, self.path)
            raise
        if error is not None:
            raise_if_full(error, self.path)

    def add(
        self,
        image_id: str,
        size: tuple[int, int],
        features: ArrayLike,
        boxes: ArrayLike,
        classes: ArrayLike,
        scores: ArrayLike,
        attributes: ArrayLike | None = None,
        attribute_scores: ArrayLike | None = None,
    ) -> None:
        """Append an image (width, height): features [K,D], boxes [K,4] xyxy pixels, classes, scores [K]; K may be 0.

        Rows are sorted by score, best first, NaN last; equal scores keep their order.

        Raises:
            InputError: the id is in the store already, a box leaves the image, a number is not finite as float16.
            ValueError: shapes do not fit.
        """
        if image_id in self._ids:
            raise InputError(self.path, "the image id comes twice.", "Remove one of the two.", row=image_id)
        score_K = np.asarray(scores, "<f4").reshape(-1)
        count = len(score_K)
        given: dict[str, ArrayLike] = {
            "features": features,
            "boxes": boxes,
            "classes": classes,
            "scores": score_K,
            "attributes": np.full(count, -1) if attributes is None else attributes,
            "attribute_scores": np.full(count, np.nan) if attribute_scores is None else attribute_scores,
        }
        order = np.argsort(-score_K, kind="stable")  # NaN stays last
        columns = {name: self._column(name, value, count)[order] for name, value in given.items()}
        self._check(image_id, size, columns)
        data = {name: np.ascontiguousarray(column).tobytes() for name, column in columns.items()}
        try:
            for name, file in self._files.items():
                file.write(data[name])
        except OSError as error:
            raise_if_full(error, self.path)
            raise
        self._ids[image_id] = None
        self._sizes.append((int(size[0]), int(size[1])))
        self._lengths.append(count)
        self._digests.append(_digest(image_id, size, data))

    def _column(self, name: str, value: ArrayLike, count: int) -> NDArray[Any]:
        dtype, width = COLUMNS[name]
        with np.errstate(over="ignore"):
            array = np.asarray(value).astype(dtype)
        shape = (count,) if width == 1 else (count, width or self.feature_size)
        if array.size == 0 and count == 0:
            return np.zeros(shape, dtype)
        if array.shape != shape:
            raise ValueError(f"{name}: shape {array.shape}, wanted {shape}")
        return array

    def _check(self, image_id: str, size: tuple[int, int], columns: Mapping[str, NDArray[Any]]) -> None:
        remedy = "Look at the detector's or the file's row of this image."
        if not np.isfinite(columns["features"]).all():
            raise InputError(self.path, "a feature is not a finite float16 number.", remedy, row=image_id)
        boxes, classes = columns["boxes"], columns["classes"]
        inside = np.isfinite(boxes).all() and (boxes >= 0).all() and (boxes <= (*size, *size)).all()
        if not inside or (boxes[:, 2:] < boxes[:, :2]).any():
            raise InputError(self.path, f"a box is not inside the image of {size[0]} x {size[1]}.", remedy, image_id)
        if ((classes < -1) | (classes >= len(self.class_names))).any():
            raise InputError(self.path, f"a class is not among the {len(self.class_names)} names.", remedy, image_id)

    def _assemble(self) -> None:
        spool, rows = spool_folder(self.path), self.rows
        needed = sum(p.stat().st_size for p in spool.iterdir())
        if needed > shutil.disk_usage(self.path.parent).free:
            raise OSError(errno.ENOSPC, "No space left on device")
        with atomic(self.path) as temporary:
            places: dict[str, int | None] = {}
            with h5py.File(temporary, "w", locking=False) as file:
                for name, (dtype, width) in COLUMNS.items():
                    shape = (rows,) if width == 1 else (rows, width or self.feature_size)
                    places[name] = _allocate(file, name, shape, np.dtype(dtype))
                self._write_index(file)
            with temporary.open("r+b") as out:
                for name, place in places.items():
                    if place is not None:
                        out.seek(place)
                        with (spool / name).open("rb") as column:
                            shutil.copyfileobj(column, out, _BLOCK)

    def _write_index(self, file: h5py.File) -> None:
        file["offsets"] = np.concatenate([[0], np.cumsum(self._lengths, dtype=np.int64)]).astype("<i8")
        file["image_sizes"] = np.array(self._sizes, "<i4").reshape(-1, 2)
        file["checksums"] = np.frombuffer(b"".join(self._digests), np.uint8).reshape(-1, 32)
        _write_strings(file, "image_ids", list(self._ids))
        _write_strings(file, "class_names", self.class_names)
        file.attrs["format"] = FORMAT
        for key, value in self.facts.items():
            file.attrs[key] = value


class RegionStore:
    """Read a region store. Pickles as its path, so each worker process maps the file itself."""

    def __init__(self, path: str | Path) -> None:
        """Raises InputError: the file is missing, cut short, not a region store, or has another dtype or layout."""
        self.path = Path(path)
        self._open()

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.path = state["path"]
        self._columns = None

    def __len__(self) -> int:
        return len(self.image_ids)

    def __contains__(self, image_id: str) -> bool:
        return image_id in self._index

    @property
    def feature_size(self) -> int:
        return self._column("features").shape[1]

    @property
    def rows(self) -> int:
        return self._column("boxes").shape[0]

    @property
    def image_ids(self) -> list[str]:
        self._column("boxes")
        return self._image_ids

    @property
    def class_names(self) -> list[str]:
        self._column("boxes")
        return self._class_names

    @property
    def facts(self) -> dict[str, Any]:
        """The file's attributes: detector, weights sha256, thresholds, code version."""
        self._column("boxes")
        return dict(self._facts)

    def index(self, image_id: str) -> int:
        """Raises InputError: the image is not in the store."""
        try:
            return self._index[image_id]
        except KeyError:
            raise InputError(
                self.path,
                f"the image is not in the store (of {len(self)} images).",
                "It may have been skipped: see quality.json beside the store; else extract the regions again.",
                row=image_id,
            ) from None

    def image_size(self, image_id: str) -> tuple[int, int]:
        """Width, height in pixels."""
        width, height = self._sizes[self.index(image_id)]
        return int(width), int(height)

    def regions(self, image_id: str, limit: int | None = None) -> Regions:
        """The image's regions, best first, at most `limit`; features, boxes, classes and scores are views of the map.

        Raises InputError: the image is not in the store.
        """
        at = self.index(image_id)
        start, stop = int(self._offsets[at]), int(self._offsets[at + 1])
        rows = slice(start, stop if limit is None else min(stop, start + limit))
        width, height = self._sizes[at]
        boxes = self._column("boxes")[rows]
        return Regions(
            features=self._column("features")[rows],
            boxes=boxes,
            geometry=geometry(boxes, width, height),
            classes=self._column("classes")[rows],
            scores=self._column("scores")[rows],
        )

    def tags(self, image_id: str) -> list[str]:
        """Class names of the image's regions, each once, best first; regions without a class give none."""
        classes = self.regions(image_id).classes
        return [self._class_names[c] for c in dict.fromkeys(classes.tolist()) if c >= 0]

    def damaged(self) -> Iterator[str]:
        """The ids of the images whose bytes do not give their checksum."""
        for at, image_id in enumerate(self.image_ids):
            rows = slice(int(self._offsets[at]), int(self._offsets[at + 1]))
            data = {name: self._column(name)[rows].tobytes() for name in COLUMNS}
            width, height = (int(v) for v in self._sizes[at])
            if _digest(image_id, (width, height), data) != self._checksums[at].tobytes():
                yield image_id

    @cached_property
    def _index(self) -> dict[str, int]:
        return {image_id: i for i, image_id in enumerate(self.image_ids)}

    def _column(self, name: str) -> NDArray[Any]:
        if self._columns is None:
            self._open()
        assert self._columns is not None
        return self._columns[name]

    def _open(self) -> None:
        if not self.path.exists():
            note = " (an unfinished write stands beside it)" if spool_folder(self.path).exists() else ""
            raise InputError(self.path, f"there is no region store{note}.", _AGAIN)
        try:
            with h5py.File(self.path, "r", locking=False) as file:
                self._facts = {k: v.item() if isinstance(v, np.generic) else v for k, v in file.attrs.items()}
                if self._facts.get("format") != FORMAT:
                    raise InputError(self.path, f"not a region store of the format {FORMAT}.", _AGAIN)
                self._image_ids, self._class_names = (
                    _read_strings(file, "image_ids"),
                    _read_strings(file, "class_names"),
                )
                self._offsets, self._sizes = _dataset(file, "offsets")[:], _dataset(file, "image_sizes")[:]
                self._checksums: NDArray[np.uint8] = _dataset(file, "checksums")[:]
                self._columns: dict[str, NDArray[Any]] | None = {name: self._map(file, name) for name in COLUMNS}
        except (OSError, RuntimeError, KeyError) as error:
            raise InputError(self.path, f"the file is cut short or damaged ({error}).", _AGAIN) from error
        images, ordered = len(self._image_ids), (np.diff(self._offsets) >= 0).all()
        if len(self._offsets) != images + 1 or not ordered or self._offsets[-1] != len(self._columns["boxes"]):
            raise InputError(self.path, "the offsets do not fit the rows.", _AGAIN)

    def _map(self, file: h5py.File, name: str) -> NDArray[Any]:
        dataset, (dtype, _) = _dataset(file, name), COLUMNS[name]
        if dataset.dtype != np.dtype(dtype):
            wanted = np.dtype(dtype)
            raise InputError(self.path, f"{name} is {dataset.dtype}, wanted {wanted}.", _AGAIN)
        if dataset.chunks is not None:
            raise InputError(self.path, f"{name} is chunked or compressed, wanted contiguous.", _AGAIN)
        if dataset.size == 0:
            return np.zeros(dataset.shape, dtype)
        place = dataset.id.get_offset()
        if place is None or place + dataset.nbytes > self.path.stat().st_size:
            raise InputError(self.path, f"the file is cut short within {name}.", _AGAIN)
        mapped = np.memmap(self.path, dtype, mode="r", offset=place, shape=dataset.shape)
        return mapped.view(np.ndarray)


def spool_folder(path: Path) -> Path:
    """Where the writer of `path` keeps rows until the store is whole."""
    return path.with_name(f".{path.name}.partial")


def _digest(image_id: str, size: tuple[int, int], data: Mapping[str, bytes]) -> bytes:
    digest = hashlib.sha256(f"{image_id}\n{int(size[0])} {int(size[1])}\n".encode())
    for name in COLUMNS:
        digest.update(data[name])
    return digest.digest()


def _allocate(file: h5py.File, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> int | None:
    """Reserve a contiguous dataset without writing it -> its place in the file (None: it is empty)."""
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_layout(h5py.h5d.CONTIGUOUS)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    properties.set_obj_track_times(False)
    kind, space = h5py.h5t.py_create(dtype, logical=True), h5py.h5s.create_simple(shape)
    return h5py.h5d.create(file.id, name.encode(), kind, space, properties).get_offset()


def _dataset(file: h5py.File, name: str) -> h5py.Dataset:
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset):
        raise KeyError(name)
    return dataset


def _write_strings(file: h5py.File, name: str, values: Sequence[str]) -> None:
    encoded = [v.encode() for v in values]
    kind = h5py.string_dtype("utf-8", max([1, *map(len, encoded)]))  # fixed length: contiguous, quick to read
    file.create_dataset(name, data=np.array(encoded, kind), dtype=kind)


def _read_strings(file: h5py.File, name: str) -> list[str]:
    return [value.decode() for value in _dataset(file, name)[:].tolist()]
