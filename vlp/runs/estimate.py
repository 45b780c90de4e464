"""What an experiment will cost, whatever its method."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from vlp.methods import get

if TYPE_CHECKING:
    from vlp.config import Experiment
    from vlp.training.estimate import Bill, Machines


def bill(e: Experiment, machines: Machines, counts: Mapping[str, int]) -> Bill | None:
    """`counts`: train rows of each table and all images, as far as they are known. None: the method does not say."""
    return get(e.model.method).cost(e, machines, counts)
