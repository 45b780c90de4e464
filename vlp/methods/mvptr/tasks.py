"""MVPTR's side of the downstream tasks (paper 4.2, A.3): heads, losses, batches, and what it predicts from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vlp.batching.draw import Draw
from vlp.methods import base
from vlp.methods.base import RANKED, Ranked
from vlp.methods.mvptr import directory, reader
from vlp.methods.mvptr.batch import Batch
from vlp.methods.mvptr.initialise import set_answer_rows
from vlp.methods.mvptr.model import Head, Mvptr, set_dropout
from vlp.methods.mvptr.reader import add_negative_noise
from vlp.methods.mvptr.reading import SOURCES, Reading, read_from
from vlp.methods.mvptr.reranking import UnimodalCache
from vlp.methods.mvptr.start import check_fits, new_model
from vlp.methods.mvptr.steps import ClassesStep, GroundingStep, RetrievalStep, VqaStep, span_similarity
from vlp.models.device import device_of
from vlp.regions.geometry import iou_matrix


class Side(base.Side):
    head: Head | None = None

    def __init__(self, task: Any) -> None:
        super().__init__(task)
        self.inputs, self.config = task.inputs, task.config
        self.lengths = self.config.lengths or self.inputs.experiment.lengths
        self.reader: reader.Collator = reader.collator(self.inputs, task.texts, self.lengths)

    @property
    def head_size(self) -> int:
        return 0

    def new(self, init: Path | None) -> Mvptr:
        if init is None:
            model = with_head(new_model(self.inputs), self.head, self.head_size)
        else:
            model = directory.load(init, self.head, self.head_size)
            check_fits(model, self.inputs, init)
        self.prepare(model)
        o = self.config.optimisation
        set_dropout(model, model.architecture.dropout if o.dropout is None else o.dropout)
        return model

    def prepare(self, model: Mvptr) -> None:
        """Initialise the head of a fresh fine-tuning."""

    def load(self, folder: Path) -> Mvptr:
        model = directory.load(folder).float().eval()
        check_fits(model, self.inputs, folder)
        return model

    def batch(self, rows: np.ndarray, images: Sequence[str], draw: Draw | None = None) -> Batch:
        batch = self.reader(rows, images)
        if draw is not None:
            self.aim(batch, rows, images, draw)
        return batch

    def aim(self, batch: Batch, rows: np.ndarray, images: Sequence[str], draw: Draw) -> None:
        """Put what fine-tuning needs into a clean batch."""

    def describe(self, model: Mvptr) -> dict[str, Any]:
        return {"lengths": self.lengths.model_dump()}


def with_head(model: Mvptr, head: Head | None, head_size: int) -> Mvptr:
    """The same weights in a model with a fresh task head."""
    if head is None:
        return model
    other = Mvptr(model.architecture.model_copy(update={"head": head, "head_size": head_size}))
    other.load_state_dict(model.state_dict(), strict=False)
    return other


class Retrieval(Side, base.Retriever):
    """Coarse by the unimodal encoders, re-ranked by the multimodal one (paper 4.2.1)."""

    def step(self, model: Mvptr) -> RetrievalStep:
        return RetrievalStep(model, self.config.optimisation.contrast_group)

    def aim(self, batch: Batch, rows: np.ndarray, images: Sequence[str], draw: Draw) -> None:
        o = self.config.optimisation
        add_negative_noise(batch, draw, o.negative_warmup, o.negative_group)

    def scorer(self, model: Mvptr, rows: np.ndarray, images: Sequence[str]) -> UnimodalCache:
        return UnimodalCache(model, self.reader, rows, images)


class Vqa(Side, base.Classifier):
    head: Head | None = "vqa"

    @property
    def head_size(self) -> int:
        return len(self.task.answers)

    def prepare(self, model: Mvptr) -> None:
        encoded = self.inputs.tokenizer(self.task.answers, add_special_tokens=False)["input_ids"]
        set_answer_rows(model, encoded)

    def step(self, model: Mvptr) -> VqaStep:
        return VqaStep(model)

    def aim(self, batch: Batch, rows: np.ndarray, images: Sequence[str], draw: Draw) -> None:
        batch.scores_BA = self.task.targets(rows)

    def scores(self, model: Mvptr, batch: Batch) -> Tensor:
        return model.answer_logits(model.joint(batch, cls_only=True)[-1])


class Classes(Side, base.Classifier):
    """Of a task that has a list `labels` of its classes, and their numbers as targets [B]."""

    head: Head | None = "classes"

    @property
    def head_size(self) -> int:
        return len(self.task.labels)

    def step(self, model: Mvptr) -> ClassesStep:
        return ClassesStep(model)

    def aim(self, batch: Batch, rows: np.ndarray, images: Sequence[str], draw: Draw) -> None:
        batch.labels_B = self.task.targets(rows)

    def scores(self, model: Mvptr, batch: Batch) -> Tensor:
        return model.class_logits(model.joint(batch, cls_only=True)[-1])


class Entailment(Classes):
    head: Head | None = "entailment"

    @property
    def head_size(self) -> int:
        return 0  # three, as the release has it


class Grounding(Side, base.Grounder):
    """A phrase's box is that of the region whose state is nearest to the phrase's (paper 4.2.3, A.3.4)."""

    sources: tuple[str, ...] = SOURCES
    """What a phrase may be read from; fine-tuning reads the first."""

    def describe(self, model: Mvptr) -> dict[str, Any]:
        return super().describe(model) | {"grounding_layer": self.layer(model)}

    def step(self, model: Mvptr) -> GroundingStep:
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

    def aim(self, batch: Batch, rows: np.ndarray, images: Sequence[str], draw: Draw) -> None:
        batch.span_mask_BGL = self._spans(rows, batch, self.sources[0])
        iou = np.zeros((*batch.span_mask_BGL.shape[:2], batch.regions_BRF.shape[1]), np.float32)
        grounded = np.zeros(iou.shape[:2], bool)
        for b, (row, image) in enumerate(zip(rows, images, strict=True)):
            boxes = self._boxes(image)
            for g, phrase in enumerate(self.task.phrases(int(row))):
                if phrase["boxes"]:
                    overlap = iou_matrix(boxes, np.asarray(phrase["boxes"], np.float32))
                    iou[b, g, : len(boxes)] = overlap.max(1)
                    grounded[b, g] = bool(batch.span_mask_BGL[b, g].any())
        batch.iou_BGR, batch.grounded_BG = torch.from_numpy(iou), torch.from_numpy(grounded)

    def _spans(self, rows: np.ndarray, batch: Batch, source: str) -> Tensor:
        """Text positions [B,G,L] of each row's phrases."""
        groups = [self.task.phrases(int(r)) for r in rows]
        spans = np.zeros((len(rows), max(1, *map(len, groups)), batch.text_ids_BL.shape[1]), bool)
        for b, (row, group) in enumerate(zip(rows, groups, strict=True)):
            for g, phrase in enumerate(group):
                spans[b, g, self.positions(int(row), phrase, source)] = True
        return torch.from_numpy(spans)

    def _boxes(self, image: str) -> np.ndarray:
        return self.inputs.store.regions(image, limit=self.lengths.regions).boxes

    def positions(self, row: int, phrase: dict[str, Any], source: str) -> np.ndarray:
        return read_from(self.reader, row, (phrase["start"], phrase["end"]), source)

    @torch.inference_mode()
    def boxes(
        self, model: Mvptr, rows: np.ndarray, images: Sequence[str], readings: Sequence[Reading]
    ) -> list[list[list[Ranked]]]:
        """One pass for all readings."""
        device = device_of(model)
        batch = self.batch(rows, images).to(device)
        layers, length = model.joint(batch), batch.text_ids_BL.shape[1]
        spans = {s: self._spans(rows, batch, s).to(device) for s in {r.source for r in readings}}
        order = []
        for r in readings:
            cosine_BGR = span_similarity(layers[r.layer - 1], length, spans[r.source], batch.region_mask_BR)
            # Stable: of equal regions the one that was detected best.
            best = torch.sort(cosine_BGR, dim=-1, descending=True, stable=True)
            order.append([x[..., :RANKED].cpu().numpy() for x in (best.indices, best.values.float())])
        found = []
        for b, (row, image) in enumerate(zip(rows, images, strict=True)):
            boxes, phrases = self._boxes(image), self.task.phrases(int(row))
            k = len(boxes)
            each = [[(at[b, g][:k], of[b, g][:k]) for at, of in order] for g in range(len(phrases))]
            found.append([[Ranked(boxes[at], boxes, of) for at, of in readings] for readings in each])
        return found


class Referring(Grounding):
    """A whole text: the cosine of its [CLS] state with each region, regressed to the IoU with the one box.

    As in the release the last layer is read unless the config names another.
    """

    sources = ("[CLS]",)

    def layer(self, model: Mvptr) -> int:
        return self.config.layer or model.architecture.multimodal_layers

    def readings(self, model: Mvptr) -> list[Reading]:
        return [self.trained_reading(model)]


SIDES: dict[str, type[base.Side]] = {
    "retrieval": Retrieval,
    "vqa": Vqa,
    "entailment": Entailment,
    "grounding": Grounding,
    "referring": Referring,
}
