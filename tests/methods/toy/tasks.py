"""The toy's side of each task that it can do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.methods.toy.batch import Batch
from tests.methods.toy.method import METHOD, load
from tests.methods.toy.model import Head, Toy
from tests.methods.toy.reader import Reader, corner, masks
from tests.methods.toy.steps import GroundingStep, RetrievalStep, Step, VqaStep
from vlp.batching.draw import Draw
from vlp.errors import InputError
from vlp.files import sha256
from vlp.methods import base
from vlp.methods.base import Ranked

TOKENIZER = Path("tokenizer") / "tokenizer.json"

AT_ONCE = 64


class Side(base.Side):
    head: Head
    kind: type[Step]

    def __init__(self, task: Any) -> None:
        super().__init__(task)
        e = task.inputs.experiment
        self.rate = e.pretraining.only.image_rate
        self.reader: Reader = Reader(task.text_set, task.inputs.pictures, e.model.words, e.model.pixels)

    @property
    def head_size(self) -> int:
        return 1

    def new(self, init: Path | None) -> Toy:
        if init is None:
            return Toy(METHOD.new_model(self.task.inputs).architecture.with_head(self.head, self.head_size))
        model = load(init, self.head, self.head_size)
        self._check_fits(init)
        return model

    def load(self, folder: Path) -> Toy:
        model = load(folder).eval()
        self._check_fits(folder)
        return model

    def _check_fits(self, folder: Path) -> None:
        if sha256(folder / TOKENIZER) != sha256(self.task.inputs.paths.vocabulary / TOKENIZER):
            raise InputError(folder, "its word pieces are others.", "Name a model of this vocabulary.")

    def step(self, model: Toy) -> Step:
        return self.kind(model, self.rate)

    def batch(self, rows: np.ndarray, images: Sequence[str], draw: Draw | None = None) -> Batch:
        return self.reader.batch(rows, images, draw)


class Scorer:
    """The vectors of images and of texts, each made once."""

    def __init__(self, model: Toy, pictures: Iterable[Batch], texts: Iterable[Batch]) -> None:
        """Of `pictures` the images are read, of `texts` the words."""
        self.model = model
        self.image_ID = torch.cat([model.vectors(batch.to(model.device))[0] for batch in pictures])
        self.text_SD = torch.cat([model.vectors(batch.to(model.device))[1] for batch in texts])
        self.cosine_IS = (self.image_ID @ self.text_SD.T).cpu().numpy()
        self.coarse_IS: np.ndarray | None = self.cosine_IS

    def match(self, pairs_N2: np.ndarray) -> np.ndarray:
        if self.model.head is None:
            return self.cosine_IS[tuple(pairs_N2.T)]
        image_N, text_N = torch.from_numpy(pairs_N2).to(self.model.device).T
        return self.model.judge(self.image_ID[image_N], self.text_SD[text_N])[:, 0].sigmoid().cpu().numpy()


def chunks(count: int) -> Iterator[np.ndarray]:
    return (np.arange(count)[begin : begin + AT_ONCE] for begin in range(0, count, AT_ONCE))


class Retrieval(Side, base.Retriever):
    head, kind = "retrieval", RetrievalStep

    def scorer(self, model: Toy, rows: np.ndarray, images: Sequence[str]) -> Scorer:
        any_text, any_image = rows[:1], images[0]
        pictures = (self.batch(any_text.repeat(len(at)), [images[int(i)] for i in at]) for at in chunks(len(images)))
        texts = (self.batch(rows[at], [any_image for _ in at]) for at in chunks(len(rows)))
        return Scorer(model, pictures, texts)


class Vqa(Side, base.Classifier):
    head, kind = "vqa", VqaStep

    @property
    def head_size(self) -> int:
        return len(self.task.answers)

    def batch(self, rows: np.ndarray, images: Sequence[str], draw: Draw | None = None) -> Batch:
        batch = super().batch(rows, images, draw)
        batch.scores_BA = None if draw is None else self.task.targets(rows)
        return batch

    def scores(self, model: Toy, batch: Batch) -> Tensor:
        return model.judge(*model.vectors(batch))


class Grounding(Side, base.Grounder):
    """A phrase's box is said outright: there is no region to choose."""

    head, kind = "grounding", GroundingStep

    @property
    def head_size(self) -> int:
        return 4

    def batch(self, rows: np.ndarray, images: Sequence[str], draw: Draw | None = None) -> Batch:
        batch = super().batch(rows, images, draw)
        phrases = [self.task.phrases(int(row)) for row in rows]
        spans = [[(p["start"], p["end"]) for p in own] for own in phrases]
        batch.phrases_BGL = masks([self.reader.spans(int(r)) for r in rows], spans, batch.words_BL.shape[1])
        if draw is not None:
            batch.boxes_BG4 = torch.zeros(*batch.phrases_BGL.shape[:2], 4)
            batch.boxed_BG = torch.zeros(batch.phrases_BGL.shape[:2], dtype=torch.bool)
            for b, (own, image) in enumerate(zip(phrases, images, strict=True)):
                for g, boxes in ((g, p["boxes"]) for g, p in enumerate(own) if p["boxes"]):
                    batch.boxes_BG4[b, g] = self.reader.into(torch.tensor(boxes[0]), image, corner(draw, b))
                    batch.boxed_BG[b, g] = True
        return batch

    @torch.inference_mode()
    def boxes(
        self, model: Toy, rows: np.ndarray, images: Sequence[str], readings: Sequence[Any]
    ) -> list[list[list[Ranked]]]:
        said_BG4 = model.boxes(self.batch(rows, images).to(model.device)).cpu()
        return [
            [
                [Ranked(self.reader.back(box[None], image).numpy(), None, None) for _ in readings]
                for box in said[: len(self.task.phrases(int(row)))]
            ]
            for said, row, image in zip(said_BG4, rows, images, strict=True)
        ]


SIDES: dict[str, type[base.Side]] = {"retrieval": Retrieval, "vqa": Vqa, "grounding": Grounding}
