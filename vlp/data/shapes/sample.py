"""Everything about one image, before it is written in any format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from vlp.config.data import Shapes
from vlp.data.shapes import captions, entailment, questions, referring
from vlp.data.shapes.balance import Candidate
from vlp.data.shapes.language import Text
from vlp.data.shapes.render import outline
from vlp.data.shapes.scene import Scene, scenes
from vlp.data.shapes.vocabulary import Vocabulary
from vlp.errors import ConfigError

SPLITS = ("train", "val", "test")
FIRST_ID = 100000
"""Ids start here, so that an image's number and its file name have the same digits."""


@dataclass(frozen=True)
class Question:
    candidate: Candidate
    answers: list[str]


@dataclass(frozen=True)
class Sample:
    scene: Scene
    split: str
    captions: list[Text]
    labels: list[str]
    """The class each object is annotated with: its shape, or by `label_noise` another."""
    referring: dict[int, list[str]]
    """Object -> expressions that fit it alone."""
    questions: list[Question] = field(default_factory=list)
    hypotheses: list[Candidate] = field(default_factory=list)

    @property
    def number(self) -> int:
        return FIRST_ID + self.scene.index

    @property
    def name(self) -> str:
        return str(self.number)

    @property
    def file_name(self) -> str:
        return f"{self.name}.jpg"


def samples(dials: Shapes, step: Callable[[str], None] = lambda _: None) -> list[Sample]:
    """All images of train, val, test in this order. `step` is told which part begins.

    Raises:
        ConfigError: the dials contradict each other, or leave no room for so many different scenes.
    """
    if dials.min_objects > dials.max_objects:
        raise ConfigError("data.generator.min_objects: more than data.generator.max_objects")
    step("scenes")
    drawn = [outline(scene) for scene in scenes(dials)]
    counts = (dials.train_images, dials.val_images, dials.test_images)
    edges = (0, *(sum(counts[: i + 1]) for i in range(3)))
    step("captions")
    made = [
        Sample(
            scene,
            split,
            captions.captions(scene, dials),
            _labels(scene, dials),
            referring.expressions(scene, dials),
        )
        for split, (start, end) in zip(SPLITS, pairwise(edges), strict=True)
        for scene in drawn[start:end]
    ]
    step("questions and hypotheses")
    for n, (start, end) in enumerate(pairwise(edges)):
        for candidate in questions.choose(drawn[start:end], dials, n):
            asked = made[candidate.image].questions
            asked.append(Question(candidate, questions.answers(candidate, dials.seed, len(asked))))
        for candidate in entailment.choose(drawn[start:end], dials, n):
            made[candidate.image].hypotheses.append(candidate)
    return made


def _labels(scene: Scene, dials: Shapes) -> list[str]:
    rng = np.random.default_rng([dials.seed, 10, scene.index, scene.attempt])
    shapes = Vocabulary.of(dials).values["shape"]
    labels: list[str] = []
    for thing in scene.things:
        others = [s for s in shapes if s != thing.shape]
        wrong = others[int(rng.integers(len(others)))]
        labels.append(wrong if rng.random() < dials.label_noise else thing.shape)
    return labels
