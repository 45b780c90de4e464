"""Write a region store: image by image, whole or not at all."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from vlp.errors import InputError
from vlp.files import atomic, raise_if_full
from vlp.regions.layout import (
    COLUMNS,
    FORMAT,
    INDEX_DIGEST,
    allocate,
    demand_columns,
    image_digest,
    index_digest,
    spool_folder,
    write_strings,
    write_truth,
)

_BLOCK = 1 << 22


class RegionWriter:
    """Write a store image by image; memory does not grow with the features.

    Rows go to a spool folder beside `path`, since a contiguous dataset must know its length; when the block ends
    without an error the HDF5 file is put together under a temporary name and renamed. After an error, and after a
    kill, no file stands at `path` that was not whole before; the spool of a killed writer is removed by the next one.
    """

    def __init__(
        self,
        path: str | Path,
        feature_size: int,
        class_names: Sequence[str],
        facts: Mapping[str, str | float | int],
        attribute_names: Sequence[str] = (),
    ) -> None:
        """`facts`: file attributes: detector, weights sha256, thresholds, code version."""
        self.path, self.feature_size, self.class_names = Path(path), feature_size, list(class_names)
        self.facts, self.attribute_names = dict(facts), list(attribute_names)
        self._ids: dict[str, None] = {}
        self._sizes: list[tuple[int, int]] = []
        self._lengths: list[int] = []
        self._digests: list[bytes] = []
        self._truth: list[Sequence[str] | None] = []
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
        *,
        truth: Sequence[str] | None = None,
    ) -> None:
        """Append an image (width, height): features [K,D], boxes [K,4] xyxy pixels, classes, scores [K]; K may be 0.

        Rows are sorted by score, best first, NaN last; equal scores keep their order.

        Args:
            truth: the annotation's class names in its order; each is kept once. None: the image is not annotated.

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
        tags = None if truth is None else list(dict.fromkeys(truth))
        self._truth.append(tags)
        self._digests.append(image_digest(image_id, size, data, tags))

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
        demand_columns(self.path, image_id, columns, remedy)
        boxes, classes = columns["boxes"], columns["classes"]
        inside = (boxes >= 0).all() and (boxes <= (*size, *size)).all()
        if not inside or (boxes[:, 2:] < boxes[:, :2]).any():
            raise InputError(self.path, f"a box is not inside the image of {size[0]} x {size[1]}.", remedy, image_id)
        if ((classes < -1) | (classes >= len(self.class_names))).any():
            raise InputError(self.path, f"a class is not among the {len(self.class_names)} names.", remedy, image_id)
        names, attributes = self.attribute_names, columns["attributes"]
        # a source may number its attributes without naming them
        if (attributes < -1).any() or (names and (attributes >= len(names)).any()):
            raise InputError(self.path, f"an attribute is not among the {len(names)} names.", remedy, image_id)

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
                    places[name] = allocate(file, name, shape, np.dtype(dtype))
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
        write_strings(file, "image_ids", list(self._ids))
        write_strings(file, "class_names", self.class_names)
        if self.attribute_names:
            write_strings(file, "attribute_names", self.attribute_names)
        if any(tags is not None for tags in self._truth):
            write_truth(file, self._truth)
        file.attrs["format"] = FORMAT
        file.attrs[INDEX_DIGEST] = index_digest(file)
        for key, value in sorted(self.facts.items()):
            file.attrs[key] = value
