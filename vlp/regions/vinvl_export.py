"""Export a region store as VinVL/Oscar files: the way back of `vinvl_tsv`.

An Oscar-style reader finds a line by imageid2idx.json and *.lineidx, and gets float32 rows of D + 6 numbers.
"""

from __future__ import annotations

import base64
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from vlp.errors import InputError
from vlp.files import atomic, to_json
from vlp.progress import Meter
from vlp.regions.geometry import geometry
from vlp.regions.store import Regions, RegionStore
from vlp.regions.vinvl_tsv import NAMES_FILE

FILES = ("features.tsv", "features.lineidx", "predictions.tsv", "predictions.lineidx", NAMES_FILE, "imageid2idx.json")


def export_tsv(store: RegionStore, folder: Path, dataset: str | None = None) -> int:
    """Write `FILES` into `folder`, each whole or not at all, memory not growing with the features -> images.

    A store that was imported comes back bit by bit. Of other stores two things do not: the score of a region without
    a class, for which the format has no place, and the last bit of boxes that no float32 share of a side gives.

    Args:
        dataset: write the images of this data set, `flickr30k` of `flickr30k/1000268201`; None: there is only one.

    Raises:
        InputError: the store has several data sets and none is named, or none of the named one; the disk is full.
    """
    image_ids = _chosen(store, dataset)
    lines: dict[str, int] = {}
    with ExitStack() as stack:
        files = {name: stack.enter_context(_Lines(stack.enter_context(atomic(folder / name)))) for name in FILES}
        with Meter("export regions", len(image_ids), "images") as meter:
            for image_id in image_ids:
                name, found = image_id.split("/", 1)[-1], store.regions(image_id)
                size = store.image_size(image_id)
                rows = np.concatenate([found.features.astype("<f4"), relative(found.boxes, size)], 1, dtype="<f4")
                encoded = base64.b64encode(np.ascontiguousarray(rows).tobytes()).decode()
                files["features.lineidx"].write(str(files["features.tsv"].place))
                files["features.tsv"].write(f"{name}\t{len(rows)}\t{encoded}")
                value = _prediction(store, found, size, store.truth(image_id))
                files["predictions.lineidx"].write(str(files["predictions.tsv"].place))
                files["predictions.tsv"].write(f"{name}\t{to_json(value, ensure_ascii=False)}")
                lines[name] = len(lines)
                meter.advance(1)
        names = {"class_names": store.class_names, "attribute_names": store.attribute_names, "facts": store.facts}
        files[NAMES_FILE].write(to_json(names, ensure_ascii=False, indent=1))
        files["imageid2idx.json"].write(to_json(lines, ensure_ascii=False))
    return len(lines)


def relative(boxes: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """The six geometry numbers of `boxes` [K,4] (pixels) -> [K,6] float32.

    Of the neighbouring float32 shares that one is taken which, times the image's side, gives the box again.
    """
    numbers, limits = geometry(boxes, size), np.array([*size, *size], np.float64)
    near = numbers[:, :4].copy()
    for toward in (np.float32(-1), np.float32(2)):
        other = np.nextafter(near, toward)
        better = (_pixels(near, limits) != boxes) & (_pixels(other, limits) == boxes)
        numbers[:, :4] = np.where(better, other, numbers[:, :4])
    return numbers


def _pixels(shares: NDArray[np.float32], limits: NDArray[np.float64]) -> NDArray[np.float32]:
    return (shares.astype(np.float64) * limits).astype(np.float32)


def _prediction(store: RegionStore, found: Regions, size: tuple[int, int], truth: list[str] | None) -> dict[str, Any]:
    objects = []
    assert found.attributes is not None and found.attribute_scores is not None
    columns = (found.classes, found.boxes, found.scores, found.attributes, found.attribute_scores)
    for label, box, score, attribute, sureness in zip(*(column.tolist() for column in columns), strict=True):
        if label < 0:
            continue
        value: dict[str, Any] = {"class": store.class_names[label], "rect": box}
        if not np.isnan(score):
            value["conf"] = score
        if attribute >= 0:
            value["attr"] = [store.attribute_names[attribute] if store.attribute_names else str(attribute)]
            if not np.isnan(sureness):
                value["attr_conf"] = [sureness]
        objects.append(value)
    line: dict[str, Any] = {"image_h": size[1], "image_w": size[0], "objects": objects}
    return line if truth is None else {**line, "gt_objects": [{"class": name} for name in truth]}


def _chosen(store: RegionStore, dataset: str | None) -> list[str]:
    sets = sorted({image_id.split("/", 1)[0] for image_id in store.image_ids})
    if dataset is None and len(sets) > 1:
        raise InputError(store.path, f"it has images of {', '.join(sets)}.", "Name one with --dataset.")
    found = [i for i in store.image_ids if dataset is None or i.startswith(f"{dataset}/")]
    if not found:
        raise InputError(store.path, f"it has no image of {dataset}.", f"It has those of {', '.join(sets) or 'none'}.")
    return found


class _Lines:
    """Writes lines and knows its place in the file."""

    def __init__(self, path: Path) -> None:
        self._path, self.place = path, 0
        self._file: IO[bytes] | None = None

    def __enter__(self) -> _Lines:
        self._file = self._path.open("wb")
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, line: str) -> None:
        assert self._file is not None
        self.place += self._file.write(line.encode() + b"\n")
