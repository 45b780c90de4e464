"""The commands in a chain, on tiny tables and a real region store."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from vlp.cli import corpus as corpus_commands
from vlp.cli import phrases as phrase_commands
from vlp.errors import InputError
from vlp.phrases.corpus import Corpus
from vlp.regions.store import RegionWriter

CONFIG = """
name: tiny
results: {results}
data: {{name: s, root: {results}, captions: {{format: karpathy}}}}
regions: {{source: vinvl_tsv, tsv: {results}}}
phrases: {{min_sentences: 2, processes: 1}}
vocabulary: {{min_count: 1}}
pretraining:
  stage1: &stage {{losses: [vsc], epochs: 1, batch_size: 2, learning_rate: 1.0e-3}}
  stage2: *stage
tracking: {{enabled: false}}
"""


def _regions(path: Path, images: list[str]) -> None:
    with RegionWriter(path, 4, ["star", "fire hydrant"], {"detector": "test"}) as writer:
        for image in images:
            boxes = np.array([[0.0, 0.0, 4.0, 4.0], [1.0, 1.0, 5.0, 5.0]])
            writer.add(image, (9, 9), np.zeros((2, 4)), boxes, [1, 0], [0.5, 0.9])


@pytest.fixture
def chain(tables: Path, tmp_path: Path) -> dict[str, Path]:
    config = tmp_path / "tiny.yaml"
    config.write_text(CONFIG.format(results=tmp_path / "results"))
    _regions(tmp_path / "regions.h5", ["s/0", "s/1", "s/2", "s/3"])
    return {
        "config": config,
        "tables": tables,
        "phrases": tmp_path / "phrases.parquet",
        "regions": tmp_path / "regions.h5",
        "vocabulary": tmp_path / "vocabulary",
        "out": tmp_path / "corpus.h5",
    }


def _options(paths: dict[str, Path], *names: str, **others: Path) -> list[str]:
    pairs = {n: paths[n] for n in names} | others
    return [word for name, path in pairs.items() for word in (f"--{name}", str(path))]


def test_mine_vocabulary_corpus(chain: dict[str, Path]) -> None:
    runner = CliRunner()
    mined = runner.invoke(phrase_commands.app, ["mine", *_options(chain, "config", "tables", out=chain["phrases"])])
    assert mined.exit_code == 0 and "2 without a phrase" in mined.output
    options = _options(chain, "config", "tables", "phrases", "regions", out=chain["vocabulary"])
    made = runner.invoke(phrase_commands.app, ["vocabulary", *options])
    assert made.exit_code == 0 and "1 phrases (1 attributes, 0 relations)" in made.output
    value = json.loads((chain["vocabulary"] / "phrases.json").read_text())
    assert [(r["parts"], r["count"]) for r in value["records"]] == [(["star", "red"], 2)]
    assert value["rows"] == value["records"][0]["id"] + 1
    options = _options(chain, "config", "tables", "phrases", "vocabulary", "regions", "out")
    built = runner.invoke(corpus_commands.app, ["build", *options])
    assert built.exit_code == 0 and "captions.test: 1 texts left out" in built.output
    corpus = Corpus(chain["out"])
    assert corpus.texts("captions").phrases(0).tolist() == [value["records"][0]["id"]]
    assert [len(t) for t in corpus.tags("s/2")] == [1, 2]
    journals = {p.name for p in (chain["config"].parent / "results" / "tiny" / "journals").glob("*.jsonl")}
    assert journals == {"phrases.jsonl", "vocabulary.jsonl", "corpus.jsonl"}


def test_a_failed_command_leaves_no_file(chain: dict[str, Path]) -> None:
    runner = CliRunner()
    options = _options(chain, "config", "tables", "phrases", "regions", out=chain["vocabulary"])
    failed = runner.invoke(phrase_commands.app, ["vocabulary", *options])
    assert isinstance(failed.exception, InputError) and "vlp phrases mine" in str(failed.exception)
    assert not (chain["vocabulary"] / "phrases.json").exists()


def test_show_draws_the_graph() -> None:
    shown = CliRunner().invoke(phrase_commands.app, ["show", "a man riding a big wave"])
    assert shown.exit_code == 0
    assert "relation  (man, ride, wave)  man riding wave" in shown.output and "ride → wave" in shown.output
    assert "no phrase" in CliRunner().invoke(phrase_commands.app, ["show", "hello"]).output


def test_count_resumes_and_writes_a_vocabulary(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a red dog\na red dog on a mat\na blue cat\n")
    options = ["count", "--captions", str(tmp_path / "a.txt"), "--shards", str(tmp_path / "shards"), "--min-sentences"]
    options += ["2", "--processes", "1", "--first-id", "100", "--out", str(tmp_path / "phrases.json")]
    first, again = (CliRunner().invoke(phrase_commands.app, options) for _ in range(2))
    assert first.exit_code == again.exit_code == 0, first.output
    assert "1 phrases in 2 or more of 3 sentences, 101 rows" in first.output.replace("\n", "")
    value = json.loads((tmp_path / "phrases.json").read_text())
    assert value["records"] == [{"id": 100, "parts": ["dog", "red"], "kind": "attribute", "count": 2}]


def test_associate_writes_what_the_parser_reads(tmp_path: Path) -> None:
    from vlp.phrases.attachment import Associations

    (tmp_path / "a.txt").write_text("a man rides a bike on a hill\n" + "a man sits on a bed\n" * 3)
    options = ["--captions", str(tmp_path / "a.txt"), "--processes", "1", "--out", str(tmp_path / "a.tsv")]
    shown = CliRunner().invoke(phrase_commands.app, ["associate", *options])
    assert shown.exit_code == 0, shown.output
    assert "1 triples of 4 prepositional phrases, 3 of them sure" in shown.output.replace("\n", "")
    assert Associations.read(tmp_path / "a.tsv").attached == {("verb", "sit", "on", "bed"): 3}
    missing = CliRunner().invoke(phrase_commands.app, ["associate", "--captions", "none.txt", *options[2:]])
    assert isinstance(missing.exception, InputError) and "none.txt" in str(missing.exception)


def test_tables_beside_the_published_ones(chain: dict[str, Path], tmp_path: Path) -> None:
    runner = CliRunner()
    runner.invoke(phrase_commands.app, ["mine", *_options(chain, "config", "tables", out=chain["phrases"])])
    record = {"id": 5, "parts": ["star", "red"], "kind": "attribute", "count": 2}
    (tmp_path / "v.json").write_text(json.dumps({"rows": 6, "records": [record]}))
    options = _options(chain, "tables", "phrases", vocabulary=tmp_path / "v.json", out=tmp_path / "t.json")
    shown = runner.invoke(phrase_commands.app, ["tables", *options])
    assert shown.exit_code == 0 and "Table 8" in shown.output and "54950" in shown.output
    rows = json.loads((tmp_path / "t.json").read_text())
    assert {"statistic": "unique", "ours": 1, "paper": 54950} in rows["table8"]
    (tmp_path / "official.json").write_text(json.dumps({"5": ["star", "red"], "7": ["star"]}))
    options = _options(
        chain, "config", "tables", "phrases", vocabulary=tmp_path / "official.json", out=tmp_path / "o.json"
    )
    again = runner.invoke(phrase_commands.app, ["tables", *options])
    assert again.exit_code == 0 and (tmp_path / "o.json").read_bytes() == (tmp_path / "t.json").read_bytes()
    assert (chain["config"].parent / "results" / "tiny" / "journals" / "phrase_tables.jsonl").exists()


def test_an_official_file_goes_both_ways_without_loss(tmp_path: Path) -> None:
    phrases = {"9": ["a", "b", "c"], "3": ["man"], "4": ["man", "young"]}
    (tmp_path / "official.json").write_text(json.dumps(phrases))
    there = [str(tmp_path / "official.json"), str(tmp_path / "ours.json"), "--rows", "20"]
    runner = CliRunner()
    done = runner.invoke(phrase_commands.app, ["convert", *there])
    assert done.exit_code == 0 and "1 objects, 1 attributes, 1 relations, 20 rows" in done.output.replace("\n", " ")
    assert json.loads((tmp_path / "ours.json").read_text())["rows"] == 20
    back = runner.invoke(phrase_commands.app, ["convert", str(tmp_path / "ours.json"), str(tmp_path / "back.json")])
    assert back.exit_code == 0
    assert json.loads((tmp_path / "back.json").read_text()) == phrases
    assert list(json.loads((tmp_path / "back.json").read_text())) == list(phrases)
    (tmp_path / "neither.json").write_text("[]")
    failed = runner.invoke(phrase_commands.app, ["convert", str(tmp_path / "neither.json"), str(tmp_path / "x")])
    assert isinstance(failed.exception, InputError) and not (tmp_path / "x").exists()
