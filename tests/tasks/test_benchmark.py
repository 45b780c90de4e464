"""The retrieval benchmark compares the same scores, and times each way as often as it says."""

from benchmarks.plain import base
from benchmarks.retrieval import measure


def test_the_ways_agree_and_are_timed() -> None:
    found = measure(base(1, 40, 20, 64), images=4, size=5, repeats=2)
    assert {name: len(t) for name, t in found.items()} == {
        "reference": 2, "trimmed": 2, "cached": 2, "unimodal": 1,
    }  # fmt: skip
