"""Phrase grounding on Flickr30k Entities: pre-trained and fine-tuned (paper 4.2.3, A.3.4)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from vlp.batching.draw import Draw
from vlp.methods.mvptr.batch import Batch
from vlp.methods.mvptr.model import Mvptr
from vlp.methods.mvptr.reader import Collator
from vlp.methods.mvptr.steps import GroundingStep, span_similarity
from vlp.metrics import grounding as metric
from vlp.regions.geometry import iou_matrix
from vlp.tasks.base import Task, device_of

if TYPE_CHECKING:
    import pyarrow as pa

SOURCES = ("tokens", "concepts")


@dataclass(frozen=True)
class Reading:
    """Which states a phrase is read from: a multimodal layer (from 1) and what is averaged."""

    layer: int
    source: str
    """`tokens`: the phrase's words (paper 4.2.3); `concepts`: its phrase concepts, else its words; `[CLS]`: the state
    of the whole text (referring expressions)."""

    def __str__(self) -> str:
        return f"layer {self.layer}, {self.source}"


def read_from(collator: Collator, row: int, characters: tuple[int, int], source: str) -> np.ndarray:
    """Text positions a phrase is read from: those of its word pieces, or of the concepts made of its words."""
    if source == "[CLS]":
        return np.zeros(1, np.int64)
    words, concepts, pairs = collator.text(row)
    spans = collator.texts.spans(row)[: len(words)]
    inside = np.flatnonzero((spans[:, 0] < characters[1]) & (spans[:, 1] > characters[0]))
    if source == "concepts" and len(pairs):
        pairs = pairs[(pairs[:, 0] < len(concepts)) & (pairs[:, 1] < len(words))]
        # An attribute concept lies inside the phrase; a relation reaches out of it and speaks of two regions.
        outside = set(pairs[~np.isin(pairs[:, 1], inside), 0].tolist())
        own = sorted(set(pairs[:, 0].tolist()) - outside)
        if own:
            return np.array(own) + len(words) + 1
    return inside + 1


class Grounding(Task):
    name, texts = "grounding", "grounding"
    keys: ClassVar[tuple[str, str]] = ("phrase_id", "phrase_type")
    """Columns of the predictions that say which phrase it is, and of what type."""
    sources: ClassVar[tuple[str, ...]] = SOURCES
    """What a phrase may be read from; fine-tuning reads the first."""
    strict: ClassVar[bool] = True
    """A box is right if its IoU with the true one is greater than 0.5, not equal (paper 4.2.3)."""

    @cached_property
    def _phrases(self) -> dict[str, list[dict[str, Any]]]:
        """Records of the phrase_boxes table by caption."""
        from vlp.data.tables import read_table

        by_caption: dict[str, list[dict[str, Any]]] = {}
        for r in read_table(self.inputs.paths.tables, "phrase_boxes").to_pylist():
            by_caption.setdefault(r["caption_id"], []).append(r)
        return by_caption

    def phrases(self, row: int) -> list[dict[str, Any]]:
        return self._phrases[self.collator.texts.ids[row]]

    def describe(self, model: Mvptr) -> dict[str, Any]:
        return super().describe(model) | {"grounding_layer": self.layer(model)}

    def step(self, model: Mvptr) -> torch.nn.Module:
        return GroundingStep(model, self.layer(model), self.config.objective)

    def layer(self, model: Mvptr) -> int:
        return min(self.config.layer, model.architecture.multimodal_layers)

    def trained_reading(self, model: Mvptr) -> Reading:
        """What fine-tuning trains and selects by."""
        return Reading(self.layer(model), self.sources[0])

    def readings(self, model: Mvptr) -> list[Reading]:
        """Every reading; the trained one first, so that it wins where others are as good."""
        layers = range(1, model.architecture.multimodal_layers + 1)
        every = [Reading(layer, source) for source in self.sources for layer in layers]
        return sorted(every, key=lambda r: r != self.trained_reading(model))

    def train_batch(self, rows: np.ndarray, draw: Draw) -> Batch:
        images = self.image_ids(rows)
        batch = self.collator(rows, images)
        batch.span_mask_BGL = self._spans(rows, batch, self.sources[0])
        iou = np.zeros((*batch.span_mask_BGL.shape[:2], batch.regions_BRF.shape[1]), np.float32)
        grounded = np.zeros(iou.shape[:2], bool)
        for b, (row, image) in enumerate(zip(rows, images, strict=True)):
            boxes = self._boxes(image)
            for g, phrase in enumerate(self.phrases(int(row))):
                if phrase["boxes"]:
                    overlap = iou_matrix(boxes, np.asarray(phrase["boxes"], np.float32))
                    iou[b, g, : len(boxes)] = overlap.max(1)
                    grounded[b, g] = bool(batch.span_mask_BGL[b, g].any())
        batch.iou_BGR, batch.grounded_BG = torch.from_numpy(iou), torch.from_numpy(grounded)
        return batch

    def _spans(self, rows: np.ndarray, batch: Batch, source: str) -> Tensor:
        """Text positions [B,G,L] of each row's phrases."""
        groups = [self.phrases(int(r)) for r in rows]
        spans = np.zeros((len(rows), max(1, *map(len, groups)), batch.text_ids_BL.shape[1]), bool)
        for b, (row, group) in enumerate(zip(rows, groups, strict=True)):
            for g, phrase in enumerate(group):
                spans[b, g, self.positions(int(row), phrase, source)] = True
        return torch.from_numpy(spans)

    def _boxes(self, image: str) -> np.ndarray:
        return self.inputs.store.regions(image, limit=self.lengths.regions).boxes

    def positions(self, row: int, phrase: dict[str, Any], source: str) -> np.ndarray:
        return read_from(self.collator, row, (phrase["start"], phrase["end"]), source)

    def selection_predictions(self, model: Mvptr) -> pa.Table:
        """Val by the trained reading: fine-tuning chooses its weights by no other."""
        return self.predict_with(model, "val", [self.trained_reading(model)])

    def predict(self, model: Mvptr, split: str) -> pa.Table:
        """Every reading's boxes; `box` is that of the reading which is best on val."""
        readings = self.readings(model)
        chosen = self.choose_reading(model) if len(readings) > 1 else readings[0]
        return self.predict_with(model, split, [chosen, *(r for r in readings if r != chosen)])

    def choose_reading(self, model: Mvptr) -> Reading:
        """The reading that is best on val."""
        readings = self.readings(model)
        table = self.predict_with(model, "val", readings)
        scores = [self.score(metric.boxes_of(table, i)) for i in range(len(readings))]
        return readings[int(np.argmax(scores))]

    @torch.inference_mode()
    def predict_with(self, model: Mvptr, split: str, readings: Sequence[Reading]) -> pa.Table:
        """One pass for all readings: `readings_boxes` holds each one's box, `box` that of the first."""
        import pyarrow as pa

        found: dict[str, dict[str, Any]] = {}
        for rows in self.batches(self.rows(split)):
            batch = self.collator(rows, self.image_ids(rows)).to(device_of(model))
            layers, length = model.joint(batch), batch.text_ids_BL.shape[1]
            spans = {s: self._spans(rows, batch, s).to(device_of(model)) for s in {r.source for r in readings}}
            chosen = [
                span_similarity(layers[r.layer - 1], length, spans[r.source], batch.region_mask_BR).argmax(-1).cpu()
                for r in readings
            ]
            chosen_RBG = torch.stack(chosen).numpy()
            for b, row in enumerate(rows):
                self._collect(int(row), chosen_RBG[:, b], found)
        records = [found[k] for k in sorted(found)]
        table = pa.table({k: [r[k] for r in records] for k in records[0]})
        return table.replace_schema_metadata({"readings": json.dumps([str(r) for r in readings])})

    def _collect(self, row: int, chosen_RG: np.ndarray, found: dict[str, dict[str, Any]]) -> None:
        boxes = self._boxes(self.image_of[row])
        key, kind = self.keys
        for g, phrase in enumerate(self.phrases(row)):
            hit = np.zeros(len(boxes), bool)
            if phrase["boxes"]:
                hit = metric.right(boxes, phrase["boxes"], "any", strict=self.strict)
            each = boxes[chosen_RG[:, g]].astype(float).tolist()
            found[phrase[key]] = {
                key: phrase[key],
                "image_id": phrase["image_id"],
                kind: phrase[kind],
                "box": each[0],
                "boxes": phrase["boxes"],
                "num_regions": len(boxes),
                "covered": bool(hit.any()),
                "random_hit": float(hit.mean()),
                "readings_boxes": each,
            }

    def score(self, predictions: pa.Table) -> float:
        return float(np.mean(metric.hits(predictions, strict=self.strict)))
