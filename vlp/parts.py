"""Work that is cut into parts, each a job."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from vlp.errors import ConfigError, InputError

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


def _is_shard(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(type(number) is int for number in value)


def check_complete(shards: Sequence[Path], records: Sequence[Mapping[str, Any]], again: str) -> None:
    """Records hold `shard`: its number (from 1) and how many there are; `again` says how to make one (`{}`: I/N).

    Raises:
        InputError: a shard is missing, comes twice or out of order, or is of another way to cut.
    """
    for path, value in zip(shards, records, strict=True):
        if not isinstance(value, dict) or not _is_shard(value.get("shard")):
            raise InputError(path, "it does not say which shard it is.", f"Make it again: {again.format('I/N')}.")
    count = records[0]["shard"][1]
    for path, value in zip(shards, records, strict=True):
        if value["shard"][1] != count:
            problem = f"shard {name_of(value)}, the first is {name_of(records[0])}."
            raise InputError(path, problem, "Merge the shards of one extraction.")
    numbers = [value["shard"][0] for value in records]
    missing = sorted({*range(1, count + 1)} - {*numbers})
    if missing:
        name = f"{missing[0]}/{count}"
        problem = f"shard {name} is missing ({len(missing)} of {count} are)."
        raise InputError(shards[0].parent, problem, again.format(name))
    if numbers != sorted(set(numbers)):
        raise InputError(shards[0].parent, "a shard comes twice, or not in order.", "Name each once, from 1 on.")


def name_of(value: Mapping[str, Any]) -> str:
    """`shard` of a record as the command line has it: `2/4`."""
    return "/".join(map(str, value["shard"]))


def drawn_by_hash(items: Iterable[T], number: int, key: Any = str) -> list[T]:
    """So many of the items, as good as at random, but the same in every run."""
    return sorted(items, key=lambda item: hashlib.sha256(key(item).encode()).digest())[:number]
