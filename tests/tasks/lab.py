"""Twelve images of two coloured shapes in three splits, with every annotation, and a tiny model to fine-tune."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tests.training import tiny_run
from vlp.batching.inputs import Inputs, Paths
from vlp.config import Experiment, build
from vlp.data.tables import SCHEMAS, write_table
from vlp.methods.mvptr import directory
from vlp.methods.mvptr.start import describe, new_model
from vlp.phrases import corpus, tokenizer, vocabulary
from vlp.phrases.graph import Phrase
from vlp.phrases.texts import train_captions, train_texts
from vlp.regions.store import RegionStore, RegionWriter

SHAPES, COLOURS = ("star", "ring", "moon", "cross"), ("red", "blue", "green")
BOXES = [[0.0, 0.0, 20.0, 20.0], [30.0, 30.0, 60.0, 60.0], [0.0, 0.0, 60.0, 60.0]]
SPLITS = ("train",) * 6 + ("val",) * 3 + ("test",) * 3
OPTIMISATION = {"epochs": 1, "batch_size": 4, "learning_rate": 1.0e-3}
LABELS = ("contradiction", "neutral", "entailment")


def write(folder: Path) -> Paths:
    rng = np.random.default_rng(0)
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in SCHEMAS}
    phrases: dict[str, list[Phrase]] = {}
    with RegionWriter(folder / "regions.h5", 8, SHAPES, {"detector": "none"}) as writer:
        for i, split in enumerate(SPLITS):
            shapes, colours = rng.choice(4, 2, replace=False), rng.choice(3, 2)
            classes = [*shapes, -1]
            features = rng.normal(size=(3, 8)) * 0.1
            writer.add(f"t/{i:02}", (64, 64), features, BOXES, np.array(classes), [0.9, 0.8, 0.7])
            named = [(SHAPES[s], COLOURS[c]) for s, c in zip(shapes, colours, strict=True)]
            _describe(rows, phrases, f"t/{i:02}", split, named, i)
    for name, records in rows.items():
        write_table(folder / "tables", name, records)
    words = folder / "vocabulary" / "tokenizer"
    tokenizer.save(tokenizer.word_pieces(train_texts(folder / "tables"), SHAPES, 1), words)
    loaded = tokenizer.load(words)
    known = vocabulary.build(train_captions(folder / "tables", phrases, "phrases"), 1, len(loaded))
    known.save(folder / "vocabulary" / "phrases.json")
    store = RegionStore(folder / "regions.h5")
    corpus.write(folder / "corpus.h5", folder / "tables", phrases, known, loaded, store)
    return tiny_run.paths(folder)


def _describe(rows: Any, phrases: Any, image: str, split: str, named: list[tuple[str, str]], i: int) -> None:
    own = {"image_id": image, "split": split}
    (shape, colour), (other, tint) = named
    texts = [f"a {colour} {shape}", f"a {colour} {shape} and a {tint} {other}"]
    for n, text in enumerate(texts):
        rows["captions"].append({"caption_id": f"{image}#{n}", "text": text, **own})
        end = 2 + len(colour)
        words = ((2, end), (end + 1, end + 1 + len(shape)))
        phrases[text] = [Phrase("attribute", (shape, colour), words)]
    for k, (name, box) in enumerate(((f"{colour} {shape}", [BOXES[0]]), (f"{tint} {other}", [BOXES[1]]))):
        start = texts[1].index(name)
        boxes = [] if i % 4 == 3 and k else box
        span = {"start": start, "end": start + len(name), "phrase_type": "other"}
        rows["phrase_boxes"].append(
            {"phrase_id": f"{image}#1/{k}", "caption_id": f"{image}#1", "text": name, "boxes": boxes, **span, **own}
        )
    question = "what is red ?"
    phrases[question] = phrases[f"the {other}"] = phrases[f"a {shape}"] = []
    answers = ["yes"] * 8 + ["no"] * 2 if i % 2 else ["no"] * 9 + ["2"]
    kind = {"answer_type": "yes/no", "question_type": "what"}
    rows["questions"].append(
        {"question_id": f"{image[:2]}{1000 + i}", "text": question, "answers": answers, **kind, **own}
    )
    label = LABELS[i % 3]
    rows["entailment"].append({"pair_id": f"{image}#p", "text": f"a {shape}", "label": label, **own})
    partition = split if split != "test" else ("testA", "testB")[i % 2]
    rows["referring"].append(
        {"ref_id": f"{image}#r", "text": f"the {other}", "box": BOXES[1], "partition": partition, **own}
    )


def experiment(**tasks: Any) -> Experiment:
    """The tiny model with these tasks; an empty dict stands for `OPTIMISATION` alone."""
    base = tiny_run.experiment().model_dump(mode="json", exclude={"sources"})
    source = {"format": "vqa_v2", "files": {}}
    base["data"] |= {name: source for name in ("questions", "entailment", "phrase_boxes", "referring")}
    base["model"]["multimodal_layers"] = 2
    base["tasks"] = {name: {"optimisation": OPTIMISATION, **own} for name, own in tasks.items()}
    return build(base, "lab")


def settings(task: str, **own: Any) -> Any:
    """The config of one task."""
    return getattr(experiment(**{task: own}).tasks, task)


def pretrained(paths: Paths, folder: Path) -> Path:
    """A model directory with fresh weights."""
    inputs = Inputs(experiment(retrieval={}), paths)
    directory.save(new_model(inputs), folder, paths.vocabulary, describe(inputs), {})
    return folder
