"""Search with a model directory: images for a text, texts for an image; coarse by the unimodal encoders, re-ranked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vlp.errors import InputError
from vlp.images.decode import ImageError, header, stretched
from vlp.images.names import AmbiguousError, Names
from vlp.images.pictures import open_picture
from vlp.infer.predictor import Predictor
from vlp.tasks.retrieval import candidates, demand_finite, score

KINDS = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class Hit:
    name: str
    """The image's file or id, or the text."""
    match: float
    """How well the two match, by the model."""
    cosine: float
    """Of the unimodal encoders."""


class Searcher(Predictor):
    """Ranks images by a text and texts by an image, as the task `retrieval` does."""

    def look(self, files: Sequence[Path]) -> Iterator[tuple[Path, Any | InputError]]:
        """What the model sees in each picture, for `gallery`; the error for one that cannot be read."""
        for path in files:
            try:
                yield path, self.own.see(open_picture(path))
            except InputError as error:
                if error.file != str(path):
                    raise  # of the detector
                yield path, error

    def gallery(self, seen: Mapping[str, Any]) -> Any:
        """Pictures that were looked at, by name."""
        return self.own.gallery(seen)

    def open(self, regions: Path) -> Any:
        """A region store in place of pictures; its `image_ids` are the names.

        Raises:
            InputError: it is of another detector than the model's, or the model reads no regions.
        """
        return self.own.open(regions)

    def images(self, text: str, gallery: Any, names: Sequence[str], keep: int) -> list[Hit]:
        """The images by how well the text describes them, best first.

        Args:
            gallery: what `gallery` or `open` gave.
            names: the images, of `gallery`.
            keep: so many are re-ranked, those nearest by the unimodal encoders; the others are left out.

        Raises:
            InputError: the model was not trained to compare images and texts.
        """
        return self._ranked([text], gallery, names, keep, "t2i")

    def texts(self, texts: Sequence[str], gallery: Any, name: str, keep: int) -> list[Hit]:
        """The texts by how well they describe an image of `gallery`; otherwise as `images`."""
        return self._ranked(texts, gallery, [name], keep, "i2t")

    @torch.inference_mode()
    def _ranked(
        self, texts: Sequence[str], gallery: Any, images: Sequence[str], keep: int, direction: str
    ) -> list[Hit]:
        if "match" not in self.abilities:
            problem = f"this model does not score matches; it has {', '.join(sorted(self.abilities))}."
            raise InputError(self.folder, problem, f"Name one fine-tuned for retrieval{self.own.remedy}.")
        scorer = self.own.scorer(texts, gallery, images)
        coarse_IS = scorer.coarse_IS
        if coarse_IS is None:  # nothing orders candidates cheaply
            coarse_IS = np.zeros((len(images), len(texts)), np.float32)
            keep = max(coarse_IS.shape)
        demand_finite(coarse_IS, images, texts)
        pairs = candidates(coarse_IS, np.arange(len(images)), np.arange(len(texts)), keep, keep)[direction]
        wanted_IS = np.zeros(coarse_IS.shape, bool)
        wanted_IS[pairs[:, 0], pairs[:, 1]] = True
        match_IS = score(scorer, wanted_IS)
        demand_finite(match_IS, images, texts, wanted_IS)
        hits = [
            Hit(images[int(i)] if direction == "t2i" else texts[int(s)], float(match_IS[i, s]), float(coarse_IS[i, s]))
            for i, s in pairs.tolist()
        ]
        return sorted(hits, key=lambda h: (-h.match, -h.cosine, h.name))


def of_store(store: Any, files: Sequence[Path], folder: Path) -> dict[str, Path]:
    """The files, in `folder`, that a region store has, by their ids in it (`images.names`).

    Raises:
        InputError: a file may be several images of the store, or an image several files; a file has other proportions
            than its image.
    """
    names, found = Names(store.image_ids), dict[str, Path]()
    for path in files:
        try:
            image_id = _find(names, path, folder)
        except AmbiguousError as error:
            remedy = "Search a folder whose paths tell the images apart as their ids do."
            raise InputError(path, f"{error} of {store.path}.", remedy) from error
        if image_id is None:
            continue
        if image_id in found:
            problem = f"this and {found[image_id]} may both be {image_id} of {store.path}."
            raise InputError(path, problem, "Search a folder that has the image once.")
        found[image_id] = path
        try:
            size = header(path).size
        except ImageError as error:
            raise InputError(path, f"{error}.", "Mend the file, or move it away.") from error
        if stretched(size, store.image_size(image_id)):
            stored = store.image_size(image_id)
            problem = f"it has {size[0]} x {size[1]} pixels, {image_id} of {store.path} has {stored[0]} x {stored[1]}."
            raise InputError(path, problem, "Name the store of these images.")
    return found


def _find(names: Names, path: Path, folder: Path) -> str | None:
    """By the path in the folder; where that fits several, by all of the path."""
    try:
        return names.find(path.relative_to(folder).as_posix())
    except AmbiguousError:
        found = names.find(path.resolve().as_posix())
        if found is None:
            raise
        return found


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
