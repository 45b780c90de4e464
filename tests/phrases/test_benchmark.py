from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks import phrases as benchmark


@pytest.mark.parametrize(
    ("phrase", "head"),
    [
        ("A man", "man"),
        ("a small black dog", "dog"),
        ("a group of people", "group"),
        ("a lot of young people", "people"),
        ("A couple of men in hats", "men"),
        ("the side of the road", "side"),
        ("a t-shirt", "t-shirt"),
        ("them", "them"),
        ("---", None),
    ],
)
def test_the_head_by_position(phrase: str, head: str | None) -> None:
    span = benchmark.head_of(phrase)
    assert (None if span is None else phrase[slice(*span)]) == head


def test_entities_counts_heads_that_are_objects(tmp_path: Path) -> None:
    # "swimming" is a gold phrase that names no object; "He" is a pronoun
    lines = ["[/EN#1/people A man] holds [/EN#2/other a red ball] .", "[/EN#1/people He] goes [/EN#3/other swimming] ."]
    (tmp_path / "1.txt").write_text("\n".join(lines))
    shown = CliRunner().invoke(benchmark.app, ["entities", "--sentences", str(tmp_path), "--misses", "3"])
    assert shown.exit_code == 0, shown.output
    assert "all: 2 of 4 = 0.5000" in shown.output and "noun: 2 of 3 = 0.6667" in shown.output
    assert "swimming 1" in shown.output and "pronoun, number or determiner: 0 of 1" in shown.output


def test_sentences_prints_precision_and_recall() -> None:
    shown = CliRunner().invoke(benchmark.app, ["sentences"])
    assert shown.exit_code == 0 and shown.output.count("precision 0.9") == 2


def test_official_prints_hits_shares_and_speed(tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text("a red dog\na red dog on a mat\na blue cat\n")
    (tmp_path / "official.json").write_text('{"5": ["dog", "red"], "6": ["dog", "on", "mat"]}')
    options = ["--captions", str(tmp_path / "c.txt"), "--official", str(tmp_path / "official.json")]
    options += ["--scratch", str(tmp_path / "s"), "--processes", "1", "--misses", "5"]
    shown = CliRunner().invoke(benchmark.app, ["official", *options])
    assert shown.exit_code == 0, shown.output
    assert "attributes: 1.000 a caption, 0.667 in the official file (1 distinct), share 0.6667" in shown.output
    assert "relations: 0.333 a caption, 0.333 in the official file (1 distinct), share 1.0000" in shown.output
    assert '["cat", "blue"] 1' in shown.output and "captions/s" in shown.output
