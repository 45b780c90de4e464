"""A batch larger than its table is told when the tables are made, not after hours of pre-training."""

from __future__ import annotations

from typing import Any

import pytest

from tests.tasks import lab
from vlp.data.batches import check_batches
from vlp.errors import InputError

COUNTS: Any = {"captions": {"train": 40, "val": 9}, "questions": {"train": 10, "val": 6}, "entailment": {"train": 4}}


def test_both_numbers_are_named() -> None:
    check_batches(lab.experiment(vqa={}, entailment={}), COUNTS)
    with pytest.raises(InputError, match=r"tasks\.entailment\.optimisation: batch_size is 4, .* entailment has 3 rows"):
        check_batches(lab.experiment(vqa={}, entailment={}), COUNTS | {"entailment": {"train": 3, "val": 9}})
    with pytest.raises(InputError, match=r"pretraining\.stage1: batch_size is 8, and the table captions has 7 rows"):
        check_batches(lab.experiment(vqa={}), COUNTS | {"captions": {"train": 7}})
    with pytest.raises(InputError, match=r"the table phrase_boxes has 0 rows to train on"):
        check_batches(lab.experiment(grounding={}), COUNTS)


def test_what_is_trained_on_val_counts() -> None:
    large = {"optimisation": {**lab.OPTIMISATION, "batch_size": 12}}
    with pytest.raises(InputError, match="questions has 10 rows"):
        check_batches(lab.experiment(vqa=large), COUNTS)
    check_batches(lab.experiment(vqa={**large, "minival": 2, "train_on_val": True}), COUNTS)
