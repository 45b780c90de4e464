"""Raw images to model directories at toy size, by the project's own steps: what inference starts from."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.regions.scenes import SIDE, World, make
from tests.training.tiny_run import experiment, paths
from vlp import config
from vlp.batching.inputs import Paths
from vlp.config import Experiment
from vlp.config.launch import Resources
from vlp.config.regions import Detector as DetectorConfig
from vlp.config.training import Optimisation
from vlp.data.tables import SCHEMAS, rows, write_table
from vlp.images.decode import Skipped, records
from vlp.launch import run
from vlp.phrases import corpus, tokenizer, vocabulary
from vlp.phrases.parser import SceneGraphParser
from vlp.phrases.texts import train_captions, train_texts
from vlp.regions import detector as detectors
from vlp.regions.detectors.small import Small
from vlp.regions.extract import extract, store_facts
from vlp.regions.store import RegionStore
from vlp.regions.train import Examples, examples
from vlp.regions.train import train as train_detector
from vlp.runs.finetune import finetune
from vlp.runs.pretrain import pretrain

DETECTOR = {"width": 8, "feature_size": 64, "image_size": SIDE, "epochs": 2, "min_regions": 3}
TEXTS = ("a red square above a blue disc", "a small red disc", "a blue square beside a red square")
LAYER = 2
"""Grounding layer of the fine-tuning; pre-training has 1."""


@dataclass(frozen=True)
class Lab:
    folder: Path
    world: World
    experiment: Experiment
    paths: Paths

    def model(self, name: str) -> Path:
        return self.folder / "models" / name

    @property
    def detector(self) -> Path:
        return self.folder / "detector"

    def image(self, split: str = "test") -> tuple[str, Path]:
        """Id and file of the first image of a split."""
        row = next(r for r in self.world.images if r["split"] == split)
        return row["image_id"], self.world.folder / "raw" / row["path"]


def build(folder: Path) -> Lab:
    world = make(folder / "toy", train=16, val=2, test=2)
    lab = Lab(folder, world, _experiment(), paths(folder))
    _tables(lab)
    _regions(lab)
    _texts(lab)
    _run(lab, "stage2", pretrain, stage="stage2", init=None, detector=lab.detector)
    for task in ("vqa", "entailment", "grounding"):
        _run(lab, task, finetune, task=task, variant="full", init=lab.model("stage2"))
    return lab


def _experiment() -> Experiment:
    value = experiment(epochs=2).model_dump()
    stage = value["pretraining"]["stage1"] | {"warmup": 0.1}
    o = {k: v for k, v in stage.items() if k in Optimisation.model_fields}
    tasks: dict[str, Any] = {name: {"optimisation": o, "evaluations": 1} for name in ("vqa", "entailment", "grounding")}
    tasks["vqa"]["min_answer_count"] = 1
    tasks["grounding"] |= {"layer": LAYER, "lengths": {"words": 14, "phrases": 3, "regions": 3, "tags": 6}}
    for table in ("questions", "entailment", "phrase_boxes"):
        value["data"][table] = {"format": "vqa_v2"}  # never read: the tables are written here
    value["data"]["name"] = "toy"  # the prefix of the world's ids
    value["model"] |= {"multimodal_layers": 3, "dropout": 0.0}
    return config.build(value | {"tasks": tasks}, "test")


def _tables(lab: Lab) -> None:
    tables, found = lab.paths.tables, {name: [] for name in SCHEMAS}
    found["images"], found["objects"] = lab.world.images, lab.world.objects
    for row, text in zip(lab.world.images, itertools.cycle(TEXTS), strict=False):
        image, split = row["image_id"], row["split"]
        own = {"image_id": image, "split": split}
        found["captions"].append({"caption_id": f"{image}#0", "text": text, **own})
        boxes = [o["box"] for o in lab.world.objects if o["image_id"] == image]
        for n, phrase in enumerate(p for p in ("a red square", "a blue disc", "a small red disc") if p in text):
            start = text.index(phrase)
            place = {"start": start, "end": start + len(phrase), "phrase_type": "other", "boxes": boxes[:1]}
            found["phrase_boxes"].append(
                {"phrase_id": f"{image}#0@{n}", "caption_id": f"{image}#0", "text": phrase, **place, **own}
            )
        kind = "disc" if "disc" in text else "square"
        answer = {"answer_type": "other", "question_type": "what", "answers": [kind] * 10}
        found["questions"].append({"question_id": f"{image}?0", "text": "what is red?", **answer, **own})
        label = "entailment" if kind == "disc" else "neutral"
        found["entailment"].append({"pair_id": f"{image}!0", "text": "a red disc", "label": label, **own})
    for name in SCHEMAS:
        write_table(tables, name, found[name])


def _regions(lab: Lab) -> None:
    images = records(rows(lab.paths.tables, "images"), lab.world.folder / "raw")
    found, names = examples(images, rows(lab.paths.tables, "objects"), None, "objects")
    config = DetectorConfig.model_validate(DETECTOR)
    trained, facts = train_detector(config, Examples(found, Skipped("stop")), len(found), names, seed=1, threads=1)
    saved = detectors.save(lab.detector / "detector.safetensors", trained, facts)
    small = Small(trained, saved["sha256"])
    extract(small, images, lab.paths.store, Skipped("stop"), store_facts(small), threads=1)


def _texts(lab: Lab) -> None:
    tables, folder = lab.paths.tables, lab.paths.vocabulary
    parser = SceneGraphParser("en_core_web_sm")
    phrases = {text: parser.parse(text).phrases() for text in (*TEXTS, "what is red?", "a red disc")}
    tokenizer.save(tokenizer.word_pieces(train_texts(tables), ["disc", "square"], 1), folder / "tokenizer")
    words = tokenizer.load(folder / "tokenizer")
    known = vocabulary.build(train_captions(tables, phrases, "phrases"), 1, len(words))
    known.save(folder / "phrases.json")
    corpus.write(lab.paths.corpus, tables, phrases, known, words, RegionStore(lab.paths.store))


def _run(lab: Lab, name: str, work: Any, **arguments: Any) -> None:
    folders = {"out": lab.model(name), "run_dir": lab.folder / "runs" / name}
    everything = {"experiment": lab.experiment, "paths": lab.paths, **folders, **arguments}
    run(work, everything, Resources(executor="inline"), folders["run_dir"], name)
