"""Phrase grounding on Flickr30k Entities (paper 4.2.3): a phrase is right if the box it is given overlaps its own."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from torch import nn

from vlp.files import to_json
from vlp.methods.base import RANKED, Grounder, Ranked
from vlp.metrics import grounding as metric
from vlp.tasks.base import Task

if TYPE_CHECKING:
    import pyarrow as pa


class Grounding(Task):
    name, texts, capability = "grounding", "grounding", Grounder
    keys: ClassVar[tuple[str, str]] = ("phrase_id", "phrase_type")
    """Columns of the predictions that say which phrase it is, and of what type."""
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
        return self._phrases[self.text_set.ids[row]]

    def items(self, split: str) -> list[str]:
        return [phrase[self.keys[0]] for row in self.rows(split) for phrase in self.phrases(int(row))]

    def selection_predictions(self, model: nn.Module) -> pa.Table:
        """Val by the trained reading: fine-tuning chooses its weights by no other."""
        return self.predict_with(model, "val", self.side.readings(model)[:1])

    def predict(self, model: nn.Module, split: str) -> pa.Table:
        """Every reading's boxes; `box` is that of the reading which is best on val."""
        readings = self.side.readings(model)
        chosen = self.choose_reading(model) if len(readings) > 1 else readings[0]
        return self.predict_with(model, split, [chosen, *(r for r in readings if r != chosen)])

    def choose_reading(self, model: nn.Module) -> Any:
        """The reading that is best on val."""
        readings = self.side.readings(model)
        table = self.predict_with(model, "val", readings)
        scores = [self.score(metric.boxes_of(table, i)) for i in range(len(readings))]
        return readings[int(np.argmax(scores))]

    def predict_with(self, model: nn.Module, split: str, readings: Sequence[Any]) -> pa.Table:
        """One pass for all readings: `readings_boxes` holds each one's box, `box` that of the first."""
        import pyarrow as pa

        found: dict[str, dict[str, Any]] = {}
        for rows in self.batches(self.rows(split)):
            ranked = self.side.boxes(model, rows, self.image_ids(rows), readings)
            for row, each in zip(rows, ranked, strict=True):
                for phrase, by_reading in zip(self.phrases(int(row)), each, strict=True):
                    found[phrase[self.keys[0]]] = self._record(phrase, by_reading)
        records = [found[k] for k in sorted(found)]
        table = pa.table({k: [r[k] for r in records] for k in records[0]})
        return table.replace_schema_metadata({"readings": to_json([str(r) for r in readings])})

    def _record(self, phrase: dict[str, Any], ranked: Sequence[Ranked]) -> dict[str, Any]:
        """A row of the predictions; `ranked`: by reading."""
        key, kind = self.keys
        for r in ranked:
            for numbers in (r.boxes_K4, r.scores_K):
                if numbers is not None:
                    self.demand_finite(numbers, phrase[key])
        each = [r.boxes_K4[0].astype(float).tolist() for r in ranked]
        return {
            key: phrase[key],
            "image_id": phrase["image_id"],
            kind: phrase[kind],
            "box": each[0],
            "boxes": phrase["boxes"],
            **self._reach(phrase, ranked[0].candidates_R4),
            "readings_boxes": each,
            "ranked": ranked[0].boxes_K4[:RANKED].astype(float).tolist(),
        }

    def _reach(self, phrase: dict[str, Any], candidates_R4: np.ndarray | None) -> dict[str, Any]:
        """What could be right by choosing a region; null where boxes are not chosen."""
        if candidates_R4 is None:
            return {"num_regions": None, "covered": None, "random_hit": None}
        hit = np.zeros(len(candidates_R4), bool)
        if phrase["boxes"]:
            hit = metric.right(candidates_R4, phrase["boxes"], "any", strict=self.strict)
        return {"num_regions": len(candidates_R4), "covered": bool(hit.any()), "random_hit": float(hit.mean())}

    def score(self, predictions: pa.Table) -> float:
        return float(np.mean(metric.hits(predictions, strict=self.strict)))
