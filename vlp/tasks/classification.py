"""VQA v2 and SNLI-VE: classification of the joint [CLS] state (paper 4.2.2, A.3.2, A.3.3)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from vlp.config.tasks.entailment import LABELS
from vlp.data.answers import normalise_answer
from vlp.errors import InputError
from vlp.finite import bad
from vlp.methods.base import Classifier
from vlp.models.device import device_of
from vlp.tasks.base import Task

if TYPE_CHECKING:
    import pyarrow as pa

SOFT_SCORES = (0.0, 0.3, 0.6, 0.9, 1.0)
"""Soft score of an answer that so many of the ten annotators gave; 1 from four on."""


def soft_score(count: int) -> float:
    return SOFT_SCORES[min(count, len(SOFT_SCORES) - 1)]


class Classification(Task):
    """A class of each text."""

    def scores(self, model: nn.Module, batch: Any, rows: np.ndarray, classes: int) -> Tensor:
        """Logits [B,A] of a batch.

        Raises:
            InputError: one is not finite, or the model has another number of classes than there are.
        """
        scores_BA = self.side.scores(model, batch)
        if scores_BA.shape[-1] != classes:
            problem = f"the model's head has {scores_BA.shape[-1]} rows for {classes} classes."
            raise InputError(f"predictions of {self.name}", problem, "Take the model with its own inputs.json.")
        if bad(scores_BA):
            for row, scores_A in zip(rows, scores_BA, strict=True):
                self.demand_finite(scores_A, self.text_set.ids[int(row)])
        return scores_BA


class Vqa(Classification):
    name, texts, capability = "vqa", "questions", Classifier

    @cached_property
    def _records(self) -> dict[str, dict[str, Any]]:
        from vlp.data.tables import read_table

        return {r["question_id"]: r for r in read_table(self.inputs.paths.tables, "questions").to_pylist()}

    def record(self, row: int) -> dict[str, Any]:
        return self._records[self.text_set.ids[row]]

    @cached_property
    def answers(self) -> list[str]:
        """The answer list: from a file, or the train answers that are frequent enough, most frequent first."""
        from vlp.data.readers.vqa_answers import frequent_answers, read_answers

        if self.config.answers is not None:
            return read_answers(self.inputs.experiment.data_root / self.config.answers)
        kept = frequent_answers((self.record(int(row)) for row in self.rows("train")), self.config.min_answer_count)
        if not kept:
            raise InputError(
                "questions", "no answer is frequent enough.", "Lower tasks.vqa.min_answer_count or add questions."
            )
        return kept

    def rows(self, split: str) -> np.ndarray:
        """With `minival`, `val` are its questions alone, and `train_on_val` trains on the other ones of val."""
        if split == "test" or self.config.minival is None:
            return super().rows(split)
        val = super().rows("val")
        apart = np.isin(np.asarray(self.text_set.image_ids)[val], self._minival)
        if split == "val":
            return val[apart]
        return np.concatenate([super().rows("train"), *([val[~apart]] if self.config.train_on_val else [])])

    @cached_property
    def _minival(self) -> list[str]:
        """Those of val whose ids have the smallest digests: the same whatever else there is.

        Raises:
            InputError: val has too few images.
        """
        images = {self.text_set.image_ids[row] for row in super().rows("val")}
        if len(images) < self.config.minival:
            raise InputError(
                "questions",
                f"val has {len(images)} images, minival wants {self.config.minival}.",
                "Lower tasks.vqa.minival.",
            )
        return sorted(images, key=lambda i: sha256(i.encode()).hexdigest())[: self.config.minival]

    def describe(self) -> dict[str, Any]:
        return super().describe() | {"answers": self.answers}

    def adopt(self, said: Mapping[str, Any]) -> None:
        """The head's rows are the answers of the model's own list, whatever the data at hand would give."""
        self.answers = list(said["answers"])

    @cached_property
    def _number(self) -> dict[str, int]:
        return {a: i for i, a in enumerate(self.answers)}

    def targets(self, rows: np.ndarray) -> Tensor:
        """Soft score [B,A] of each answer."""
        scores = torch.zeros(len(rows), len(self.answers))
        for b, row in enumerate(rows):
            for answer, count in Counter(normalise_answer(a) for a in self.record(int(row))["answers"]).items():
                if answer in self._number:
                    scores[b, self._number[answer]] = soft_score(count)
        return scores

    @torch.inference_mode()
    def predict(self, model: nn.Module, split: str) -> pa.Table:
        import pyarrow as pa

        chosen: dict[int, str] = {}
        for rows in self.batches(self.rows(split)):
            batch = self.side.batch(rows, self.image_ids(rows)).to(device_of(model))
            best = self.scores(model, batch, rows, len(self.answers)).argmax(-1).tolist()
            chosen.update({int(r): self.answers[i] for r, i in zip(rows, best, strict=True)})
        records = [{**self.record(r), "answer": chosen[r]} for r in sorted(chosen)]
        keys = ("question_id", "image_id", "answer_type", "answer", "answers")
        return pa.table({k: [r[k] for r in records] for k in keys})

    def score(self, predictions: pa.Table) -> float:
        from vlp.metrics.vqa import accuracies

        return accuracies(predictions)["accuracy"]


class Entailment(Classification):
    name, texts, capability = "entailment", "entailment", Classifier

    @cached_property
    def _labels(self) -> dict[str, str]:
        from vlp.data.tables import read_table

        table = read_table(self.inputs.paths.tables, "entailment")
        return dict(zip(table["pair_id"].to_pylist(), table["label"].to_pylist(), strict=True))

    def targets(self, rows: np.ndarray) -> Tensor:
        """Label [B] of each pair."""
        return torch.tensor([LABELS.index(self._labels[self.text_set.ids[int(r)]]) for r in rows])

    @torch.inference_mode()
    def predict(self, model: nn.Module, split: str) -> pa.Table:
        import pyarrow as pa

        found: dict[int, list[float]] = {}
        for rows in self.batches(self.rows(split)):
            batch = self.side.batch(rows, self.image_ids(rows)).to(device_of(model))
            p = self.scores(model, batch, rows, len(LABELS)).float().softmax(-1).tolist()
            found.update(zip(map(int, rows), p, strict=True))
        texts, rows = self.text_set, sorted(found)
        columns: dict[str, list] = {
            "pair_id": [texts.ids[r] for r in rows],
            "image_id": [texts.image_ids[r] for r in rows],
            "label": [self._labels[texts.ids[r]] for r in rows],
            "prediction": [LABELS[int(np.argmax(found[r]))] for r in rows],
        }
        columns |= {f"p_{label}": [found[r][i] for r in rows] for i, label in enumerate(LABELS)}
        return pa.table(columns)

    def score(self, predictions: pa.Table) -> float:
        hits = np.asarray(predictions["label"]) == np.asarray(predictions["prediction"])
        return float(hits.mean())
