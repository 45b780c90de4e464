"""What a model says of one image and one text."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlp.errors import InputError
from vlp.methods.answers import ABILITIES, Filled, Grounded, GroundedConcept, does

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Answer:
    """Parts that the model was not trained for raise InputError when they are asked for; see `ABILITIES`."""

    model: Path
    text: str
    image: str
    notes: tuple[str, ...]
    """How the image was read; what the model did not see: text and concepts beyond its lengths."""
    found: dict[str, Any]
    picture: Image | None
    remedy: str = ""
    """Which model of the method is trained for more: the end of an error's advice."""
    picture_scale: tuple[float, float] = (1.0, 1.0)
    """From the pixels that boxes are given in to those of `picture`: a region store may speak of a larger copy."""

    @property
    def words(self) -> list[Filled]:
        """The masks of the text in their order."""
        return self._part("words")

    @property
    def match(self) -> float:
        """Probability that image and text belong together, by the multimodal encoder.

        A text with masks is scored with its masks.
        """
        return self._part("match")

    @property
    def cosine(self) -> float:
        """Cosine of the global vectors of image and text, by the unimodal encoders."""
        return self._part("cosine")

    @property
    def phrases(self) -> list[Grounded]:
        """The text's noun phrases with their boxes."""
        return self._part("phrases")

    @property
    def concepts(self) -> list[GroundedConcept]:
        """The attribute and relation tuples that the model reads; a relation speaks of two regions, one is found."""
        return self._part("concepts")

    @property
    def answers(self) -> list[tuple[str, float]]:
        """VQA: (answer, probability), best first; each answer's probability stands alone, they do not add up to 1."""
        return self._part("answers")

    @property
    def entailment(self) -> dict[str, float]:
        """Probability of contradiction, neutral, entailment."""
        return self._part("entailment")

    def _part(self, name: str) -> Any:
        if name not in self.found:
            raise InputError(
                self.model,
                f"this model was not trained for it: it {does(self.found)}; none of its objectives {ABILITIES[name]}.",
                f"Use a model directory that was trained for it{self.remedy}.",
            )
        return self.found[name]

    def draw(self, path: str | Path) -> Path:
        """Write the picture with the phrases' boxes as PNG or JPEG, by the name's ending.

        Raises:
            InputError: the model grounds no phrases, no image was given, or the ending is unknown.
        """
        from vlp.files import atomic
        from vlp.infer.draw import render

        path, phrases = Path(path), self.phrases
        formats = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
        if path.suffix.lower() not in formats:
            raise InputError(path, f"pictures are written as {', '.join(formats)}.", "Give such a name.")
        if self.picture is None:
            raise InputError(path, "there is no image to draw on.", "Give the image too (--image).")
        width, height = self.picture_scale
        boxes = [(p.box[0] * width, p.box[1] * height, p.box[2] * width, p.box[3] * height) for p in phrases]
        words = {f.start: f.candidates for f in self.found.get("words", [])}
        page = render(self.picture, self.text, phrases, boxes, words, self.found.get("match"), self.found.get("cosine"))
        with atomic(path) as temporary:
            page.save(temporary, formats[path.suffix.lower()])
        return path

    def as_dict(self) -> dict[str, Any]:
        """All numbers, for JSON."""

        def plain(value: Any) -> Any:
            return [asdict(v) if hasattr(v, "__dataclass_fields__") else v for v in value]

        parts = {k: plain(v) if isinstance(v, list) else v for k, v in self.found.items()}
        return {"model": str(self.model), "image": self.image, "text": self.text, "notes": list(self.notes), **parts}
