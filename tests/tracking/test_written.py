"""A file that has changed since its rule wrote it is refused by the next command, before anything reads it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tracking.conftest import toy
from tests.tracking.test_lineage import CHAIN, FILES, chain
from vlp.config import Experiment
from vlp.errors import InputError
from vlp.files import sha256
from vlp.tracking import lineage, track

READ = {rule: read for rule, (read, _) in CHAIN.items()}


@pytest.fixture(scope="module")
def chained(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    folder = tmp_path_factory.mktemp("chain")
    chain(folder)
    return toy(folder)


def flip(path: Path, at: int) -> bytes:
    """One bit of the `at`-th byte; size and time stay as they were. Gives what stood there."""
    old, stat = path.read_bytes(), path.stat()
    new = bytearray(old)
    new[at % len(old)] ^= 1
    path.write_bytes(bytes(new))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    return old


def again(experiment: Experiment, rule: str) -> str | None:
    """The rule with the inputs that it has in the chain; gives its error."""
    began = []
    try:
        with track(experiment, rule, {name: experiment.folder / name for name in READ[rule]}):
            began.append(rule)
    except InputError as error:
        assert not began, "it read before it looked"
        return str(error)
    return None


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(FILES), st.integers(0, 1000), st.data())
def test_a_flipped_bit_is_named_with_its_writer_by_whoever_reads_it(
    chained: Experiment, name: str, at: int, data: st.DataObject
) -> None:
    folder, rule = chained.folder, data.draw(st.sampled_from(sorted(READ)))
    journal = folder / "journals" / f"{rule}.jsonl"
    before, old = journal.read_bytes(), flip(folder / name, at)
    error = again(chained, rule)
    (folder / name).write_bytes(old)
    journal.write_bytes(before)
    writer = next(rule for rule, (_, made) in CHAIN.items() if name in made)
    reads = any((folder / name).is_relative_to(folder / path) for path in READ[rule])
    if not reads:
        assert error is None
        return
    assert error is not None and f"{folder / name}: its bytes have changed since {writer} wrote it" in error
    assert f"{writer} makes it anew" in error and sha256(folder / name)[:12] in error


def test_what_is_gone_from_a_folder_is_named(tmp_path: Path) -> None:
    folder = chain(tmp_path)
    (folder / "models" / "stage1" / "config.json").unlink()
    error = again(toy(tmp_path), "stage2")
    assert error is not None and "config.json: it is gone; stage1 wrote it." in error


def test_several_are_named_and_a_refused_run_leaves_its_journal(tmp_path: Path) -> None:
    folder = chain(tmp_path)
    before = (folder / "journals" / "stage2.jsonl").read_bytes()
    for name in ("config.json", "model.safetensors"):
        flip(folder / "models" / "stage1" / name, 3)
    error = again(toy(tmp_path), "stage2")
    assert error is not None and all(name in error for name in ("config.json", "model.safetensors"))
    assert (folder / "journals" / "stage2.jsonl").read_bytes() == before


def test_another_experiment_that_reads_it_refuses_it_too(tmp_path: Path) -> None:
    folder = chain(tmp_path / "a")
    flip(folder / "corpus" / "corpus.h5", 0)
    with (
        pytest.raises(InputError, match=r"corpus\.h5: its bytes have changed since corpus wrote it"),
        track(toy(tmp_path / "b"), "stage1", {"corpus": folder / "corpus" / "corpus.h5"}),
    ):
        pass


def test_what_no_journal_tells_of_is_not_judged(tmp_path: Path) -> None:
    folder = chain(tmp_path)
    shutil.rmtree(folder / "journals")
    flip(folder / "corpus" / "corpus.h5", 0)
    assert again(toy(tmp_path), "stage1") is None
    (other := tmp_path / "elsewhere.csv").write_text("1")
    with track(toy(tmp_path), "results", {"other": other}):
        pass


def test_a_rule_that_was_killed_as_it_wrote_is_no_witness(tmp_path: Path) -> None:
    folder, experiment = chain(tmp_path), toy(tmp_path)
    with (
        pytest.raises(KeyboardInterrupt),
        track(experiment, "corpus", outputs={"corpus": folder / "corpus" / "corpus.h5"}),
    ):
        (folder / "corpus" / "corpus.h5").write_text("half")
        raise KeyboardInterrupt
    assert again(experiment, "stage1") is None
    assert lineage.home(folder / "corpus" / "corpus.h5") == folder
