"""Stage 1 and stage 2 of pre-training (paper 3.4, 4.1)."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
import torch.distributed as dist

from vlp.batching.draw import Draw
from vlp.batching.inputs import Inputs, Paths
from vlp.batching.order import DROPOUT, generator
from vlp.config import Experiment
from vlp.config.model import Masking
from vlp.config.training import Optimisation, Stage
from vlp.data.leaks.seen import PRETRAINING, record
from vlp.errors import InputError
from vlp.launch import fence
from vlp.methods.mvptr.batch import Batch
from vlp.methods.mvptr.initialise import copy_bert, set_phrase_rows
from vlp.methods.mvptr.model import Mvptr, set_dropout
from vlp.methods.mvptr.reader import Collator, add_negative_noise
from vlp.methods.mvptr.steps import PretrainingStep
from vlp.models import directory
from vlp.phrases.tokenizer import bert_directory
from vlp.regions import carried
from vlp.training import checkpoint
from vlp.training.loop import train
from vlp.training.probe import Probe


@dataclass(frozen=True)
class Seen:
    """The images of a training, for the list in the model directory."""

    phase: str
    """`pretraining`, or a task."""
    images: pa.Table | None
    """Their identities; None: not known, so the model does not say what it has seen."""
    init: Path | None
    """The model whose images are seen as well."""


class CaptionPairs:
    """Pairs of a train caption and its image, masked."""

    def __init__(self, collator: Collator, rates: Masking, o: Optimisation, excluded: Set[str] = frozenset()) -> None:
        """`excluded`: images that are left out, with all their texts."""
        self.collator, self.rates, self.optimisation = collator, rates, o
        texts = collator.texts
        kept = [split == "train" and i not in excluded for split, i in zip(texts.splits, texts.image_ids, strict=True)]
        self.rows = np.flatnonzero(kept)
        if not len(self.rows):
            raise InputError(
                "corpus", "holds no train caption.", "Check the splits of the captions table, and data.exclusion."
            )

    @property
    def images(self) -> set[str]:
        """What is trained on."""
        return {self.collator.texts.image_ids[row] for row in self.rows}

    @property
    def lengths(self) -> np.ndarray:
        return self.collator.text_lengths(self.rows)

    def ids(self, indices: np.ndarray) -> list[str]:
        return [self.collator.texts.ids[t] for t in self.rows[indices]]

    def batch(self, indices: np.ndarray, draw: Draw) -> Batch:
        texts = self.rows[indices]
        images = [self.collator.texts.image_ids[t] for t in texts]
        batch = self.collator.masked(texts, images, self.rates, draw)
        return add_negative_noise(batch, draw, self.optimisation.negative_warmup, self.optimisation.negative_group)


def new_model(inputs: Inputs) -> Mvptr:
    """A model before stage 1: BERT's weights where the config names them, phrase rows from their words."""
    from vlp.phrases.vocabulary import PhraseVocabulary

    e, v = inputs.experiment, inputs.vocabulary
    torch.manual_seed(int(generator(e.seed, DROPOUT, 2**31).integers(2**62)))
    model = Mvptr(directory.architecture(e, v.word_rows, v.phrase_rows, inputs.region_size))
    if e.model.init_from is not None:
        copy_bert(model, bert_directory(e.model.init_from))
    phrases = PhraseVocabulary.load(inputs.paths.vocabulary / "phrases.json")
    set_phrase_rows(model, phrases.word_ids(inputs.tokenizer))
    return model


def pretrain(
    experiment: Experiment,
    stage: str,
    paths: Paths,
    init: Path | None,
    out: Path,
    run_dir: Path,
    detector: Path | None = None,
) -> dict[str, Any]:
    """Train one stage on every rank; rank 0 writes the model directory `out`.

    Args:
        stage: `stage1` or `stage2`.
        init: model directory to start from (stage 2 starts from stage 1's).
        detector: the detector that made the regions, to go along in `out`; None: that of `init`, if it has one.

    Raises:
        InputError: `detector` did not make the regions.
    """
    inputs, e = Inputs(experiment, paths, experiment.pretraining.tag_source), experiment
    if detector is not None:
        carried.check(detector, inputs.store.facts)
    o = getattr(e.pretraining, stage)
    model = directory.load(init) if init is not None else new_model(inputs)
    set_dropout(model, e.model.dropout if o.dropout is None else o.dropout)
    step_module = PretrainingStep(model, o.losses, o.contrast_group, o.wpg_negatives)
    # Streams of the two stages differ, or stage 2 would see stage 1's masks and order again.
    seed = e.seed * 1000 + int(stage[-1])
    source = CaptionPairs(inputs.collator("captions"), e.masking, o, inputs.excluded)
    start = directory.digest(init) if init is not None else e.model.model_dump_json()
    fingerprint = inputs.fingerprint(
        stage,
        o.decides(),
        e.masking.model_dump(),
        e.lengths.model_dump(),
        e.model.model_dump(),
        inputs.tag_source,
        seed,
        start,
        sorted(inputs.excluded),
    )
    images = inputs.identity(source.images)
    result = train(step_module, model, source, o, run_dir, seed, fingerprint, probe=alignment(inputs, model, o))
    lineage = {"init": directory.digest(init) if init else "none"}
    detector = detector or (carried.of(init) if init else None)
    trained = {"objectives": list(o.losses), "tag_source": inputs.tag_source}
    finish(model, out, run_dir, inputs, lineage, trained, detector, Seen(PRETRAINING, images, init))
    return result


def alignment(inputs: Inputs, model: Mvptr, o: Stage) -> Probe | None:
    """What a stage is asked on the way; None: the config wants nothing measured, or val has nothing to measure."""
    from vlp.methods.mvptr.alignment import Alignment

    settings = inputs.experiment.pretraining.alignment
    if not settings.every:
        return None
    cross_modal = bool({"mlm", "itm", "wpg"} & set(o.losses))
    asked = Alignment(inputs, settings.images, cross_modal=cross_modal, matching="itm" in o.losses)
    return Probe("alignment", lambda: asked.measure(model), settings.every, asked.about) if asked.levels else None


def finish(
    model: Mvptr,
    out: Path,
    run_dir: Path,
    inputs: Inputs,
    lineage: dict[str, str],
    trained: dict[str, Any],
    detector: Path | None,
    seen: Seen,
) -> None:
    """Write the model directory; then the checkpoints have done their work.

    Args:
        trained: what `inputs.json` says of the training: its objectives; a task's answers and grounding layer.
        detector: to go along in the directory.
        seen: the images of this training.
    """
    from vlp.files import sha256

    if dist.get_rank() == 0:
        p = inputs.paths
        digests = {"corpus": sha256(p.corpus), "regions": sha256(p.regions), "vocabulary": sha256(p.vocabulary)}
        fence.check()
        (out / directory.WEIGHTS).unlink(missing_ok=True)  # until the weights are new, the folder is not whole
        described = inputs.describe() | {"detector": carried.carry(out, inputs.store.facts, detector)} | trained
        out.mkdir(parents=True, exist_ok=True)
        described |= {"seen": None if seen.images is None else record(out, seen.phase, seen.images, seen.init)}
        directory.save(model.float(), out, p.vocabulary, described, lineage | digests)
        checkpoint.remove(run_dir / "checkpoints")
        for name in ("best.safetensors", "best.json"):
            (run_dir / name).unlink(missing_ok=True)
    dist.barrier()
