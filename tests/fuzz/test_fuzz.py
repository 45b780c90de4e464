"""See the package. The outcome of a run is printed: target, examples, read, refused."""

from __future__ import annotations

import itertools
import os
import shutil
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz.damage import Cut
from tests.fuzz.targets import TARGETS

FEW = 40
AT_ONCE = 100
MINUTES = "VLP_FUZZ_MINUTES"


def throw(name: str, examples: int, number: int | None = None) -> Counter[str]:
    """Outcome -> how often; `number` draws others than the always same."""
    target, outcomes = TARGETS[name], Counter[str]()

    @settings(
        max_examples=examples,
        derandomize=number is None,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
        phases=(Phase.generate, Phase.shrink),
    )
    @given(damage=target.damage)
    def one(damage: Any) -> None:
        folder = Path(mkdtemp(prefix="vlp-fuzz-"))
        try:
            outcomes[target.check(folder, damage)] += 1
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    (one if number is None else seed(number)(one))()
    return outcomes


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_but_our_errors_leaves_and_no_number_changes(name: str) -> None:
    assert throw(name, FEW).total() >= FEW // 2


@pytest.mark.long
def test_the_same_for_half_an_hour(capsys: pytest.CaptureFixture[str]) -> None:
    end = time.monotonic() + 60 * float(os.environ.get(MINUTES, "30"))
    found = {name: Counter[str]() for name in TARGETS}
    failures: dict[str, str] = {}
    start = time.time_ns() % 2**32
    for number in itertools.count(start):
        for name in TARGETS:
            if time.monotonic() > end:
                break
            try:
                found[name] += throw(name, AT_ONCE, number)
            except Exception as error:  # told at the end; the others go on
                failures.setdefault(name, f"seed {number}: {type(error).__name__}: {error}")
                found[name]["faults"] += 1
        if time.monotonic() > end:
            break
    with capsys.disabled():
        for name, outcomes in found.items():
            sys.stdout.write(f"{name}: {outcomes.total():,} {dict(sorted(outcomes.items()))}\n")
    assert not failures, failures


def test_a_column_whose_name_is_no_text_is_damage(tmp_path: Path) -> None:
    assert TARGETS["predictions"].check(tmp_path, Cut(0.3125, 1, b"\x80")) == "refused"
