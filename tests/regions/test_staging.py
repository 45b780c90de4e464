"""Copies of a store on a local disk: made once, found again, mended, kept apart."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.regions.full_disk import tiny_disk
from tests.regions.many_files import NAMES, write_file, write_folder
from tests.training.tiny_run import experiment, paths
from vlp.batching.inputs import Inputs
from vlp.config import build
from vlp.errors import ConfigError, InputError
from vlp.files import STORE_MANIFEST, sha256
from vlp.methods.mvptr import reader
from vlp.regions import staging
from vlp.regions.folder import write_manifest
from vlp.regions.staging import stage, staged
from vlp.regions.store import RegionStore, RegionWriter


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "store")


def test_staging_goes_on_where_it_stopped(folder: Path, tmp_path: Path) -> None:
    local = stage(folder, tmp_path / "local")
    assert local == tmp_path / "local" / "store" and sha256(local) == sha256(folder)
    kept = (local / "part-0.h5").stat().st_ino
    (local / STORE_MANIFEST).unlink()
    (local / "part-1.h5").write_bytes(b"half")
    assert RegionStore(stage(folder, tmp_path / "local")).rows == 77
    assert (local / "part-0.h5").stat().st_ino == kept
    alone = stage(folder / "part-2.h5", tmp_path / "local")
    assert alone.read_bytes() == (folder / "part-2.h5").read_bytes()


@pytest.mark.slow
def test_staging_to_a_small_disk_leaves_nothing(tmp_path: Path) -> None:
    with RegionWriter(tmp_path / "big" / "a.h5", 1024, NAMES, {}) as writer:
        rows = np.zeros((800, 1024), np.float16)
        writer.add("t/0", (9, 9), rows, np.tile([0, 0, 4, 4.0], (800, 1)), np.zeros(800), np.ones(800))
    write_manifest(tmp_path / "big")
    with tiny_disk(tmp_path / "disk") as disk:
        with pytest.raises(InputError, match="the disk is full"):
            stage(tmp_path / "big", disk)
        assert list((disk / "big").iterdir()) == []


def _flip_a_feature(path: Path) -> None:
    with h5py.File(path) as file:
        place = file["features"].id.get_offset()  # pyright: ignore
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def test_a_damaged_file_is_named_and_its_copy_removed(folder: Path, tmp_path: Path) -> None:
    _flip_a_feature(folder / "part-0.h5")
    with pytest.raises(InputError, match=r"part-0\.h5, row t/1: the bytes do not give the checksum"):
        stage(folder / "part-0.h5", tmp_path / "local")
    assert not (tmp_path / "local" / "part-0.h5").exists()


def test_a_copy_that_was_compared_is_not_read_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = []
    copy = staging._copy
    monkeypatch.setattr(staging, "_copy", lambda source, *rest: copied.append(source.name) or copy(source, *rest))
    monkeypatch.setenv("NODE_DISK", str(tmp_path / "local"))
    for store in (folder, folder / "part-2.h5"):
        copied.clear()
        first = staged(store, Path("$NODE_DISK"))
        assert first.is_relative_to(tmp_path / "local") and sha256(first) == sha256(store)
        assert RegionStore(first, verify=True).image_ids == RegionStore(store).image_ids
        assert copied == ([store.name] if store.is_file() else ["part-0.h5", "part-1.h5", "part-2.h5", STORE_MANIFEST])
        copied.clear()
        assert staged(store, tmp_path / "local") == first and copied == []
        damaged = first if first.is_file() else first / "part-1.h5"
        _flip_a_feature(damaged)
        assert staged(store, tmp_path / "local") == first
        assert copied == [damaged.name] + ([STORE_MANIFEST] if store.is_dir() else [])
        assert sha256(first) == sha256(store) and not list(RegionStore(first).damaged())


def test_a_store_written_again_has_a_copy_of_its_own(folder: Path, tmp_path: Path) -> None:
    first = staged(folder / "part-1.h5", tmp_path / "local")
    write_file(folder / "part-1.h5", 3, [4])
    second = staged(folder / "part-1.h5", tmp_path / "local")
    assert first != second and first.name == second.name
    assert (RegionStore(first).rows, RegionStore(second).rows) == (2, 4)


def test_a_variable_that_the_node_lacks_is_named(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"launch\.stage_to: \$NO_SUCH_DISK/x: the variable is not set"):
        staged(folder, Path("$NO_SUCH_DISK/x"))


COPY = """
import os, sys
from pathlib import Path
from vlp.regions import staging
copy = staging._copy
def noted(source, *rest):
    print(source.name, flush=True)
    copy(source, *rest)
    if len(sys.argv) > 3 and source.name == sys.argv[3]:
        os.kill(os.getpid(), 9)
staging._copy = noted
staging.staged(Path(sys.argv[1]), Path(sys.argv[2]))
"""


@pytest.mark.slow
def test_of_many_processes_one_copies_and_a_killed_copy_goes_on(folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", COPY, str(folder), str(tmp_path / "local")]
    where = {"cwd": Path(__file__).parents[2], "stdout": subprocess.PIPE, "text": True}
    killed = subprocess.run([*command, "part-1.h5"], **where)
    assert killed.returncode == -9 and killed.stdout.split() == ["part-0.h5", "part-1.h5"]
    together = [subprocess.Popen(command, **where) for _ in range(3)]
    said = [process.communicate()[0].split() for process in together]
    assert [process.returncode for process in together] == [0, 0, 0]
    assert sorted(said) == [[], [], ["part-2.h5", STORE_MANIFEST]]


def test_training_reads_the_copy_and_its_fingerprint_is_the_stores(tiny_inputs: Path, tmp_path: Path) -> None:
    value = experiment().model_dump()
    value["launch"]["stage_to"] = str(tmp_path / "local")
    here, local = (Inputs(e, paths(tiny_inputs)) for e in (experiment(), build(value, "test")))
    assert local.store.path.is_relative_to(tmp_path / "local") and here.store.path == paths(tiny_inputs).regions
    batch, copy = (reader.collator(inputs, "captions")(np.array([0]), ["t/00"]) for inputs in (here, local))
    assert batch.regions_BRF.equal(copy.regions_BRF)
    assert here.fingerprint() == local.fingerprint()
