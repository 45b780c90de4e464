"""Alignment by level while a model is pre-trained: tags and phrases with regions, texts with images.

The paper builds its losses on these levels (3.3) and shows their effect on tasks alone. Here each is measured on a few
fixed images of val: which region a tag or a phrase is most similar to, and whether a text finds its image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vlp.batching.inputs import Inputs
from vlp.data import tables
from vlp.methods.mvptr.batch import Batch
from vlp.methods.mvptr.model import Mvptr, Unimodal
from vlp.methods.mvptr.reader import Collator, collator
from vlp.methods.mvptr.reading import read_from
from vlp.methods.mvptr.steps import span_similarity
from vlp.metrics import grounding as metric
from vlp.metrics.ranking import best
from vlp.models.device import device_of
from vlp.objectives.classification import MATCH
from vlp.regions.geometry import iou_matrix
from vlp.regions.store import Regions

SIZE = 64
"""Pairs of one pass."""
BOXES, LABELS = "annotated boxes", "the detector's labels"
"""What tells which region is right."""
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Level:
    """What a reading is compared with; shares in percent."""

    truth: str
    n: int
    chance: float
    """What guessing gets."""
    best: float
    """What a perfect choice gets: of some no region is right."""


@dataclass(frozen=True)
class Asked:
    """One tag or phrase of an image: where it stands in its sequence, and which of the image's regions are right."""

    positions: NDArray[np.int64]
    right_R: Bools


@dataclass(frozen=True)
class Part:
    """Pairs that go through the model together, and what is asked of each."""

    batch: Batch
    tags: list[list[Asked]]
    phrases: list[list[Asked]]


