"""Run a detector over images into a region store: decode, detect, keep what is finished, write the store whole."""

from __future__ import annotations

import contextlib
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vlp.errors import InputError
from vlp.files import raise_if_full, sha256, to_json
from vlp.images.decode import ImageError, ImageRecord, Skipped, decode_image
from vlp.progress import Meter
from vlp.regions.detectors.base import Detector, Found
from vlp.regions.finished import Finished, path_for
from vlp.regions.plan import batches
from vlp.regions.quality import by_split
from vlp.regions.store import RegionWriter
from vlp.regions.train import deterministic
from vlp.tracking.run import code_version

if TYPE_CHECKING:
    from PIL import Image

BATCH = 16
CODE = (
    "images/decode.py",
    "images/heard.py",
    "images/jpeg.py",
    "images/modes.py",
    "regions/appearance.py",
    "regions/detector.py",
    "regions/detectors",
    "regions/extract.py",
    "regions/plan.py",
)
"""The sources that regions depend on: shards made with others are not merged."""

Prepare = Callable[["Image.Image"], Tensor]


@dataclass
class Extraction:
    """What became of the images."""

    images: int = 0
    regions: int = 0
    resumed: int = 0
    """Images that an earlier, killed run had finished."""
    without_detection: list[str] = field(default_factory=list)
    """Images where no region has a class: they have no tags."""
    whole_image: list[str] = field(default_factory=list)
    """Of these, images without any region: their one region is the whole image, class -1, score 0."""
    notes: dict[str, int] = field(default_factory=dict)
    """What the decoder warned of and decided, and for how many images."""
    images_per_second: float = 0.0


def extract(
    detector: Detector,
    images: Sequence[ImageRecord],
    out: Path,
    skipped: Skipped,
    facts: Mapping[str, str | float | int],
    threads: int,
    batch_size: int = BATCH,
    workers: int = 0,
) -> Extraction:
    """Write the store `out` with the regions of `images`, in their order.

    On the CPU the same bytes on the same machine, threads and batch size, also after a kill: finished batches stand
    in a file beside `out` until the store is whole, and a run that goes on makes the batches that are missing. Images
    that an earlier run had to leave out are tried again.

    Args:
        facts: what `store_facts` gives.
        workers: processes that decode and resize; 0: none.

    Raises:
        InputError: no image can be read, one cannot and `skipped` says stop, the disk is full, another process works
            on `out`; an older store at `out` is not touched.
    """
    plan = batches(images, batch_size)
    log = Finished(path_for(out), _key(detector, plan, facts), detector.feature_size)
    with log as done, _repeatable(detector, threads):
        try:
            result = Extraction(resumed=len(done))
            result.images_per_second = _detect(detector, _missing(plan, done), done, skipped, workers)
        except OSError as error:
            _raise_if_full(error, out, len(done))
            raise
        if not len(done) and images:  # a shard may have no images
            done.remove()
            raise InputError(out, "none of the images can be read.", "Check the images' folder, or the config's data.")
        names = (detector.class_names, detector.attribute_names)
        with RegionWriter(out, detector.feature_size, names[0], facts, names[1]) as writer:
            for image in images:
                if image.image_id in done:
                    _add(writer, image, done.get(image.image_id), result)
            result.images, result.regions = writer.images, writer.rows
        kept = (note for image_id, notes in done.notes.items() if image_id in done for note in notes)
        result.notes = dict(sorted(Counter(kept).items()))
        done.remove()
    return result


def store_facts(detector: Detector) -> dict[str, str | float | int]:
    """What the store's file attributes tell of its making: the detector's settings, one by one."""
    facts: dict[str, Any] = {"detector": detector.name, "weights_sha256": detector.weights_sha256, **detector.settings}
    facts |= {"regions_code": _code(), "code_version": code_version()}
    plain = {k: isinstance(v, str | float | int) and not isinstance(v, bool) for k, v in facts.items()}
    return {k: facts[k] if plain[k] else to_json(facts[k]) for k in sorted(facts)}


def report(
    store: Path,
    images: Sequence[ImageRecord],
    objects: Iterable[Mapping[str, Any]],
    skipped: Sequence[Mapping[str, str]],
    result: Extraction,
) -> dict[str, Any]:
    """quality.json: rates and counts of each split against the `objects` table, and the images that are special."""
    return {
        "splits": by_split(store, {record.image_id: record.split for record in images}, objects),
        "without_detection": result.without_detection,
        "whole_image": result.whole_image,
        "notes": result.notes,
        "skipped": list(skipped),
    }


_Prepared = tuple["Tensor | str", tuple[str, ...]]
"""An image and what is to be said of it; in the place of an image that cannot be read stands the reason."""


