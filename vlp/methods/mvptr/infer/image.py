"""An image as the model reads it: regions from its own detector, or from a region store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from vlp.errors import InputError
from vlp.images.decode import stretched
from vlp.regions.geometry import geometry
from vlp.regions.layout import Regions, tags_of

if TYPE_CHECKING:
    from PIL.Image import Image
    from transformers import PreTrainedTokenizerBase

    from vlp.regions.detector import Detector
    from vlp.regions.store import RegionStore, TagSource


class Store(Protocol):
    """What of a region store is asked for."""

    @property
    def feature_size(self) -> int: ...

    @property
    def class_names(self) -> list[str]: ...

    def index(self, image_id: str) -> int: ...

    def regions(self, image_id: str, limit: int | None = None) -> Regions: ...

    def tags(self, image_id: str) -> list[str]: ...

    def image_size(self, image_id: str) -> tuple[int, int]: ...


@dataclass(frozen=True)
class OneImage:
    """A store of one image, whichever its id."""

    found: Regions
    size: tuple[int, int]
    class_names: list[str]

    @property
    def feature_size(self) -> int:
        return self.found.features.shape[1]

    def index(self, image_id: str) -> int:
        return 0

    def image_size(self, image_id: str) -> tuple[int, int]:
        return self.size

    def regions(self, image_id: str, limit: int | None = None) -> Regions:
        f = self.found
        return Regions(f.features[:limit], f.boxes[:limit], f.geometry[:limit], f.classes[:limit], f.scores[:limit])

    def tags(self, image_id: str) -> list[str]:
        return tags_of(self.found.classes, self.class_names)


@dataclass(frozen=True)
class Gallery:
    """The regions of many images, by name."""

    found: Mapping[str, OneImage]

    @property
    def feature_size(self) -> int:
        return next(iter(self.found.values())).feature_size

    @property
    def class_names(self) -> list[str]:
        return next(iter(self.found.values())).class_names

    def index(self, image_id: str) -> int:
        return list(self.found).index(image_id)

    def regions(self, image_id: str, limit: int | None = None) -> Regions:
        return self.found[image_id].regions(image_id, limit)

    def tags(self, image_id: str) -> list[str]:
        return self.found[image_id].tags(image_id)

    def image_size(self, image_id: str) -> tuple[int, int]:
        return self.found[image_id].size


@dataclass(frozen=True)
class Tags:
    """The part of a corpus that tells an image's tags."""

    store: Store
    tokenizer: PreTrainedTokenizerBase

    def tags(self, image_id: str, source: TagSource = "detector") -> list[np.ndarray]:
        """Only the detector's: `source` is there for the corpus's sake."""
        encode = self.tokenizer.encode
        return [np.asarray(encode(t, add_special_tokens=False), np.int32) for t in self.store.tags(image_id)]


def detect(detector: Detector, picture: Image) -> OneImage:
    """The regions of a picture, the same as `vlp regions extract` would store of it."""
    from vlp.regions.detectors.small import Small

    small = Small(detector, "")
    found = small([small.prepare(picture)], [picture.size])[0]
    return OneImage(
        Regions(
            features=found.features.astype(np.float16),
            boxes=found.boxes,
            geometry=geometry(found.boxes, picture.size),
            classes=found.classes.astype(np.int32),
            scores=found.scores,
        ),
        picture.size,
        detector.class_names,
    )


class Detectors:
    """Loads the model's detector when the first picture needs it."""

    def __init__(self, model_dir: Path, record: Mapping[str, Any], given: Path | None) -> None:
        self._arguments = model_dir, record, given

    @cached_property
    def detector(self) -> Detector:
        from vlp.regions.carried import load

        return load(*self._arguments)


def check_store(store: RegionStore, record: Mapping[str, Any]) -> None:
    """Raises InputError: the store's regions are not such as the model was trained on."""
    wanted = record["regions"]["feature_size"]
    remedy = "Name the region store of the detector that the model was trained with."
    if store.feature_size != wanted:
        problem = f"its features have {store.feature_size} numbers, the model's {wanted}."
        raise InputError(store.path, problem, remedy)
    digest = (record.get("detector") or {}).get("sha256")
    if digest is not None and store.facts.get("weights_sha256") != digest:
        made = store.facts.get("weights_sha256", "none of ours")
        raise InputError(store.path, f"made by another detector ({made}) than the model's ({digest}).", remedy)


def scale_between(stored: tuple[int, int], picture: Image, path: str) -> tuple[float, float]:
    """What takes the store's pixels to the picture's. Raises InputError: the picture has other proportions."""
    if stretched(picture.size, stored):
        problem = f"it has {picture.width} x {picture.height} pixels, the region store says {stored[0]} x {stored[1]}."
        raise InputError(path, problem, "Give the image of this --image-id.")
    return picture.width / stored[0], picture.height / stored[1]
