"""Ground-truth tags reach pre-training, and nothing else; images without regions are named."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.batching.draws import draw
from tests.tasks.lab import settings
from tests.training.tiny_run import experiment, paths
from vlp.batching.inputs import Inputs, Paths
from vlp.config import Experiment, build
from vlp.data.tables import read_table
from vlp.errors import InputError
from vlp.methods.mvptr import reader
from vlp.methods.mvptr.method import METHOD
from vlp.phrases import corpus, tokenizer
from vlp.phrases.vocabulary import PhraseVocabulary
from vlp.regions.annotate import annotate
from vlp.regions.store import RegionStore, RegionWriter, TagSource
from vlp.runs.pretrain import CaptionPairs
from vlp.tasks.retrieval import Retrieval

OPTIMISATION: Any = {"epochs": 1, "batch_size": 4, "learning_rate": 1e-3}


@pytest.fixture(scope="module")
def annotated(tiny_inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """The tiny inputs, where t/00 is annotated: one moon, which the detector did not name so."""
    folder = tmp_path_factory.mktemp("annotated") / "in"
    shutil.copytree(tiny_inputs, folder)
    found = paths(folder)
    annotate(folder / "regions.h5", {"t/00": ["moon"]}, folder / "regions.h5")
    _build(found)
    return found


def _build(found: Paths) -> None:
    from vlp.phrases.graph import Phrase

    texts = read_table(found.tables, "captions")["text"].to_pylist()
    phrases: dict[str, list[Phrase]] = {text: [] for text in texts}
    store = found.store
    words = tokenizer.load(found.vocabulary / "tokenizer")
    known = PhraseVocabulary.load(found.vocabulary / "phrases.json")
    counts = corpus.write(found.corpus, found.tables, phrases, known, words, RegionStore(store))
    assert counts.annotated == RegionStore(store).has_truth


def _words(inputs: Inputs, image_id: str, source: TagSource) -> str:
    pieces, _ = reader.collator(inputs, "captions", tag_source=source).tags(image_id)
    return inputs.tokenizer.decode(pieces.tolist())


def _with(source: str) -> Experiment:
    """The tiny experiment whose pre-training reads these tags."""
    value = experiment().model_dump()
    value["pretraining"]["tag_source"] = source
    return build(value, "tiny")


def test_pretraining_reads_the_annotation_where_there_is_one(annotated: Paths) -> None:
    inputs, store = Inputs(experiment(), annotated), RegionStore(annotated.store)
    assert _words(inputs, "t/00", "ground_truth") == "moon" != _words(inputs, "t/00", "detector")
    assert _words(inputs, "t/00", "detector").split() == store.tags("t/00")
    assert _words(inputs, "t/01", "ground_truth") == _words(inputs, "t/01", "detector")  # not annotated
    inputs = Inputs(_with("ground_truth"), annotated)
    work = METHOD.stage("stage2", METHOD.new_model(inputs), inputs)
    batch: Any = CaptionPairs(work.reader).batch(np.array([0]), draw(1))
    assert batch.tag_mask_BT.sum() == 3  # [CLS] moon [SEP]


def test_the_key_is_the_detector_unless_said() -> None:
    assert experiment().pretraining.tag_source == "detector"
    assert _with("ground_truth").pretraining.tag_source == "ground_truth"


def test_a_tasks_batch_has_the_detectors_tags_though_pretraining_has_others(annotated: Paths) -> None:
    inputs = Inputs(_with("ground_truth"), annotated)  # as finetune and predict open them
    task = Retrieval(inputs, settings("retrieval"), blind=False)
    batch = task.side.reader(np.array([0]), ["t/00"])
    shown = inputs.tokenizer.decode(batch.tag_ids_BT[0, 1:-1].tolist()).split()
    assert shown == RegionStore(annotated.store).tags("t/00") != ["moon"]


def test_a_corpus_without_ground_truth_says_so(tiny_inputs: Path) -> None:
    inputs = Inputs(experiment(), paths(tiny_inputs))
    with pytest.raises(InputError, match=r"corpus\.h5: the corpus has no ground-truth tags.*vlp regions annotate"):
        reader.collator(inputs, "captions", tag_source="ground_truth").tags("t/00")


def test_an_image_without_regions_is_named(tiny_inputs: Path, tmp_path: Path) -> None:
    collator = reader.collator(Inputs(experiment(), paths(tiny_inputs)), "captions")
    with RegionWriter(tmp_path / "none.h5", 8, ["a"], {}) as writer:
        writer.add("t/00", (9, 9), [], [], [], [])
    collator.store = RegionStore(tmp_path / "none.h5")
    with pytest.raises(InputError, match=r"none\.h5, row t/00: the image has no regions"):
        collator(np.array([0]), ["t/00"])