class Alignment:
    """Measures `levels` of a model on fixed images of val, one caption each.

    Levels: `region_tag` and `phrase_region_unimodal` by the cosine of the last states of the unimodal encoders,
    `phrase_region` by that of the multimodal layer which WPG reads (eq. 7), `image_text` R@1 among these images by the
    unimodal vectors, mean of both directions, `itm` the share of pairs, half of them of another image, that are told
    right. Merged attention has no unimodal encoders: tags are read from its last states.
    """

    def __init__(self, inputs: Inputs, images: int, *, cross_modal: bool, matching: bool) -> None:
        """
        Args:
            images: so many at most, evenly spaced among those of val; those with annotated phrases, where there are.
            cross_modal: the multimodal encoder is trained.
            matching: and so is its ITM head.
        """
        self.inputs, self.cross_modal, self.matching = inputs, cross_modal, matching
        self.merged = inputs.experiment.model.fusion == "merged"
        self.grounded = bool(self._phrase_boxes)
        self.collator: Collator = collator(
            inputs, "grounding" if self.grounded else "captions", tag_source=inputs.experiment.pretraining.tag_source
        )
        self.rows = self._choose(images)
        self.images = [self.collator.texts.image_ids[row] for row in self.rows]
        self.annotated = any(image in self._objects for image in self.images)
        self.parts = [self._part(slice(at, at + SIZE)) for at in range(0, len(self.rows), SIZE)]
        self.levels = self._levels()

    @property
    def about(self) -> dict[str, Any]:
        return {"images": len(self.rows), "levels": {name: asdict(level) for name, level in self.levels.items()}}

    # -- what is asked ----------------------------------------------------------------------------------------
    @cached_property
    def _phrase_boxes(self) -> dict[str, list[dict[str, Any]]]:
        """The phrases of val that have boxes, by caption."""
        found: dict[str, list[dict[str, Any]]] = {}
        for row in tables.rows(self.inputs.paths.tables, "phrase_boxes", "val"):
            if row["boxes"]:
                found.setdefault(row["caption_id"], []).append(row)
        return found

    @cached_property
    def _objects(self) -> dict[str, list[dict[str, Any]]]:
        """The annotated objects of val, by image."""
        found: dict[str, list[dict[str, Any]]] = {}
        for row in tables.rows(self.inputs.paths.tables, "objects", "val"):
            found.setdefault(row["image_id"], []).append(row)
        return found

    @cached_property
    def _nouns(self) -> dict[int, str]:
        """Id of an attribute phrase -> its noun, which may be a class of the detector."""
        from vlp.phrases.vocabulary import PhraseVocabulary

        vocabulary = PhraseVocabulary.load(self.inputs.paths.vocabulary / "phrases.json")
        return {r.id: r.parts[0] for r in vocabulary.records if r.kind == "attribute"}

    def _choose(self, images: int) -> NDArray[np.int64]:
        """The first text of each image."""
        texts, first = self.collator.texts, dict[str, int]()
        for row, (image, split) in enumerate(zip(texts.image_ids, texts.splits, strict=True)):
            describes = texts.matchable is None or texts.matchable[row]
            if split == "val" and describes and (not self.grounded or texts.ids[row] in self._phrase_boxes):
                first.setdefault(image, row)
        rows = [first[image] for image in sorted(first)]
        at = np.linspace(0, len(rows) - 1, min(images, len(rows))).round().astype(np.int64)
        return np.array(rows, np.int64)[at]

    def _part(self, at: slice) -> Part:
        rows, images = self.rows[at], self.images[at]
        batch = self.collator(rows, images)
        regions = [self.inputs.store.regions(i, limit=self.collator.lengths.regions) for i in images]
        asked = [self._phrases(int(row), found) for row, found in zip(rows, regions, strict=True)]
        return Part(batch, [self._tags(i, found) for i, found in zip(images, regions, strict=True)], asked)

    def _tags(self, image: str, regions: Regions) -> list[Asked]:
        _, tag_of_piece = self.collator.tags(image)
        names = self.inputs.store.tags(image, self.collator.tag_source)
        found = []
        for number in range(int(tag_of_piece.max(initial=-1)) + 1):
            right_R = self._showing(names[number], image, regions)
            if right_R is not None:
                found.append(Asked(np.flatnonzero(tag_of_piece == number) + 1, right_R))
        return found

    def _showing(self, name: str, image: str, regions: Regions) -> Bools | None:
        """The regions that show a thing of this name; None: there is none, by what is known."""
        if self.annotated:
            boxes = [o["box"] for o in self._objects.get(image, []) if o["class_name"].lower() == name.lower()]
            return np.asarray((iou_matrix(regions.boxes, boxes) >= metric.THRESHOLD).any(1)) if boxes else None
        known = [n.lower() for n in self.inputs.store.class_names]
        right_R = np.array([c >= 0 and known[c] == name.lower() for c in regions.classes.tolist()], bool)
        return right_R if right_R.any() else None

    def _phrases(self, row: int, regions: Regions) -> list[Asked]:
        texts = self.collator.texts
        if self.grounded:
            return [
                Asked(at, metric.right(regions.boxes, p["boxes"], "any"))
                for p in self._phrase_boxes[texts.ids[row]]
                if len(at := read_from(self.collator, row, (p["start"], p["end"]), "concepts"))
            ]
        words, phrases, _ = self.collator.text(row)
        found = []
        for number, phrase in enumerate(phrases.tolist()):
            right_R = (
                self._showing(self._nouns[phrase], texts.image_ids[row], regions) if phrase in self._nouns else None
            )
            if right_R is not None:
                found.append(Asked(np.array([1 + len(words) + number]), right_R))
        return found

    def _levels(self) -> dict[str, Level]:
        boxes = BOXES if self.annotated else LABELS
        tags = self._level([a for part in self.parts for each in part.tags for a in each], boxes)
        phrases = self._level(
            [a for part in self.parts for each in part.phrases for a in each], BOXES if self.grounded else boxes
        )
        size = len(self.rows)
        found = {"region_tag": tags, "phrase_region_unimodal": None if self.merged else phrases}
        found |= {"phrase_region": phrases if self.cross_modal else None}
        if size > 1 and not self.merged:
            found["image_text"] = Level("captions", 2 * size, 100 / size, 100.0)
        if size > 1 and self.matching:
            found["itm"] = Level("captions", 2 * size, 50.0, 100.0)
        return {name: level for name, level in found.items() if level is not None}

    def _level(self, asked: Sequence[Asked], truth: str) -> Level | None:
        if not asked:
            return None
        chance, bound = (100 * float(np.mean([f(a.right_R) for a in asked])) for f in (np.mean, np.any))
        return Level(truth, len(asked), chance, bound)

    # -- what the model answers -------------------------------------------------------------------------------
    @torch.inference_mode()
    def measure(self, model: Mvptr) -> dict[str, float]:
        """Percent by level; the caller puts the model into evaluation mode."""
        hits: dict[str, list[float]] = {name: [] for name in self.levels}
        texts, images = [], []
        for part in self.parts:
            batch = part.batch.to(device_of(model))
            states = model.unimodal(batch)
            layers = self._joint(model, batch, states, hits) if self.cross_modal or self.merged else []
            if self.merged:
                states = model.parted(layers[-1], batch, states.table)
            self._choices(hits, "region_tag", batch, states.tags_BTD, states.regions_BRD, part.tags)
            self._choices(hits, "phrase_region_unimodal", batch, states.text_BLD, states.regions_BRD, part.phrases)
            if "phrase_region" in hits:
                length = batch.text_ids_BL.shape[1]
                x = layers[model.architecture.grounding_layer - 1]
                regions = x[:, length : length + batch.regions_BRF.shape[1]]
                self._choices(hits, "phrase_region", batch, x[:, :length], regions, part.phrases)
            if "image_text" in hits:
                text, image = model.contrast_vectors(states)
                texts.append(text.float().cpu())
                images.append(image.float().cpu())
        if texts:
            numbers = torch.cat([part.batch.text_B for part in self.parts]).numpy()
            hits["image_text"] = first_right(torch.cat(images) @ torch.cat(texts).T, numbers)
        return {name: 100 * float(np.mean(found)) for name, found in hits.items()}

    def _choices(
        self,
        hits: dict[str, list[float]],
        level: str,
        batch: Batch,
        first_BLD: Tensor,
        regions_BRD: Tensor,
        asked: list[list[Asked]],
    ) -> None:
        if level in hits:
            states = torch.cat([first_BLD, regions_BRD], 1).float()
            hits[level] += chosen_right(states, first_BLD.shape[1], batch.region_mask_BR, asked)

    def _joint(self, model: Mvptr, batch: Batch, s: Unimodal, hits: dict[str, list[float]]) -> list[Tensor]:
        """States of the batch's own pairs after each layer; with ITM the pairs with the next image as well."""

        def encoded(order: Tensor, *, cls_only: bool) -> list[Tensor]:
            masks = batch.region_mask_BR[order], s.tags_BTD[order], batch.tag_mask_BT[order]
            return model.multimodal(s.text_BLD, batch.text_mask_BL, s.regions_BRD[order], *masks, cls_only=cls_only)

        own = torch.arange(len(batch), device=s.text_BLD.device)
        layers = encoded(own, cls_only=False)
        if "itm" in hits:
            other = encoded(own.roll(1), cls_only=True)
            for last, match in ((layers[-1], True), (other[-1], False)):
                found = model.itm_logits(last).argmax(-1) == MATCH
                hits["itm"] += (found if match else ~found).float().tolist()
        return layers


