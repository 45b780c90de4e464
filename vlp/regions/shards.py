"""An extraction in shards: what each writes beside its store, and the store made of all."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vlp.errors import InputError
from vlp.files import read_json
from vlp.parts import check_complete, name_of
from vlp.progress import Meter
from vlp.regions.extract import Extraction
from vlp.regions.folder import write_manifest
from vlp.regions.store import ALIKE, RegionStore, RegionWriter

_AGAIN = "Run vlp regions extract --shard {} again."


def shard_file(folder: Path, number: int, count: int) -> Path:
    """The store of shard `number` of `count`; its record stands beside it (.json)."""
    return folder / "shards" / f"{number}-of-{count}.h5"


def record(result: Extraction, skipped: Sequence[Mapping[str, str]], shard: tuple[int, int]) -> dict[str, Any]:
    """What a shard tells of its images; `merge` reads it."""
    return {
        "shard": list(shard),
        "images": result.images,
        "regions": result.regions,
        "resumed": result.resumed,
        "images_per_second": round(result.images_per_second, 3),
        "without_detection": result.without_detection,
        "whole_image": result.whole_image,
        "notes": result.notes,
        "skipped": list(skipped),
    }


def in_folder(folder: Path) -> list[Path]:
    """The shards that `extract --images DIR --out folder --shard I/N` wrote, in their order.

    Raises:
        InputError: there are none, or of two ways to cut.
    """
    found = {path: re.fullmatch(r"(\d+)-of-(\d+)", path.stem) for path in (folder / "shards").glob("*.h5")}
    places = {path: (int(match[1]), int(match[2])) for path, match in found.items() if match}
    if not places:
        raise InputError(folder / "shards", "there are no shards.", "Run vlp regions extract --shard I/N first.")
    counts = sorted({count for _, count in places.values()})
    if len(counts) > 1:
        problem = f"shards of an extraction in {counts[0]} and of one in {counts[1]}."
        raise InputError(folder / "shards", problem, "Remove those of the one you do not want.")
    return sorted(places, key=lambda path: places[path])


def merge(shards: Sequence[Path], out: Path) -> Extraction:
    """Write the store `out` of all shards, image by image: memory does not grow with their size.

    Returns:
        What became of the images of all shards; their images per second are added up.

    Raises:
        InputError: a shard is missing, twice there, not whole, or of another detector, settings or code than the first.
    """
    stores, records = _opened(shards)
    first = stores[0]
    for store, value in zip(stores, records, strict=True):
        store.check_whole(_AGAIN.format(name_of(value)))
    facts = {k: v for k, v in first.facts.items() if k != "format"}
    with (
        Meter("merge shards", sum(map(len, stores)), "images") as meter,
        RegionWriter(out, first.feature_size, first.class_names, facts, first.attribute_names) as writer,
    ):
        for store in stores:
            for image_id in store.image_ids:
                found = store.regions(image_id)
                columns = (found.features, found.boxes, found.classes, found.scores)
                attributes = (found.attributes, found.attribute_scores)
                size, truth = store.image_size(image_id), store.truth(image_id)
                writer.add(image_id, size, *columns, *attributes, truth=truth)
                meter.advance(1)
        return _summed(records, writer.images, writer.rows)


def keep(shards: Sequence[Path], folder: Path) -> Extraction:
    """As `merge`, but nothing is copied: the shards' folder becomes the store, by its manifest.

    Raises:
        InputError: as `merge`; a shard lies elsewhere, or another region store lies in the folder.
    """
    _, records = _opened(shards)
    others = {path.resolve() for path in folder.glob("*.h5")} ^ {path.resolve() for path in shards}
    if others:
        problem = "not one of the shards, or a shard in another folder."
        raise InputError(min(others), problem, f"Have the shards, and no other store, in {folder}.")
    write_manifest(folder)  # compares every byte with its checksum
    store = RegionStore(folder)
    return _summed(records, len(store), store.rows)


def _opened(shards: Sequence[Path]) -> tuple[list[RegionStore], list[dict[str, Any]]]:
    """All shards of one extraction, and what each told of its images."""
    records = [read_json(path.with_suffix(".json")) for path in shards]
    check_complete(shards, records, _AGAIN)
    stores = [RegionStore(path) for path in shards]
    first = stores[0]
    keys = sorted({key for store in stores for key in store.facts} - {"code_version"})
    for store, value in zip(stores, records, strict=True):
        differing = [key for key in keys if first.facts.get(key) != store.facts.get(key)]
        differing += [name.replace("_", " ") for name in ALIKE if getattr(store, name) != getattr(first, name)]
        if differing:
            problem = f"made otherwise than {first.path.name}: {', '.join(differing)}."
            raise InputError(store.path, problem, _AGAIN.format(name_of(value)))
    return stores, records


def _summed(records: Sequence[Mapping[str, Any]], images: int, regions: int) -> Extraction:
    result = Extraction(images=images, regions=regions)
    result.images_per_second = sum(value["images_per_second"] for value in records)
    result.resumed = sum(value["resumed"] for value in records)
    result.without_detection = [i for value in records for i in value["without_detection"]]
    result.whole_image = [i for value in records for i in value["whole_image"]]
    notes: Counter[str] = Counter()
    for value in records:
        notes.update(value["notes"])
    result.notes = dict(sorted(notes.items()))
    return result


def skipped_in(shards: Sequence[Path]) -> list[dict[str, str]]:
    """The images that the shards left out."""
    return [row for path in shards for row in read_json(path.with_suffix(".json"))["skipped"]]
