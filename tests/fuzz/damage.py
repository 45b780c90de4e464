"""What is done to files: one value of a JSON document is replaced, or some bytes of a file."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

LONG = "@ a number of 4,400 digits"
"""Which Python would not write."""
NUMBERS = st.sampled_from(
    [
        0,
        -1,
        3,
        2**31,
        2**63,
        10**30,
        10**400,
        LONG,
        0.5,
        -0.0,
        1e-320,
        1e308,
        float("inf"),
        float("-inf"),
        float("nan"),
    ]
)
WORDS = st.sampled_from(
    [
        "",
        " ",
        "\u200b",
        "\ud83d",
        "a\udc00",
        "\x00",
        "Man ",
        "3",
        "../x",
        "a" * 5000,
        "é" * 50,
        "\U0001f600",
        "nan",
        "1e999",
    ]
)
JUNK = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, WORDS, st.text(max_size=8)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=4,
)


@dataclass(frozen=True)
class Change:
    """Of a JSON document: the value at the `at`-th place is replaced, removed or doubled."""

    at: int
    kind: str
    value: Any


@dataclass(frozen=True)
class Cut:
    """Of a file's bytes: from `at` (a share of the file) on, `removed` bytes give way to `put`."""

    at: float
    removed: int
    put: bytes


CHANGES = st.builds(Change, st.integers(0, 10**6), st.sampled_from(["replace"] * 4 + ["remove", "double"]), JUNK)
BYTES = (b"\xff\xfe", b"\xef\xbb\xbf", b"\t", b"\n", b'"', b"{", b"\x00", b"\\ud800")
CUTS = st.builds(
    Cut,
    st.floats(0, 1),
    st.sampled_from([0, 1, 1, 4, 40, 10**9]),
    st.binary(max_size=6)
    | st.sampled_from([b"\xff\xfe", b"\xef\xbb\xbf", b"\t", b"\n", b'"', b"{", b"\x00", b"\\ud800"]),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in items:
        yield from places(below, (*path, key))


def changed(value: Any, change: Change) -> Any:
    """A copy with one value changed."""
    value = copy.deepcopy(value)
    there = list(places(value))
    if not there:
        return change.value
    *path, last = there[change.at % len(there)]
    record = value
    for key in path:
        record = record[key]
    if change.kind == "remove":
        del record[last]
    elif change.kind == "double" and isinstance(record, list):
        record.insert(last, copy.deepcopy(record[last]))
    else:
        record[last] = change.value
    return value


def cut(data: bytes, change: Cut) -> bytes:
    at = round(change.at * len(data))
    return data[:at] + change.put + data[at + change.removed :]


def to_text(value: Any) -> bytes:
    """As any program might write it: with numbers of any length, NaN, and halves of surrogate pairs."""
    return json.dumps(value).replace(json.dumps(LONG), "1" + "0" * 4400).encode()