def chosen_right(
    states_BND: Tensor, length: int, region_mask_BR: Tensor, asked: Sequence[Sequence[Asked]]
) -> list[float]:
    """1 for each of `asked` whose most similar region is right, else 0, sample after sample.

    Args:
        states_BND: `length` positions of text or tags, then the regions.
    """
    groups = max((len(each) for each in asked), default=0)
    if not groups:
        return []
    span = np.zeros((len(asked), groups, length), bool)
    for b, each in enumerate(asked):
        for g, a in enumerate(each):
            span[b, g, a.positions] = True
    spans = torch.from_numpy(span).to(states_BND.device)
    chosen = span_similarity(states_BND, length, spans, region_mask_BR).argmax(-1).cpu().numpy()
    return [float(a.right_R[chosen[b, g]]) for b, each in enumerate(asked) for g, a in enumerate(each)]


def first_right(cosine_II: Tensor, text_I: NDArray[np.int64]) -> list[float]:
    """1 for each image whose most similar text is its own, and for each text whose most similar image is, else 0.

    Args:
        text_I: equal numbers are equal texts, which both are right.
    """
    found: list[float] = []
    for scores in (cosine_II.numpy(), cosine_II.numpy().T):
        top = best(scores, 1)[:, 0]
        found += (text_I[top] == text_I).astype(float).tolist()
    return found
