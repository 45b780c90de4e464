"""Ground-truth tags into a store that is there: its rows are copied as bytes, not made again."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from vlp.data.tables import rows, table_path
from vlp.errors import InputError
from vlp.files import atomic
from vlp.images.names import AmbiguousError, Same, both_sides
from vlp.regions.folder import write_manifest
from vlp.regions.layout import INDEX_DIGEST, TRUTH, dataset, index_digest, write_truth
from vlp.regions.manifest import read_manifest
from vlp.regions.shard import Shard
from vlp.regions.store import RegionStore


def truth_tags(objects: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Image -> class names of its annotated objects, each once, in the order of `objects`.

    An image without an object is not annotated: in a table of several data sets only some have objects.
    """
    found: dict[str, dict[str, None]] = {}
    for row in objects:
        found.setdefault(row["image_id"], {})[row["class_name"]] = None
    return {image_id: list(names) for image_id, names in found.items()}


def annotate_train(store: Path, tables: Path, out: Path, whole: bool = True) -> int:
    """`annotate` with the objects, and the labels without a box, of the train images -> number of images with tags.

    Args:
        whole: `store` is of all images; a shard may have none of train, and stays as it is.

    Raises:
        InputError: as `annotate`; the tables have no object and no label of the train images.
    """
    both = (rows(tables, name, "train", ["image_id", "class_name"]) for name in ("objects", "labels"))
    truth = truth_tags(chain.from_iterable(both))
    if not truth:
        remedy = "Set data.objects or data.labels and read the tables again, or have the detector's tags read."
        raise InputError(table_path(tables, "objects"), "no train image has an object or a label.", remedy)
    known = Same(truth)
    if not whole and not any(image_id in known for image_id in RegionStore(store).image_ids):
        return 0
    return annotate(store, truth, out)


def annotate(store: Path, truth: Mapping[str, Sequence[str]], out: Path) -> int:
    """Write the store `out` = `store` with these ground-truth tags -> number of its images that have them.

    Tags that `store` had are replaced; images that `truth` does not name are not annotated. `out` may be `store`.

    Raises:
        InputError: `store` is damaged, `truth` names none of its images, the disk is full.
    """
    ids, known = RegionStore(store).image_ids, Same(truth)
    try:
        named = {image_id: same for image_id in ids if (same := known.find(image_id)) is not None}
    except AmbiguousError as error:
        raise InputError(store, f"{error}.", "Name the tables that this store was made from.") from error
    if not named:
        problem = f"the ground truth names none of its images ({both_sides(truth, ids)})."
        raise InputError(store, problem, "Name the tables that this store was made from.")
    truth, count = {image_id: truth[same] for image_id, same in named.items()}, len(named)
    if not store.is_dir():
        _annotate_file(store, truth, out)
        return count
    if out.resolve() == store.resolve():
        raise InputError(store, "a store of many files is not changed in place.", "Name another folder with --out.")
    out.mkdir(parents=True, exist_ok=True)
    for entry in read_manifest(store).shards:
        _annotate_file(store / entry.file, truth, out / entry.file)
    write_manifest(out)
    return count


def _annotate_file(path: Path, truth: Mapping[str, Sequence[str]], out: Path) -> None:
    shard = Shard(path)
    shard.check_whole("Extract or import the regions again.")  # new checksums would hide it
    ids = [name.decode() for name in shard.ids.tolist()]
    tags = [list(dict.fromkeys(truth[i])) if i in truth else None for i in ids]
    with atomic(out) as temporary:
        shutil.copyfile(path, temporary)
        with h5py.File(temporary, "r+", locking=False) as file:
            for name in TRUTH:
                if name in file:
                    del file[name]
            if any(t is not None for t in tags):
                write_truth(file, tags)
            digests = b"".join(shard.digest(at, names) for at, names in enumerate(tags))
            dataset(file, "checksums")[...] = np.frombuffer(digests, np.uint8).reshape(-1, 32)
            file.attrs[INDEX_DIGEST] = index_digest(file)
