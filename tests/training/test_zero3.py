"""ZeRO 3 gathers weights from all ranks as modules are called: ranks whose batches differ have to gather alike."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch.distributed as dist

from tests.training.kills import Trainings, losses, stage_2
from vlp.batching.batch import Batch
from vlp.batching.draw import Draw
from vlp.methods.mvptr.config import Masking
from vlp.runs.pretrain import CaptionPairs
from vlp.training import engine

STEPS = 6
LIMIT = 300.0
"""Seconds, of which two ranks need ten on quiet cores; then they wait for each other for ever."""
ROUNDING = 2e-5
NOTHING = Masking(words=0.0, phrases=0.0, tags=0.0)


def uneven(folder: Path, inputs: Path, settings: dict[str, Any]) -> None:
    """A rank of stage 2 whose batches have texts of two lengths, hence padding; in most steps one of the two ranks has
    a lesser one.

    In steps 1 and 3 of four it is one sample over and over: no padding, and nothing to draw a negative from, so no
    target of WPG. In steps 2 and 3 nothing is masked: no target of MCR and MLM.
    """
    whole = CaptionPairs.batch

    def batch(self: CaptionPairs, indices: Any, draw: Draw) -> Batch:
        lesser = dist.get_rank() == draw.step // 2 % 2
        alike, unmasked = (lesser and draw.step % 4 in steps for steps in ((1, 3), (2, 3)))
        by_length = np.argsort(self.lengths, kind="stable")
        indices = np.array([by_length[i % 20 + 20 * (n % 2)] for n, i in enumerate(indices)])
        indices = np.repeat(indices[:1], len(indices)) if alike else indices
        reader: Any = self.reader
        with mock.patch.object(self, "reader", replace(reader, rates=NOTHING) if unmasked else reader):
            made: Any = whole(self, indices, draw)
        assert bool(made.text_mask_BL.all()) == alike
        assert made.words is not None and made.tags is not None and len(made.tags.label_M) * unmasked == 0
        return made

    with mock.patch.object(engine, "PERSISTENT", 0), mock.patch.object(CaptionPairs, "batch", batch):
        stage_2(folder, inputs, settings)


@pytest.mark.slow
def test_ranks_with_unlike_batches_do_not_wait_for_each_other(tiny_inputs: Path, tmp_path: Path) -> None:
    trainings = Trainings(tiny_inputs)
    settings: dict[str, Any] = {"epochs": STEPS * 8 / 40, "dropout": 0.0}
    for stage in (2, 3):
        trainings.finish(tmp_path / str(stage), 2, uneven, LIMIT, zero_stage=stage, **settings)
    one, other = (dict(losses(tmp_path / str(stage))) for stage in (2, 3))
    assert len(one) == STEPS and other == pytest.approx(one, rel=ROUNDING)
