"""A model directory put to use on raw images and texts, whatever its method."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from vlp import finite
from vlp.errors import ConfigError, InputError
from vlp.images.pictures import look, open_picture
from vlp.infer.answer import Answer
from vlp.methods import get
from vlp.models.directory import CONFIG, INPUTS, WEIGHTS, method_of
from vlp.tasks.base import NO_CHOICE

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

_PARTS = (CONFIG, INPUTS, WEIGHTS, "tokenizer")


class Predictor:
    """Fills masks, scores the match and grounds phrases; or answers, or tells entailment: what the model was trained
    for (`abilities`)."""

    def __init__(self, folder: Path, detector: Path | None = None) -> None:
        self.folder = folder
        self._demand(_PARTS)
        try:
            method = get(method_of(folder))
        except ConfigError as error:
            problem = str(error).removeprefix("model.method: ") + "."
            raise InputError(folder / CONFIG, problem, "Install the package that made it.") from error
        self._demand(method.companions_needed)
        self.own: Any = method.predictor(folder, detector)
        """What the method makes of the directory: a `vlp.methods.base.Predictor`."""

    def _demand(self, names: tuple[str, ...]) -> None:
        missing = [name for name in names if not (self.folder / name).exists()]
        if missing:
            problem = f"not a model directory: it has no {', '.join(missing)}."
            raise InputError(self.folder, problem, "Name one: a folder of results/NAME/models.")

    @classmethod
    def from_pretrained(cls, folder: str | Path, detector: str | Path | None = None) -> Predictor:
        """The predictor of a model directory.

        Args:
            detector: folder of the detector, for a model directory that does not carry it.

        Raises:
            InputError: not a model directory, or a damaged one.
        """
        return cls(Path(folder), Path(detector) if detector is not None else None)

    @property
    def model(self) -> Any:
        """The module."""
        return self.own.model

    @property
    def abilities(self) -> frozenset[str]:
        """Parts of an answer that the model was trained for."""
        return self.own.abilities

    @torch.inference_mode()
    def __call__(
        self,
        image: str | Path | Image | NDArray[Any] | None = None,
        text: str = "",
        *,
        regions: str | Path | None = None,
        image_id: str | None = None,
        top_k: int = 5,
    ) -> Answer:
        """What the model says of an image and a text.

        Args:
            image: a file, a PIL image, or an array, H x W or H x W x 1, 3 or 4, of uint8, uint16 or float. With
                `regions` it is only drawn on, and may be left out.
            text: a sentence or a question; `[MASK]` stands for a word that the model shall fill in.
            regions: of a model that reads regions: a store that has those of `image_id`, in place of its detector.
            top_k: so many words for each mask, and answers.

        Raises:
            InputError: the image or the store cannot be read, the detector is missing or another one, a mask stands
                in text that is too long for the model, or the model fills no masks; a number that it says is not
                finite.
        """
        seen = look(image) if image is not None else None
        picture = seen.image if seen is not None else None
        name = image_id or (str(image) if isinstance(image, str | Path) else "image")
        said = self.own.answer(picture, name, text, regions, image_id, top_k)
        for part, value in said.found.items():
            finite.demand(list(_numbers(value)), self.folder, f"what it says ({part})", NO_CHOICE, row=name)
        notes = (*(f"the image: {note}" for note in (seen.notes if seen is not None else ())), *said.notes)
        return Answer(self.folder, said.text, name, notes, said.found, picture, self.own.remedy, said.scale)

    def batch(self, image: str | Path | Image | NDArray[Any], text: str) -> Any:
        """The model's input, for those who want its states: `predictor.model.unimodal(predictor.batch(...))`."""
        return self.own.batch(open_picture(image), text)


def _numbers(value: Any) -> Iterator[float]:
    """Every float within a part of an answer."""
    if isinstance(value, float):
        yield value
    elif is_dataclass(value):
        yield from (n for f in fields(value) for n in _numbers(getattr(value, f.name)))
    elif isinstance(value, dict):
        yield from (n for one in value.values() for n in _numbers(one))
    elif isinstance(value, list | tuple):
        yield from (n for one in value for n in _numbers(one))
