"""Search with a model directory: images for a text, texts for an image; coarse by the unimodal encoders, re-ranked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from vlp.errors import InputError
from vlp.infer.image import OneImage, Store, check_store, detect, open_picture
from vlp.infer.predictor import Predictor
from vlp.methods.mvptr.reranking import UnimodalCache
from vlp.regions.store import Regions, RegionStore
from vlp.tasks.retrieval import candidates, score

KINDS = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class Hit:
    name: str
    """The image's file or id, or the text."""
    match: float
    """ITM probability."""
    cosine: float
    """Of the unimodal encoders."""


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


class Searcher(Predictor):
    """Ranks images by a text and texts by an image, as the task `retrieval` does (paper 4.2.1)."""

    def look(self, files: Sequence[Path]) -> Iterator[tuple[Path, OneImage | InputError]]:
        """The regions of each picture by the model's detector; the error for one that cannot be read."""
        for path in files:
            try:
                yield path, detect(self._detectors.detector, open_picture(path))
            except InputError as error:
                if error.file != str(path):
                    raise  # of the detector
                yield path, error

    def open(self, regions: Path) -> RegionStore:
        """A region store in place of pictures. Raises InputError: it is of another detector than the model's."""
        store = RegionStore(regions)
        check_store(store, self._record)
        return store

    def images(self, text: str, store: Store, names: Sequence[str], keep: int) -> list[Hit]:
        """The images by how well the text describes them, best first.

        Args:
            names: the images, of `store`.
            keep: so many are re-ranked, those nearest by the unimodal encoders; the others are left out.

        Raises:
            InputError: the model was not trained to compare images and texts.
        """
        return self._ranked([text], store, names, keep, "t2i")

    def texts(self, texts: Sequence[str], store: Store, name: str, keep: int) -> list[Hit]:
        """The texts by how well they describe an image of `store`; otherwise as `images`."""
        return self._ranked(texts, store, [name], keep, "i2t")

    @torch.inference_mode()
    def _ranked(
        self, texts: Sequence[str], store: Store, images: Sequence[str], keep: int, direction: str
    ) -> list[Hit]:
        if "match" not in self.abilities:
            does = ", ".join(sorted(self.abilities))
            raise InputError(
                self.folder, f"this model does not score matches; it has {does}.", "Name one of stage 2, or retrieval."
            )
        collator = self._collator([self._reader(t) for t in texts], store)
        cache = UnimodalCache(self.model, collator, np.arange(len(texts)), images)
        coarse_IS = cache.coarse_IS
        if coarse_IS is None:  # nothing orders candidates cheaply
            coarse_IS = np.zeros((len(images), len(texts)), np.float32)
            keep = max(coarse_IS.shape)
        pairs = candidates(coarse_IS, np.arange(len(images)), np.arange(len(texts)), keep, keep)[direction]
        wanted_IS = np.zeros(coarse_IS.shape, bool)
        wanted_IS[pairs[:, 0], pairs[:, 1]] = True
        match_IS = score(cache, wanted_IS)
        hits = [
            Hit(images[int(i)] if direction == "t2i" else texts[int(s)], float(match_IS[i, s]), float(coarse_IS[i, s]))
            for i, s in pairs.tolist()
        ]
        return sorted(hits, key=lambda h: (-h.match, -h.cosine, h.name))


def pictures(folder: Path) -> list[Path]:
    """The image files of a folder and those below it, by name. Raises InputError: there is none."""
    if not folder.is_dir():
        raise InputError(folder, "there is no such folder.", "Check the path.")
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in KINDS)
    if not found:
        raise InputError(folder, f"holds no image ({', '.join(KINDS)}).", "Name a folder of pictures.")
    return found


def lines(path: Path) -> list[str]:
    """The texts of a file, one a line; empty lines are no texts. Raises InputError: missing, not UTF-8, or empty."""
    try:
        found = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError as error:
        raise InputError(path, "there is no such file.", "Check the path.") from error
    except UnicodeDecodeError as error:
        raise InputError(path, f"not UTF-8 text ({error.reason}).", "Save it as UTF-8.") from error
    kept = list(dict.fromkeys(line for line in found if line))
    if not kept:
        raise InputError(path, "holds no text.", "Write one text a line.")
    return kept
