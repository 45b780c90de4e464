"""What is present, damaged and missing is told apart; the command ends with 1 where an experiment lacks something."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner

from tests import guard
from tests.data.published import write
from vlp.config import build, read
from vlp.doctor import machine
from vlp.doctor.catalogue import File, sources, wanted
from vlp.doctor.files import State, broken, look
from vlp.doctor.needs import counts

CONFIGS = Path(__file__).parents[2] / "configs"
STAGE = {"losses": ["vsc"], "epochs": 1, "batch_size": 2, "learning_rate": 1e-4}


def file(**over: Any) -> File:
    value = {"name": "a.zip", "address": None, "bytes": None, "sha256": None, "gives": {"images/*.jpg": 3}}
    return File.model_validate(value | over)


def archive(folder: Path) -> bytes:
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / "a.zip", "w") as out:
        out.writestr("images/1.jpg", "x" * 1000)
    return (folder / "a.zip").read_bytes()


def test_states_of_a_download(tmp_path: Path) -> None:
    assert look(file(), tmp_path).state is State.MISSING
    data = archive(tmp_path)
    digest = hashlib.sha256(data).hexdigest()
    assert look(file(), tmp_path).state is State.PACKED
    assert look(file(bytes=len(data) + 1), tmp_path).state is State.DAMAGED
    whole = file(bytes=len(data), sha256=digest)
    assert look(whole, tmp_path, verify=True).detail.endswith("digest as published")
    changed = bytearray(data)
    changed[50] ^= 1
    (tmp_path / "a.zip").write_bytes(changed)
    assert look(whole, tmp_path).state is State.PACKED  # of the right size; only its digest tells
    assert look(whole, tmp_path, verify=True).state is State.DAMAGED
    (tmp_path / "a.zip").write_bytes(data[:-30])
    assert "zip" in look(file(), tmp_path).detail and look(file(), tmp_path).state is State.DAMAGED


def test_states_of_what_is_unpacked(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for i in range(2):
        (tmp_path / "images" / f"{i}.jpg").write_bytes(b"x")
    found = look(file(), tmp_path)
    assert (found.state, found.detail) == (State.INCOMPLETE, "images/*.jpg: 2 of 3")
    (tmp_path / "images" / "2.jpg").write_bytes(b"x")
    assert look(file(), tmp_path).state is State.PRESENT
    assert look(file(gives={"images/*.jpg": None, "b.json": 1}), tmp_path).state is State.INCOMPLETE


@pytest.mark.parametrize(
    "name, text, whole",
    [
        ("a.json", '{"a": [1, 2]}\n', True),
        ("a.json", '{"a": [1, 2', False),
        ("a.jsonl", '{"a": 1}\n{"a"', False),
        ("a.tsv", "", False),
        ("a.tsv", "x", True),
        ("a.tar", "no archive", False),
    ],
)
def test_a_file_that_is_cut_is_damaged(tmp_path: Path, name: str, text: str, whole: bool) -> None:
    (tmp_path / name).write_text(text)
    assert (broken(tmp_path / name) is None) is whole
    if not whole:
        assert look(file(name="x", gives={name: 1}), tmp_path).state is State.DAMAGED


def test_every_format_and_corpus_of_the_paper_is_in_the_catalogue() -> None:
    """What a config can name has an entry, or is made by the user."""
    from typing import get_args

    from vlp.config.data import Format
    from vlp.config.presets import PAPER_NAMED

    known = sources()
    formats = {f for s in known.values() for f in s.formats} | {"coco_captions", "coco_instances"}  # of COCO's archive
    assert set(get_args(Format)) - formats == {"captions_jsonl"}  # a captioner's
    assert {p.set for p in PAPER_NAMED} <= {name for s in known.values() for name in s.sets}
    for name, source in known.items():
        assert source.page.startswith("https://") and source.licence and source.files, name
        assert {f for f in source.formats if f not in get_args(Format)} == set(), name


def test_facts_without_a_place_are_unverified() -> None:
    known = sources()
    assert known["coco"].facts == ("licence", "counts", "digests") and known["coco"].unverified == ()
    assert known["openimages"].unverified == ("counts",)
    assert known["refcoco"].facts == ()  # nothing is claimed: no terms, no number of files above one, no digest
    for name, source in known.items():
        assert set(source.stated) <= set(source.facts), name
        assert all(place.strip() for place in source.stated.values()), name


def test_the_paper_asks_for_its_six_corpora_and_the_demo_for_nothing() -> None:
    paper = build(read(CONFIGS / "paper.yaml", ["data.root=here", "regions.tsv=there"]), "paper")
    found = wanted(paper)
    six = {"coco", "flickr30k", "gqa", "visual_genome", "conceptual_captions", "sbu", "openimages"}
    assert six | {"karpathy", "vqa_v2", "snli_ve", "flickr30k_entities", "vinvl"} == set(found)
    assert found["sbu"] == [("sbu", Path("here/sbu"))]
    assert counts(paper)["images"] > 5_000_000
    demo = build(read(CONFIGS / "demo.yaml", []), "demo")
    assert wanted(demo) == {} and counts(demo)["captions"] == 8000


def call(*arguments: str) -> tuple[int, str]:
    from vlp.cli.doctor import app

    done = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "400"})
    assert done.exception is None or isinstance(done.exception, SystemExit | typer.Exit), done.exception
    return done.exit_code, re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    root = write(tmp_path / "raw")
    (tmp_path / "tsv").mkdir()
    for name in ("features.tsv", "predictions.tsv"):
        (tmp_path / "tsv" / name).write_text("x\n")
    data = {"name": "flickr30k", "root": str(root), "images": ["images"]}
    data |= {"captions": {"format": "karpathy", "files": {"captions": "karpathy.json"}}}
    value = {"name": "toy", "results": str(tmp_path / "results"), "data": data, "pretraining": {"stage2": STAGE}}
    value |= {"regions": {"source": "vinvl_tsv", "tsv": str(tmp_path / "tsv")}}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(value))
    return tmp_path / "c.yaml"


def test_an_experiment_with_all_it_needs(config: Path) -> None:
    code, said = call("--config", str(config), "--gpus", "8xH200")
    assert code == 0, said
    assert "All that the experiment cannot do without is there" in said and "needs on 8 x H200" in said
    assert re.search(r"incomplete +flickr30k-images.tar.gz .* of 31,783|missing +flickr30k-images", said)


@pytest.mark.parametrize("lost", ["raw/karpathy.json", "raw/images", "tsv/features.tsv"])
def test_what_is_missing_is_named_and_the_command_fails(config: Path, lost: str) -> None:
    path = config.parent / lost
    path.rename(path.with_name("elsewhere"))
    code, said = call("--config", str(config))
    assert code == 1
    last = said.split("lacking or damaged:")[1]
    assert ("vinvl" if "tsv" in lost else path.name) in last


def test_a_cut_file_is_named(config: Path) -> None:
    path = config.parent / "raw" / "karpathy.json"
    path.write_text(json.dumps(json.loads(path.read_text()))[:-9])
    code, said = call("--config", str(config))
    assert code == 1 and re.search(r"damaged .*karpathy\.json +it ends within a record", said), said


def test_without_a_config_every_source_is_listed_with_its_terms(tmp_path: Path) -> None:
    code, said = call("--data", str(tmp_path))
    assert code == 0
    lines = said.splitlines()
    for name, source in sources().items():
        assert f"{name}  {source.title}  {source.page}" in said and f"licence: {source.licence}" in said
        at = next(i for i, line in enumerate(lines) if line.startswith(f"{name}  {source.title}"))
        assert lines[at + 1].startswith(f"  licence: {source.licence}"), name
        doubt = f" unverified: {', '.join(source.unverified)}"
        assert lines[at + 1].endswith(doubt) if source.unverified else "unverified" not in lines[at + 1], name
    assert "train2014.zip (13.5 GB)" in said and "size unknown" in said


def test_a_machine_with_all_its_programs_is_asked_by_small_ones_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the tests of this folder need no mark, whatever is installed."""
    asked: list[str] = []

    def run(command: Sequence[str], **_: Any) -> subprocess.CompletedProcess[str]:
        asked.append(command[0])
        return subprocess.CompletedProcess(command, 0, "22.05.8", "")

    monkeypatch.setattr(machine.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(machine.subprocess, "run", run)
    machine.facts(None)
    assert {"sinfo", "java"} <= set(asked) <= guard.SMALL


def test_a_machine_without_slurm_or_with_a_dead_controller(monkeypatch: pytest.MonkeyPatch) -> None:
    paper = build(read(CONFIGS / "paper.yaml", ["data.root=here", "regions.tsv=there"]), "paper")
    answers: dict[str, str | None] = {"--version": None}
    monkeypatch.setattr(machine, "_output", lambda *command: answers.get(command[1]))
    absent = next(f for f in machine.facts(paper) if f.name == "SLURM")
    assert (absent.good, absent.value) == (False, "no sinfo on the PATH")
    assert next(f for f in machine.facts(None) if f.name == "SLURM").good is None
    answers["--version"] = "slurm 22.05.8"
    dead = next(f for f in machine.facts(paper) if f.name == "SLURM")
    assert dead.good is False and "does not answer" in dead.value
    answers["--noheader"] = "main* 2 nodes up"
    assert next(f for f in machine.facts(paper) if f.name == "SLURM").good is True
