import contextlib
import re
from pathlib import Path

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from tests.tracking.conftest import Make, toy
from vlp.cli.lineage import command
from vlp.config import Experiment
from vlp.errors import InputError
from vlp.files import sha256
from vlp.tracking import lineage, track
from vlp.tracking.digests import Merged, Part, digests_of

CHAIN: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "shapes": ((), ("raw/a.json", "raw/images/1.png", "raw/images/2.png")),
    "tables": (("raw/a.json",), ("tables/captions.parquet", "tables/images.parquet")),
    "detector": (("tables/images.parquet",), ("detector/detector.safetensors",)),
    "regions": (("detector/detector.safetensors",), ("regions/regions.h5",)),
    "phrases": (("tables",), ("phrases/phrases.parquet",)),
    "vocabulary": (("phrases/phrases.parquet",), ("vocabulary/phrases.json", "vocabulary/tokenizer/t.json")),
    "corpus": (("tables", "vocabulary", "regions/regions.h5"), ("corpus/corpus.h5",)),
    "stage1": (("corpus/corpus.h5",), ("models/stage1/config.json", "models/stage1/model.safetensors")),
    "stage2": (("models/stage1",), ("models/stage2/config.json", "models/stage2/model.safetensors")),
    "finetune-vqa.full": (("models/stage2",), ("models/vqa.full/config.json", "models/vqa.full/model.safetensors")),
    "predict-vqa.full.test": (("models/vqa.full",), ("predictions/vqa.full.test.parquet",)),
    "results": (("predictions",), ("results.csv",)),
}
"""Rule -> what it reads, what it writes: a chain such as the workflow's, of small files."""
FILES = [name for _, made in CHAIN.values() for name in made]


def chain(folder: Path) -> Path:
    """The chain with its journals, folders where the workflow names folders."""
    experiment = toy(folder)
    here = experiment.folder
    for rule, (read, made) in CHAIN.items():
        folders = {"models": 2, "raw": 1, "tables": 1, "vocabulary": 1}
        told = {"/".join(n.split("/")[: folders.get(n.split("/")[0], 9)]) for n in made}
        with track(experiment, rule, {n: here / n for n in read}, {n: here / n for n in told}):
            for name in made:
                (here / name).parent.mkdir(parents=True, exist_ok=True)
                (here / name).write_bytes(f"{rule} {name}".encode())
    return here


@pytest.fixture(scope="module")
def chained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return chain(tmp_path_factory.mktemp("chain"))


def test_from_a_number_to_the_raw_data(chained: Path) -> None:
    found = lineage.trace(lineage.steps(chained), chained / "results.csv")
    assert {step.rule for step in found} == set(CHAIN)
    assert [step.rule for step in found][:3] == ["results", "predict-vqa.full.test", "finetune-vqa.full"]
    assert list(lineage.changed(found)) == []
    assert lineage.raw(found) == {}
    part = found[:1]  # of a row: what it does not come from is made by other steps
    assert lineage.raw(part) and lineage.raw(part, found) == {}
    digests = lineage.digests(found)
    assert digests is not None and {sha256(chained / name) for name in FILES} <= digests


@settings(max_examples=25, deadline=None)
@given(name=st.sampled_from(FILES), data=st.data())
def test_a_changed_byte_of_any_artefact_is_named(chained: Path, name: str, data: st.DataObject) -> None:
    path = chained / name
    whole = path.read_bytes()
    at, bit = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(0, 7))
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
    try:
        problems = list(lineage.changed(lineage.trace(lineage.steps(chained), chained / "results.csv")))
    finally:
        path.write_bytes(whole)
    assert {re.sub(r"^\S+: (\S+) was .*", r"\1", p) for p in problems} == {name}


def test_a_file_that_is_gone_and_one_that_is_new_are_named(tmp_path: Path) -> None:
    here = chain(tmp_path)
    (here / "raw" / "images" / "1.png").unlink()
    (here / "models" / "stage1" / "more.json").write_text("{}")
    problems = list(lineage.changed(lineage.trace(lineage.steps(here), here / "results.csv")))
    assert sorted(p.split(": ")[1] for p in problems) == ["models/stage1/more.json is new", "raw/images/1.png is gone"]


SHARDS = ("shards/1-of-2.h5", "shards/2-of-2.h5")


def sharded(experiment: Experiment, *, fails: bool = False) -> Path:
    """Two shards, merged into a store, which a last rule reads; the workflow has removed the shards since."""
    here = experiment.folder
    for number, name in enumerate(SHARDS, start=1):
        with track(experiment, f"regions-shard.{number}-of-2", {}, {"store": here / name}):
            (here / name).parent.mkdir(parents=True, exist_ok=True)
            (here / name).write_text(name)
    store = here / "regions.h5"
    with (
        contextlib.suppress(KeyError),
        track(experiment, "regions", {name: Merged(here / name) for name in SHARDS}, {"store": store}),
    ):
        store.write_text("".join((here / name).read_text() for name in SHARDS))
        if fails:
            raise KeyError
    with track(experiment, "results", {"regions": store}, {"results": here / "results.csv"}):
        (here / "results.csv").write_text("1")
    for name in SHARDS:
        (here / name).unlink()
    return here


