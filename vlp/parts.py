"""Work that is cut into parts, each a job."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeVar

from vlp.errors import ConfigError

T = TypeVar("T")


def parse_shard(text: str) -> tuple[int, int]:
    """`2/4` -> (2, 4): the second of four. Raises ConfigError."""
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise ConfigError(f"--shard {text}: wanted I/N with I from 1 to N, such as 2/4")
    return int(found[1]), int(found[2])


def shard(items: Sequence[T], number: int, count: int) -> Sequence[T]:
    """The `number`-th (from 1) of `count` runs of neighbours, which differ in length by one at most."""
    return items[len(items) * (number - 1) // count : len(items) * number // count]
