"""Any stage of pre-training of any method."""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path
from typing import Any

import numpy as np

from vlp.batching.batch import Batch
from vlp.batching.draw import Draw
from vlp.batching.inputs import Inputs, Paths
from vlp.batching.order import demand_batch
from vlp.config import Experiment
from vlp.data.leaks.seen import PRETRAINING
from vlp.errors import InputError
from vlp.methods import get
from vlp.methods.base import Reader
from vlp.models import directory
from vlp.phrases.corpus import TextSet
from vlp.regions import carried
from vlp.runs.finish import Seen, finish
from vlp.training.loop import train


def train_rows(texts: TextSet, excluded: Set[str] = frozenset()) -> np.ndarray:
    """Rows of the texts that pre-training reads. Raises InputError: there is none."""
    kept = [split == "train" and i not in excluded for split, i in zip(texts.splits, texts.image_ids, strict=True)]
    rows = np.flatnonzero(kept)
    if not len(rows):
        remedy = "Check the splits of the captions table, and data.exclusion."
        raise InputError("corpus", "holds no train caption.", remedy)
    return rows


class CaptionPairs:
    """Pairs of a train caption and its image, as a stage reads them."""

    def __init__(self, reader: Reader, excluded: Set[str] = frozenset()) -> None:
        """`excluded`: images that are left out, with all their texts."""
        self.reader, self.rows = reader, train_rows(reader.texts, excluded)

    @property
    def images(self) -> set[str]:
        """What is trained on."""
        return {self.reader.texts.image_ids[row] for row in self.rows}

    @property
    def lengths(self) -> np.ndarray:
        return self.reader.sizes(self.rows)

    def ids(self, indices: np.ndarray) -> list[str]:
        return [self.reader.texts.ids[t] for t in self.rows[indices]]

    def batch(self, indices: np.ndarray, draw: Draw) -> Batch:
        texts = self.rows[indices]
        return self.reader.batch(texts, [self.reader.texts.image_ids[t] for t in texts], draw)


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
        stage: one of the method's.
        init: model directory to start from: that of the stage before.
        detector: the detector that made the regions, to go along in `out`; None: that of `init`, if it has one.

    Raises:
        InputError: `detector` did not make the regions; a batch is larger than the data set.
    """
    inputs, e, method = Inputs(experiment, paths), experiment, get(experiment.model.method)
    if detector is not None:
        carried.check(detector, inputs.store.facts)
    o = getattr(e.pretraining, stage)
    count = len(train_rows(inputs.corpus.texts("captions"), inputs.excluded))
    demand_batch(count, o.batch_size, f"pretraining.{stage}")
    model = method.load(init) if init is not None else method.new_model(inputs)
    work = method.stage(stage, model, inputs)
    # Streams of the stages differ, or the second would see the first one's masks and order again.
    seed = e.seed * 1000 + e.stage(stage).stream
    source = CaptionPairs(work.reader, inputs.excluded)
    start = directory.digest(init) if init is not None else e.model.model_dump_json()
    fingerprint = inputs.fingerprint(stage, o.decides(), method.decides(e), seed, start, sorted(inputs.excluded))
    images = inputs.identity(source.images)
    probe = method.probe(stage, model, inputs)
    result = train(work.step, model, source, o, run_dir, seed, fingerprint, probe=probe)
    lineage = {"init": directory.digest(init) if init else "none"}
    detector = detector or (carried.of(init) if init else None)
    finish(model, out, run_dir, inputs, lineage, dict(work.said), detector, Seen(PRETRAINING, images, init))
    return result
