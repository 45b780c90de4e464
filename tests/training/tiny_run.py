"""A whole, tiny pre-training: inputs written with the project's own writers, run in this process or a child's.

As a script, `python -m tests.training.tiny_run FOLDER RUN STAGE EXECUTOR TASKS [KEY=VALUE ...]` is the driver of a run
that a test may kill; KEY=VALUE are fields of the stage's optimisation.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from vlp.batching.inputs import Inputs, Paths
from vlp.config import Experiment, build
from vlp.config.launch import Resources
from vlp.data.tables import SCHEMAS, write_table
from vlp.launch import run
from vlp.methods.mvptr import reader
from vlp.methods.mvptr.reader import MaskedPairs
from vlp.models.directory import WEIGHTS
from vlp.phrases import corpus, tokenizer, vocabulary
from vlp.phrases.graph import Phrase
from vlp.phrases.texts import train_captions, train_texts
from vlp.regions.store import RegionStore, RegionWriter
from vlp.runs.pretrain import pretrain

ROOT = Path(__file__).parents[2]
COLOURS = ("red", "blue", "green", "grey")
SHAPES = ("star", "ring", "square", "moon", "cross")
OPTIMISATION = {"epochs": 8, "batch_size": 8, "learning_rate": 1.0e-3, "log_every": 1}


def write_inputs(folder: Path) -> Paths:
    """20 images of two coloured shapes, two captions each."""
    tables, rng = folder / "tables", np.random.default_rng(0)
    captions, phrases = [], {}
    with RegionWriter(folder / "regions.h5", 8, SHAPES, {"detector": "none"}) as writer:
        for i in range(20):
            shapes, colours = rng.choice(5, 2, replace=False), rng.choice(4, 2)
            boxes = [[0.0, 0.0, 20.0, 20.0], [30.0, 30.0, 60.0, 60.0]]
            features = rng.normal(size=(2, 8)) * 0.1 + np.eye(8)[shapes] + np.eye(8)[7 - colours]
            writer.add(f"t/{i:02}", (64, 64), features, boxes, shapes, [0.9, 0.8])
            (s, c), (t, d) = [(SHAPES[a], COLOURS[b]) for a, b in zip(shapes, colours, strict=True)]
            first, second = f"a {c} {s}", f"a {c} {s} and one more {d} {t}"
            for n, (text, named) in enumerate(((first, [(s, c)]), (second, [(s, c), (t, d)]))):
                captions.append(
                    {"caption_id": f"t/{i:02}#{n}", "image_id": f"t/{i:02}", "text": text, "split": "train"}
                )
                phrases[text] = [Phrase("attribute", pair, _words(text, *pair)) for pair in dict.fromkeys(named)]
    for name in SCHEMAS:
        write_table(tables, name, captions if name == "captions" else [])
    folder_v = folder / "vocabulary"
    tokenizer.save(tokenizer.word_pieces(train_texts(tables), SHAPES, 1), folder_v / "tokenizer")
    words = tokenizer.load(folder_v / "tokenizer")
    known = vocabulary.build(train_captions(tables, phrases, "phrases"), 1, len(words))
    known.save(folder_v / "phrases.json")
    corpus.write(folder / "corpus.h5", tables, phrases, known, words, RegionStore(folder / "regions.h5"))
    return paths(folder)


def _words(text: str, shape: str, colour: str) -> tuple[tuple[int, int], ...]:
    start = text.index(f"{colour} {shape}")
    middle = start + len(colour)
    return (start, middle), (middle + 1, middle + 1 + len(shape))


def paths(folder: Path) -> Paths:
    return Paths(folder / "tables", folder / "corpus.h5", folder / "regions.h5", folder / "vocabulary")


def experiment(**optimisation: Any) -> Experiment:
    o = OPTIMISATION | optimisation
    value = {
        "name": "tiny",
        "data": {"name": "t", "root": ".", "captions": {"format": "karpathy"}},
        "regions": {"source": "vinvl_tsv", "tsv": "."},
        "lengths": {"words": 12, "phrases": 3, "regions": 4, "tags": 6},
        "model": {
            "hidden_size": 16,
            "num_heads": 2,
            "intermediate_size": 24,
            "text_layers": 1,
            "visual_layers": 1,
            "multimodal_layers": 1,
            "grounding_layer": 1,
            "max_positions": 32,
            "attention_dropout": 0.0,
        },
        "pretraining": {
            "stage1": {**o, "losses": ["mcr_visual", "mcr_text", "vsc"]},
            "stage2": {**o, "losses": ["mcr_visual", "mcr_text", "vsc", "mlm", "itm", "wpg"]},
        },
    }
    return build(value, "tiny")


def train(inputs: Path, folder: Path, stage: str, resources: Resources, **optimisation: Any) -> dict[str, Any]:
    """Pre-train in `folder`; the weights are then at `weights(folder)`."""
    arguments = {
        "experiment": experiment(**optimisation),
        "stage": stage,
        "paths": paths(inputs),
        "init": None,
        "out": folder / "model",
        "run_dir": folder / "run",
    }
    return run(pretrain, arguments, resources, folder / "run", "tiny")


def masked_pairs(inputs: Inputs, o: Any) -> MaskedPairs:
    """What a stage with this optimisation reads."""
    e = inputs.experiment
    collator = reader.collator(inputs, "captions", tag_source=e.pretraining.tag_source)
    return MaskedPairs(collator, e.masking, o.negative_warmup, o.negative_group)


def weights(folder: Path) -> Path:
    return folder / "model" / WEIGHTS


def driver(
    inputs: Path, folder: Path, stage: str, executor: str, tasks: int, **optimisation: Any
) -> subprocess.Popen[str]:
    """The same in a child process; what it prints goes to its `stdout`."""
    settings = [f"{k}={v}" for k, v in optimisation.items()]
    command = [sys.executable, "-m", "tests.training.tiny_run", inputs, folder, stage, executor, tasks, *settings]
    return subprocess.Popen(
        [str(c) for c in command], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


if __name__ == "__main__":
    inputs, folder, stage, executor, tasks, *settings = sys.argv[1:]
    given = {k: yaml.safe_load(v) for k, v in (s.split("=") for s in settings)}
    resources = Resources.model_validate({"executor": executor, "tasks_per_node": int(tasks)})
    train(Path(inputs), Path(folder), stage, resources, **given)
