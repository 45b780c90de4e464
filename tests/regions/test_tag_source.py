"""Ground-truth tags reach pre-training, and nothing else; images without regions are named."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.batching.draws import draw
from tests.training.tiny_run import experiment, paths
from vlp.batching.inputs import Inputs, Paths
from vlp.config import Experiment
from vlp.config import tasks as config
from vlp.data.tables import read_table
from vlp.errors import InputError
from vlp.phrases import corpus, tokenizer
from vlp.phrases.vocabulary import PhraseVocabulary
from vlp.regions.annotate import annotate
from vlp.regions.store import RegionStore, RegionWriter
from vlp.runs.pretrain import CaptionPairs
from vlp.tasks import make
from vlp.tasks.classification import Entailment, Vqa
from vlp.tasks.grounding import Grounding
from vlp.tasks.retrieval import Retrieval

OPTIMISATION: Any = {"epochs": 1, "batch_size": 4, "learning_rate": 1e-3}


@pytest.fixture(scope="module")
def annotated(tiny_inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """The tiny inputs, where t/00 is annotated: one moon, which the detector did not name so."""
    folder = tmp_path_factory.mktemp("annotated") / "in"
    shutil.copytree(tiny_inputs, folder)
    found = paths(folder)
    annotate(found.regions, {"t/00": ["moon"]}, found.regions)
    _build(found)
    return found


def _build(found: Paths) -> None:
    from vlp.phrases.graph import Phrase

    texts = read_table(found.tables, "captions")["text"].to_pylist()
    phrases: dict[str, list[Phrase]] = {text: [] for text in texts}
    words = tokenizer.load(found.vocabulary / "tokenizer")
    known = PhraseVocabulary.load(found.vocabulary / "phrases.json")
    counts = corpus.write(found.corpus, found.tables, phrases, known, words, RegionStore(found.regions))
    assert counts.annotated == RegionStore(found.regions).has_truth


def _words(inputs: Inputs, image_id: str) -> str:
    return inputs.tokenizer.decode(inputs.collator("captions").tags(image_id)[0].tolist())


def test_pretraining_reads_the_annotation_where_there_is_one(annotated: Paths) -> None:
    truth, detector = (Inputs(experiment(), annotated, source) for source in ("ground_truth", "detector"))
    assert _words(truth, "t/00") == "moon" != _words(detector, "t/00")
    assert _words(detector, "t/00").split() == RegionStore(annotated.regions).tags("t/00")
    assert _words(truth, "t/01") == _words(detector, "t/01")  # not annotated
    o = experiment().pretraining.stage2
    source = CaptionPairs(truth.collator("captions"), experiment().masking, o)
    batch = source.batch(np.array([0]), draw(1))
    assert batch.tag_mask_BT.sum() == 3  # [CLS] moon [SEP]


def test_the_key_is_the_detector_unless_said(annotated: Paths) -> None:
    value = experiment().model_dump()
    assert value["pretraining"]["tag_source"] == "detector" == Inputs(experiment(), annotated).tag_source
    value["pretraining"]["tag_source"] = "ground_truth"
    assert Experiment.model_validate(value).pretraining.tag_source == "ground_truth"


@pytest.mark.parametrize("variant", ["full", "blind", "scratch", "pretrained"])
@pytest.mark.parametrize(
    ("kind", "part"),
    [
        (Retrieval, config.Retrieval),
        (Vqa, config.Vqa),
        (Entailment, config.Entailment),
        (Grounding, config.Grounding),
    ],
)
def test_tasks_refuse_ground_truth_tags(annotated: Paths, kind: Any, part: Any, variant: str) -> None:
    value = experiment()
    tasks = value.tasks.model_copy(update={kind.name: part(optimisation=OPTIMISATION)})
    inputs = Inputs(value.model_copy(update={"tasks": tasks}), annotated, "ground_truth")
    message = f"the task {kind.name} is fine-tuned and evaluated with the detector's tags, not ground_truth"
    with pytest.raises(InputError, match=message):
        make(kind.name, inputs, variant)


def test_a_tasks_batch_has_the_detectors_tags_though_pretraining_has_others(annotated: Paths) -> None:
    value = experiment().model_dump()
    value["pretraining"]["tag_source"] = "ground_truth"
    inputs = Inputs(Experiment.model_validate(value), annotated)  # as finetune and predict open them
    task = Retrieval(inputs, config.Retrieval(optimisation=OPTIMISATION), blind=False)
    batch = task.collator(np.array([0]), ["t/00"])
    shown = inputs.tokenizer.decode(batch.tag_ids_BT[0, 1:-1].tolist()).split()
    assert shown == RegionStore(annotated.regions).tags("t/00") != ["moon"]


def test_a_corpus_without_ground_truth_says_so(tiny_inputs: Path) -> None:
    inputs = Inputs(experiment(), paths(tiny_inputs), "ground_truth")
    with pytest.raises(InputError, match=r"corpus\.h5: the corpus has no ground-truth tags.*vlp regions annotate"):
        inputs.collator("captions").tags("t/00")


def test_an_image_without_regions_is_named(tiny_inputs: Path, tmp_path: Path) -> None:
    collator = Inputs(experiment(), paths(tiny_inputs)).collator("captions")
    with RegionWriter(tmp_path / "none.h5", 8, ["a"], {}) as writer:
        writer.add("t/00", (9, 9), [], [], [], [])
    collator.store = RegionStore(tmp_path / "none.h5")
    with pytest.raises(InputError, match=r"none\.h5, row t/00: the image has no regions"):
        collator(np.array([0]), ["t/00"])
