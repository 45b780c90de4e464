"""Phrase grounding on Flickr30k Entities: pre-trained and fine-tuned (paper 4.2.3, A.3.4)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from vlp.batching.batch import Batch
from vlp.batching.collate import Collator
from vlp.models.mvptr import Mvptr
from vlp.regions.quality import iou_matrix
from vlp.tasks.base import Task, device_of
from vlp.training.steps import GroundingStep, span_similarity

if TYPE_CHECKING:
    import pyarrow as pa

RIGHT = 0.5
"""A box is right if its IoU with the true one is greater (strict, paper 4.2.3)."""


@dataclass(frozen=True)
class Reading:
    """Which states a phrase is read from: a multimodal layer (from 1) and what is averaged."""

    layer: int
    source: str
    """`tokens`: the phrase's words (paper 4.2.3); `concepts`: its phrase concepts, else its words."""

    def __str__(self) -> str:
        return f"layer {self.layer}, {self.source}"


def read_from(collator: Collator, row: int, characters: tuple[int, int], source: str) -> np.ndarray:
    """Text positions a phrase is read from: those of its word pieces, or of the concepts made of its words."""
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

    def train_batch(self, rows: np.ndarray, step: int, rank: int) -> Batch:
        return self._batch(rows, "tokens")

    def _batch(self, rows: np.ndarray, source: str) -> Batch:
        images = self.image_ids(rows)
        batch = self.collator(rows, images)
        length, num_regions = batch.text_ids_BL.shape[1], batch.regions_BRF.shape[1]
        groups = [self.phrases(int(r)) for r in rows]
        most = max(1, *(len(g) for g in groups))
        spans = np.zeros((len(rows), most, length), bool)
        iou = np.zeros((len(rows), most, num_regions), np.float32)
        grounded = np.zeros((len(rows), most), bool)
        for b, (row, image, group) in enumerate(zip(rows, images, groups, strict=True)):
            boxes = self.inputs.store.regions(image, limit=self.lengths.regions).boxes
            for g, phrase in enumerate(group):
                spans[b, g, self.positions(int(row), phrase, source)] = True
                if phrase["boxes"]:
                    overlap = iou_matrix(boxes, np.asarray(phrase["boxes"], np.float32))
                    iou[b, g, : len(boxes)] = overlap.max(1)
                    grounded[b, g] = spans[b, g].any()
        batch.span_mask_BGL, batch.iou_BGR = torch.from_numpy(spans), torch.from_numpy(iou)
        batch.grounded_BG = torch.from_numpy(grounded)
        return batch

    def positions(self, row: int, phrase: dict[str, Any], source: str) -> np.ndarray:
        return read_from(self.collator, row, (phrase["start"], phrase["end"]), source)

    def predict(self, model: Mvptr, split: str) -> pa.Table:
        return self.predict_with(model, split, Reading(self.layer(model), "tokens"))

    def choose_reading(self, model: Mvptr) -> Reading:
        """For a model without fine-tuning: the reading that is best on val."""
        layers = range(1, model.architecture.multimodal_layers + 1)
        readings = [Reading(layer, source) for source in ("tokens", "concepts") for layer in layers]
        return max(readings, key=lambda r: self.score(self.predict_with(model, "val", r)))

    @torch.inference_mode()
    def predict_with(self, model: Mvptr, split: str, reading: Reading) -> pa.Table:
        import pyarrow as pa

        found: dict[str, dict[str, Any]] = {}
        for rows in self.batches(self.rows(split)):
            batch = self._batch(rows, reading.source).to(device_of(model))
            states = model.joint(batch)[reading.layer - 1]
            assert batch.span_mask_BGL is not None
            cosine = span_similarity(states, batch.text_ids_BL.shape[1], batch.span_mask_BGL, batch.region_mask_BR)
            chosen = cosine.argmax(-1).cpu().numpy()
            for b, row in enumerate(rows):
                self._collect(int(row), chosen[b], found)
        records = [found[k] for k in sorted(found)]
        keys = (
            "phrase_id", "image_id", "phrase_type", "box", "boxes", "num_regions", "covered", "random_hit"
        )  # fmt: skip
        table = pa.table({k: [r[k] for r in records] for k in keys})
        return table.replace_schema_metadata({"reading": str(reading)})

    def _collect(self, row: int, chosen: np.ndarray, found: dict[str, dict[str, Any]]) -> None:
        image = self.image_of[row]
        boxes = self.inputs.store.regions(image, limit=self.lengths.regions).boxes
        for g, phrase in enumerate(self.phrases(row)):
            right = np.zeros(len(boxes), bool)
            if phrase["boxes"]:
                right = iou_matrix(boxes, np.asarray(phrase["boxes"], np.float32)).max(1) > RIGHT
            found[phrase["phrase_id"]] = {
                "phrase_id": phrase["phrase_id"],
                "image_id": phrase["image_id"],
                "phrase_type": phrase["phrase_type"],
                "box": [float(x) for x in boxes[chosen[g]]],
                "boxes": phrase["boxes"],
                "num_regions": len(boxes),
                "covered": bool(right.any()),
                "random_hit": float(right.mean()),
            }

    def score(self, predictions: pa.Table) -> float:
        from vlp.tasks.metrics.grounding import hits

        return float(np.mean(hits(predictions)))
