"""Sentences with hand-checked tuples: reading and scoring them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from vlp.phrases.backends import Parser

HERE = Path(__file__).parent
FILES = {"frozen": HERE / "sentences_frozen.yaml", "tuned": HERE / "sentences_tuned.yaml"}

Parts = tuple[str, ...]


def parse_tuples(written: str) -> frozenset[Parts]:
    """`man young; man|in|shirt` -> the tuples."""
    found = (t.strip() for t in written.split(";"))
    return frozenset(tuple(t.split("|")) if "|" in t else tuple(t.split()) for t in found if t)


def sentences(name: str) -> list[tuple[str, str, frozenset[Parts]]]:
    """(rule, text, tuples) of one of `FILES`."""
    groups: dict[str, dict[str, str]] = yaml.safe_load(FILES[name].read_text(encoding="utf-8"))
    return [(rule, text, parse_tuples(written)) for rule, cases in groups.items() for text, written in cases.items()]


@dataclass(frozen=True)
class Score:
    """Over all sentences: tuples found and right, found, and wanted."""

    sentences: int
    right: int
    found: int
    wanted: int
    wrong: tuple[str, ...]
    """Sentences that are not exactly right, with what is missing (-) and too much (+)."""

    @property
    def precision(self) -> float:
        return self.right / self.found

    @property
    def recall(self) -> float:
        return self.right / self.wanted


def score(parser: Parser, name: str) -> Score:
    cases = sentences(name)
    right = found = wanted = 0
    wrong: list[str] = []
    for (_, text, gold), graph in zip(cases, parser.pipe(text for _, text, _ in cases), strict=True):
        got = frozenset(p.parts for p in graph.phrases())
        right, found, wanted = right + len(got & gold), found + len(got), wanted + len(gold)
        if got != gold:
            parts = [*(f"-({', '.join(t)})" for t in sorted(gold - got))]
            parts += [f"+({', '.join(t)})" for t in sorted(got - gold)]
            wrong.append(f"{text}: {' '.join(parts)}")
    return Score(len(cases), right, found, wanted, tuple(wrong))
