"""Run the detector over every image of the tables into a region store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vlp.errors import InputError
from vlp.regions.detector import Detector, Found
from vlp.regions.images import ImageError, ImageRecord, Skipped, read_image, scale_to, to_float
from vlp.regions.progress import Meter
from vlp.regions.quality import by_split
from vlp.regions.store import RegionWriter
from vlp.regions.train import deterministic
from vlp.tracking.run import code_version

BATCH = 16


@dataclass
class Extraction:
    """What became of the images."""

    images: int = 0
    regions: int = 0
    without_detection: list[str] = field(default_factory=list)
    """Images where no region reaches the score threshold: they have regions without a class, and no tags."""
    whole_image: list[str] = field(default_factory=list)
    """Of these, images without any region: their one region is the whole image, class -1, score 0."""
    images_per_second: float = 0.0


def extract(
    detector: Detector,
    images: Sequence[ImageRecord],
    out: Path,
    skipped: Skipped,
    facts: dict[str, Any],
    threads: int,
) -> Extraction:
    """Write the store `out` with the regions of `images`: the same bytes on the same machine and threads.

    Regions at or above the score threshold carry their class; where an image has fewer than `min_regions` of them,
    its next best regions are kept too, without a class, so tags come from sure regions only (VinVL keeps at least 10).

    Raises:
        InputError: no image can be read, one cannot and `skipped` says stop, the disk is full; `out` is not touched.
    """
    result = Extraction()
    with deterministic(0, threads), Meter("extract regions", len(images), "images") as meter:
        with RegionWriter(out, detector.config.feature_size, detector.class_names, facts) as writer:
            for batch, read in _batches(images, skipped):
                found = detector.detect([to_float(pixels) for _, pixels in batch]) if batch else []
                for (record, pixels), regions in zip(batch, found, strict=True):
                    _add(writer, detector, record, pixels, regions, result)
                meter.advance(read)
            if not writer.images:
                raise InputError(out, "none of the images can be read.", "Check data.root and data.images.")
            result.images, result.regions = writer.images, writer.rows
        result.images_per_second = meter.rate
    return result


def store_facts(detector: Detector, weights_sha256: str) -> dict[str, str | float | int]:
    """What the store's file attributes tell of its making."""
    config = detector.config
    return {
        "detector": "torchvision Faster R-CNN, small backbone",
        "weights_sha256": weights_sha256,
        "score_threshold": config.score_threshold,
        "nms_threshold": config.nms_threshold,
        "min_regions": config.min_regions,
        "max_regions": config.max_regions,
        "code_version": code_version(),
    }


def report(
    store: Path,
    images: Sequence[ImageRecord],
    objects: Iterable[Mapping[str, Any]],
    skipped: Skipped,
    result: Extraction,
) -> dict[str, Any]:
    """quality.json: rates and counts of each split against the `objects` table, and the images that are special."""
    return {
        "splits": by_split(store, {record.image_id: record.split for record in images}, objects),
        "without_detection": result.without_detection,
        "whole_image": result.whole_image,
        "skipped": skipped.images,
    }


def rows_of(detector: Detector, record: ImageRecord, pixels: Tensor, found: Found) -> Found:
    """An image's regions as they are stored: boxes in the record's pixels, a class (else -1) only for regions that
    reach the score threshold; the whole image, class -1, score 0, where nothing was found.
    """
    limits = torch.tensor([record.width, record.height] * 2, dtype=torch.float32)
    boxes, scores, features = found.boxes * scale_to(record, pixels), found.scores, found.features
    classes = torch.where(scores >= detector.config.score_threshold, found.classes, -1)
    if not len(scores):
        height, width = pixels.shape[-2:]
        whole = torch.tensor([[0.0, 0.0, width, height]])
        features = detector.describe([to_float(pixels)], [whole])[0]
        boxes, classes, scores = limits[None] * torch.tensor([0.0, 0, 1, 1]), torch.tensor([-1]), torch.zeros(1)
    boxes = boxes.clamp(min=0).minimum(limits)  # rounding in the scale may step over the edge
    return Found(boxes, classes, scores, features)


def _add(
    writer: RegionWriter, detector: Detector, record: ImageRecord, pixels: Tensor, found: Found, result: Extraction
) -> None:
    rows = rows_of(detector, record, pixels, found)
    if not (rows.classes >= 0).any():
        result.without_detection.append(record.image_id)
    if not len(found.scores):
        result.whole_image.append(record.image_id)
    size = (record.width, record.height)
    columns = (rows.features, rows.boxes, rows.classes, rows.scores)
    writer.add(record.image_id, size, *(column.numpy() for column in columns))


def _batches(images: Sequence[ImageRecord], skipped: Skipped) -> Iterator[tuple[list[tuple[ImageRecord, Tensor]], int]]:
    """Groups of images that can be read, with the number of images looked at for each."""
    for start in range(0, len(images), BATCH):
        group = images[start : start + BATCH]
        read = []
        for record in group:
            try:
                read.append((record, read_image(record)))
            except ImageError as bad:
                skipped.add(record, record.path, str(bad))
        yield read, len(group)