def _told(file: Path) -> tuple[int, list[str]]:
    app = typer.Typer()
    app.command()(command)
    ran = CliRunner().invoke(app, [str(file)])
    return ran.exit_code, ran.output.splitlines()


def test_a_shard_that_was_removed_when_merged_is_no_error(make: Make) -> None:
    here = sharded(make())
    known = lineage.steps(here)
    found = lineage.trace(known, here / "results.csv")
    assert [step.rule for step in found] == ["results", "regions", "regions-shard.1-of-2", "regions-shard.2-of-2"]
    digests = {file.path: file.sha256 for step in found[2:] for file in step.outputs}
    assert {file.path: file.sha256 for file in found[1].inputs} == digests and len(digests) == 2
    assert list(lineage.changed(found)) == []
    notes = [f"{name} was removed after regions had merged it" for name in SHARDS]
    assert list(lineage.removed(found)) == notes
    code, lines = _told(here / "results.csv")
    assert code == 0 and lines[-3:] == [*notes, "every digest fits"]
    assert _told(here / SHARDS[0])[0] == 0  # its own step alone does not know; the other journals do


def test_only_what_a_finished_run_has_merged_may_be_gone(make: Make, tmp_path: Path) -> None:
    here = sharded(make())
    (here / "regions.h5").unlink()
    assert _told(here / "results.csv") == (1, [*_told(here / "results.csv")[1][:-1], "results: regions.h5 is gone"])
    other = sharded(toy(tmp_path / "failed"), fails=True)
    problems = list(lineage.changed(lineage.steps(other)))
    assert sorted(problems) == [f"regions-shard.{n}-of-2: shards/{n}-of-2.h5 is gone" for n in (1, 2)]
    assert list(lineage.removed(lineage.steps(other))) == []


def test_a_shard_that_came_back_or_was_another_when_merged_is_named(make: Make) -> None:
    experiment = make()
    here = sharded(experiment)
    (here / SHARDS[0]).write_text("changed")
    (problem,) = {p.partition(": ")[2] for p in lineage.changed(lineage.steps(here))}
    assert problem.startswith(f"{SHARDS[0]} was ")
    (here / SHARDS[0]).unlink()
    with track(experiment, "regions-shard.1-of-2", {}, {"store": here / SHARDS[0]}):  # made again, and lost
        (here / SHARDS[0]).write_text("made again")
    (here / SHARDS[0]).unlink()
    assert list(lineage.changed(lineage.steps(here))) == [f"regions-shard.1-of-2: {SHARDS[0]} is gone"]


def test_some_files_of_a_folder_and_members_of_an_archive(make: Make, tmp_path: Path) -> None:
    import tarfile

    experiment, root = make(), tmp_path / "photos"
    root.mkdir()
    for name in ("a.png", "b.png", "other.png"):
        (root / name).write_text(name)
    with tarfile.open(root / "set.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        tar.add(root / "a.png", "in/c.png")
    store = experiment.folder / "regions.h5"
    pixels = Part.of(root, [root / "a.png", "b.png", "set.tar/in/c.png", "lost.png"])
    with track(experiment, "regions", {"pixels": pixels}, {"store": store}):
        store.write_text("regions")
    found = lineage.trace(lineage.steps(experiment.folder), store)
    (file,) = found[0].inputs
    listed = digests_of(experiment.folder, str(file.sha256))
    assert listed == {
        name: sha256(root / n) for name, n in (("a.png", "a.png"), ("b.png", "b.png"), ("set.tar/in/c.png", "a.png"))
    }
    (root / "other.png").write_text("may change")
    assert list(lineage.changed(found)) == []
    assert lineage.raw(found) == {root.resolve(): file}
    archive = (root / "set.tar").read_bytes()
    (root / "set.tar").write_bytes(archive[:512] + b"A" + archive[513:])  # of the member, after its header
    (root / "b.png").write_text("changed")
    told = [problem.split(" ")[1] for problem in lineage.changed(found)]
    assert told == [f"{root.resolve()}/{name}" for name in ("b.png", "set.tar/in/c.png")]


def test_work_of_another_experiment_is_followed(tmp_path: Path) -> None:
    first = chain(tmp_path / "first")
    second = toy(tmp_path / "second")
    table = second.folder / "results.csv"
    with track(second, "results", {"init": first / "models" / "stage1"}, {"results": table}):
        table.write_text("1")
    found = lineage.trace(lineage.reachable(second.folder), table)
    assert [(step.rule, step.folder.parts[-3]) for step in found][:2] == [("results", "second"), ("stage1", "first")]
    assert found[-1].folder == first.resolve()
    (first / "raw" / "a.json").write_text("changed")
    assert any("raw/a.json was" in problem for problem in lineage.changed(found))


def test_the_list_of_a_folder_is_what_sha256sum_reads(chained: Path) -> None:
    import subprocess

    digest = sha256(chained / "models" / "stage1")
    text = chained / "journals" / "digests" / f"{digest}.sha256"
    assert sha256(text) == digest
    done = subprocess.run(["sha256sum", "--check", text], cwd=chained / "models" / "stage1", capture_output=True)
    assert done.returncode == 0


def test_a_file_outside_every_experiment_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no experiment's folder"):
        lineage.home(tmp_path / "a.csv")
