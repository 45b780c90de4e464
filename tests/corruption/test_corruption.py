"""Bit rot in what stands between the rules: the next command names file, writer and remedy before it works.

Which artefacts there are is read from the rules themselves, so a new one cannot be forgotten.
"""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from tests.corruption.places import Artefact, Reader, artefacts, damaged, problem_of
from vlp.tracking import lineage

pytestmark = pytest.mark.slow
ENDS = {"report.html", "raw"}
"""What no rule reads, and some of what the generator gives in further formats."""


@pytest.fixture(scope="module")
def found(smoke: Path) -> list[Artefact]:
    return artefacts(smoke)


def attack(found: list[Artefact], each: int, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Damage `each` places of every kind of artefact, as one of the rules that read it sees them; how many of each."""
    rng, told, silent = random.Random(each), Counter[str](), list[str]()
    kinds: dict[str, list[tuple[Artefact, Reader]]] = {}
    for artefact in found:
        for reader in artefact.readers:
            kinds.setdefault(artefact.kind, []).append((artefact, reader))
    for kind, choices in kinds.items():
        for n in range(each):
            artefact, reader = rng.choice(choices)
            how, place = ("flip" if n % 4 != 1 else "cut"), rng.randrange(1, 1 << 30)
            with damaged(artefact.path, how, place):
                problem = problem_of(reader, monkeypatch)
            told[kind] += 1
            if problem is None or str(artefact.path) not in problem:
                silent.append(f"{reader.rule} reads {kind} ({how} at {place}): {problem}")
    assert silent == []
    return told


def test_the_undamaged_chain_is_refused_by_nobody(found: list[Artefact], monkeypatch: pytest.MonkeyPatch) -> None:
    readers = {reader.rule: reader for artefact in found for reader in artefact.readers}
    assert len(readers) > 10
    assert [rule for rule, reader in readers.items() if problem_of(reader, monkeypatch) is not None] == []


def test_every_artefact_is_read_by_a_rule(found: list[Artefact], smoke: Path) -> None:
    unread = {artefact.path.relative_to(smoke).parts[0] for artefact in found if not artefact.readers}
    assert unread <= ENDS


def test_damage_between_rules_is_named(found: list[Artefact], monkeypatch: pytest.MonkeyPatch) -> None:
    told = attack(found, 2, monkeypatch)
    assert len(told) > 20


@pytest.mark.long
def test_a_thousand_places(found: list[Artefact], monkeypatch: pytest.MonkeyPatch) -> None:
    told = attack(found, 40, monkeypatch)
    assert sum(told.values()) > 1000
    print(f"{sum(told.values()):,} places, none silent: {dict(told)}")


def test_damage_to_what_no_rule_reads_is_found_by_its_lineage(found: list[Artefact], smoke: Path) -> None:
    for artefact in (a for a in found if not a.readers):
        with damaged(artefact.path, "flip", 1000):
            known = lineage.steps(smoke)
            assert any(artefact.path.name in line for line in lineage.changed(lineage.trace(known, artefact.path)))