class _Decoded(Dataset[list[_Prepared]]):
    """Batches of prepared images."""

    def __init__(self, plan: Sequence[Sequence[ImageRecord]], prepare: Prepare) -> None:
        self._plan, self._prepare = plan, prepare

    def __len__(self) -> int:
        return len(self._plan)

    def __getitem__(self, at: int) -> list[_Prepared]:
        return [self._one(image) for image in self._plan[at]]

    def _one(self, image: ImageRecord) -> _Prepared:
        try:
            found = decode_image(image)
            return self._prepare(found.image), found.notes
        except ImageError as bad:
            return str(bad), ()


def _detect(
    detector: Detector, plan: Sequence[Sequence[ImageRecord]], done: Finished, skipped: Skipped, workers: int
) -> float:
    """Detect the batches of `plan` into `done` -> images per second."""
    workers = min(workers, len(plan))
    decoded = DataLoader(
        _Decoded(plan, detector.prepare), batch_size=None, num_workers=workers, collate_fn=_as_it_is, shuffle=False
    )
    total = sum(map(len, plan))
    note = f"({len(done)} done before)" if len(done) else ""
    with Meter("extract regions", total, "images") as meter:
        for group, prepared in zip(plan, decoded, strict=True):
            tensors = [tensor for tensor, _ in prepared]
            notes = {image.image_id: said for image, (_, said) in zip(group, prepared, strict=True) if said}
            reasons = {}
            for image, tensor in zip(group, tensors, strict=True):
                if isinstance(tensor, str):
                    skipped.add(image, image.path, tensor)
                    reasons[image.image_id] = tensor
            good = [(i, t) for i, t in zip(group, tensors, strict=True) if not isinstance(t, str)]
            sizes = [(image.width, image.height) for image, _ in good]
            found = detector([tensor for _, tensor in good], sizes) if good else []
            done.add({image.image_id: f for (image, _), f in zip(good, found, strict=True)}, reasons, notes)
            meter.advance(len(group), note)
        return meter.rate


def _missing(plan: Sequence[Sequence[ImageRecord]], done: Finished) -> list[list[ImageRecord]]:
    """Batches that are not finished, as planned, so that they give the same bytes; then images left out before."""
    known = {i.image_id for group in plan for i in group if i.image_id in done or i.image_id in done.skipped}
    fresh = [list(group) for group in plan if group[0].image_id not in known]
    again = [[i for i in group if i.image_id in done.skipped] for group in plan if group[0].image_id in known]
    return fresh + [group for group in again if group]


def _add(writer: RegionWriter, image: ImageRecord, found: Found, result: Extraction) -> None:
    if not (found.classes >= 0).any():
        result.without_detection.append(image.image_id)
    size = (image.width, image.height)
    if found.scores.tolist() == [0] and found.boxes.tolist() == [[0, 0, *size]]:
        result.whole_image.append(image.image_id)
    columns = (found.features, found.boxes, found.classes, found.scores, found.attributes, found.attribute_scores)
    writer.add(image.image_id, size, *columns)


def _key(detector: Detector, plan: Sequence[Sequence[ImageRecord]], facts: Mapping[str, str | float | int]) -> str:
    """Digest of all that the regions depend on: weights, settings, code, images and how they are batched."""
    cut = [[(image.image_id, image.width, image.height) for image in group] for group in plan]
    facts = {k: v for k, v in facts.items() if k != "code_version"}  # the regions' own code is in `regions_code`
    names = [list(detector.class_names), list(detector.attribute_names)]
    value = [facts, *names, detector.feature_size, cut]
    return hashlib.sha256(to_json(value, sort_keys=True).encode()).hexdigest()


def _code() -> str:
    """Digest of `CODE`: a change elsewhere does not make a killed extraction begin anew, nor part its shards."""
    root = Path(__file__).parents[1]
    files = [path for name in CODE for path in ([root / name] if name.endswith(".py") else (root / name).rglob("*.py"))]
    lines = [f"{sha256(path)}  {path.relative_to(root).as_posix()}\n" for path in sorted(files)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


@contextlib.contextmanager
def _repeatable(detector: Detector, threads: int) -> Iterator[None]:
    """Deterministic kernels on the CPU; CUDA has none for some of the detectors' parts."""
    if str(getattr(detector, "device", "cpu")) == "cpu":
        with deterministic(0, threads), torch.inference_mode():
            yield
    else:
        with torch.inference_mode():
            yield


def _raise_if_full(error: OSError, out: Path, finished: int) -> None:
    try:
        raise_if_full(error, out)
    except InputError as full:
        problem = f"the disk is full; {finished} finished images are kept in {path_for(out).name}."
        remedy = "Free some space, then run the same command again: it goes on from there."
        raise InputError(out, problem, remedy) from full


def _as_it_is(value: Any) -> Any:
    return value
