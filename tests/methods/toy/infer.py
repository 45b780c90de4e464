"""A model directory put to use on pictures and texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import Tensor

from tests.methods.toy.batch import Batch
from tests.methods.toy.method import load
from tests.methods.toy.reader import batch_of, corner, cropped
from tests.methods.toy.tasks import Scorer
from vlp.errors import InputError
from vlp.files import read_json
from vlp.methods.answers import Said
from vlp.models import directory
from vlp.phrases import tokenizer

if TYPE_CHECKING:
    from PIL.Image import Image

ABILITIES = {"contrast": "cosine", "retrieval": "match", "vqa": "answers"}
"""Objective -> what a model trained for it can say."""


class Predictor:
    remedy = ""

    def __init__(self, folder: Path) -> None:
        self.folder, self.model = folder, load(folder).eval()
        self.said = read_json(folder / directory.INPUTS)
        self.tokenizer = tokenizer.load(folder / "tokenizer")

    @property
    def abilities(self) -> frozenset[str]:
        return frozenset(ABILITIES[name] for name in self.said["objectives"] if name in ABILITIES)

    def answer(
        self,
        picture: Image | None,
        name: str,
        text: str,
        regions: str | Path | None,
        image_id: str | None,
        top_k: int,
    ) -> Said:
        if picture is None or regions is not None:
            raise InputError(name, "the toy reads pictures alone.", "Give --image.")
        batch, found = self.batch(picture, text), dict[str, Any]()
        image_BD, text_BD = self.model.vectors(batch)
        if "cosine" in self.abilities:
            found["cosine"] = float((image_BD * text_BD).sum())
        if "match" in self.abilities:
            found["match"] = float(self.model.judge(image_BD, text_BD).sigmoid())
        if "answers" in self.abilities:
            best = self.model.judge(image_BD, text_BD)[0].sigmoid().topk(top_k)
            names = [self.said["answers"][i] for i in best.indices.tolist()]
            found["answers"] = list(zip(names, best.values.tolist(), strict=True))
        return Said(text, found)

    def batch(self, picture: Image, text: str) -> Batch:
        return batch_of([self.see(picture)], [self._words(text)]).to(self.model.device)

    def _words(self, text: str) -> Any:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"][: self.model.architecture.words]

    # -- search -------------------------------------------------------------------------------------------------
    def see(self, picture: Image) -> Tensor:
        return cropped(picture, self.model.architecture.pixels, corner(None, 0))

    def gallery(self, seen: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return seen

    def open(self, regions: Path) -> NoReturn:
        raise InputError(regions, "the toy reads pictures alone.", "Name a folder of images.")

    def scorer(self, texts: Sequence[str], gallery: Mapping[str, Tensor], images: Sequence[str]) -> Scorer:
        with torch.inference_mode():
            pictures = batch_of([gallery[i] for i in images], [self._words(texts[0])] * len(images))
            read = batch_of([gallery[images[0]]] * len(texts), [self._words(t) for t in texts])
            return Scorer(self.model, [pictures], [read])
