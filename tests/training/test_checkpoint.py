"""A checkpoint is whole or it is not used."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from vlp.errors import InputError
from vlp.launch.group import init_process_group
from vlp.training import checkpoint

DATA = Path("state") / "weights.bin"
MANIFEST = Path(checkpoint.MANIFEST)


class Engine:
    """Writes one file, as DeepSpeed's engine would."""

    def save_checkpoint(self, folder: str, tag: str, client_state: dict, save_latest: bool) -> None:
        path = Path(folder) / tag / "weights.bin"
        path.parent.mkdir()
        path.write_bytes(bytes(range(200)) + client_state["step"].to_bytes(2))


@pytest.fixture(autouse=True)
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    init_process_group(tmp_path / "rendezvous")
    yield
    dist.destroy_process_group()


def save(folder: Path, *steps: int, keep: int = 2, fingerprint: str = "f", every: int | None = None) -> None:
    checkpoints = checkpoint.Checkpoints(folder, fingerprint, keep, every)
    for step in steps:
        checkpoints.save(Engine(), step, {})
    checkpoints.close()


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize(
    "file, damage", [(DATA, flip), (DATA, cut), (DATA, Path.unlink), (MANIFEST, cut), (MANIFEST, Path.unlink)]
)
def test_a_damaged_one_is_named_and_passed_over(
    file: Path, damage: Callable[[Path], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path, 10, 20)
    damage(tmp_path / "step-000000020" / file)
    found = checkpoint.newest(tmp_path, "f")
    assert found is not None and found[0].name == "step-000000010" and found[1]["step"] == 10
    said = capsys.readouterr().out
    assert str(tmp_path / "step-000000020") in said and "is not used" in said
    assert (str(DATA) in said) == (file == DATA)


def test_one_of_other_settings_is_passed_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert checkpoint.newest(tmp_path / "none", "f") is None
    save(tmp_path, 10)
    assert checkpoint.newest(tmp_path, "other") is None
    assert "other inputs or settings" in capsys.readouterr().out


@pytest.mark.parametrize("keep", [1, 2])
def test_the_newest_are_kept_and_a_damaged_one_does_not_count(tmp_path: Path, keep: int) -> None:
    save(tmp_path, 10, 20, 30, keep=keep)
    assert len(list(tmp_path.glob("step-*"))) == keep
    flip(tmp_path / "step-000000030" / DATA)
    save(tmp_path, 25, keep=keep)
    found = checkpoint.newest(tmp_path, "f")
    assert found is not None and found[1]["step"] == 25


def test_what_a_kill_left_half_written_is_not_seen(tmp_path: Path) -> None:
    save(tmp_path, 10)
    half = tmp_path / ".step-000000020.tmp" / "state"
    half.mkdir(parents=True)
    (half / "weights.bin").write_bytes(b"half")
    found = checkpoint.newest(tmp_path, "f")
    assert found is not None and found[1]["step"] == 10
    save(tmp_path, 20)
    found = checkpoint.newest(tmp_path, "f")
    assert found is not None and found[1]["step"] == 20


def test_of_every_so_many_steps_one_is_kept(tmp_path: Path) -> None:
    save(tmp_path, 10, 15, 20, 25, 30, 35, keep=1, every=20)
    assert sorted(p.name for p in tmp_path.glob("step-*")) == ["step-000000020", "step-000000035"]


def test_where_none_is_whole_nothing_is_started_over(tmp_path: Path) -> None:
    """Days of training are not to be thrown away silently, for a disk may come back."""
    save(tmp_path, 10, 20)
    flip(tmp_path / "step-000000020" / DATA)
    (tmp_path / "step-000000010" / MANIFEST).unlink()
    with pytest.raises(InputError, match=r"no checkpoint is whole \(step-000000020, step-000000010\)\. Bring one back"):
        checkpoint.Checkpoints(tmp_path, "f").find()


def test_checkpoints_of_other_settings_move_aside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "checkpoints"
    save(folder, 10, fingerprint="other")
    mine = checkpoint.Checkpoints(folder, "f")
    assert mine.find() is None
    mine.clear()
    (aside,) = tmp_path.glob("checkpoints.*")
    assert not folder.exists() and str(aside) in capsys.readouterr().out
    found = checkpoint.newest(aside, "other")
    assert found is not None and found.manifest["step"] == 10


def test_a_step_saved_again_replaces_the_former_one(tmp_path: Path) -> None:
    save(tmp_path, 10, 20)
    flip(tmp_path / "step-000000020" / DATA)
    save(tmp_path, 20)
    found = checkpoint.newest(tmp_path, "f")
    assert found is not None and found.manifest["step"] == 20
    left = sorted(p.name for p in tmp_path.iterdir() if p.is_dir())
    assert left == ["step-000000010", "step-000000020"]


def test_a_failure_behind_the_loop_is_told_at_the_next_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, value: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "write_json", full)
    checkpoints = checkpoint.Checkpoints(tmp_path, "f")
    checkpoints.save(Engine(), 10, {})
    with pytest.raises(InputError, match="the disk is full"):
        checkpoints.save(Engine(), 20, {})
    assert not list(tmp_path.glob("step-*"))


def test_the_loop_does_not_wait_for_digests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = threading.Event()
    honest = checkpoint.digests
    monkeypatch.setattr(checkpoint, "digests", lambda *a: (allowed.wait(60), honest(*a))[1])
    checkpoints = checkpoint.Checkpoints(tmp_path, "f")
    checkpoints.save(Engine(), 10, {})  # returns, though no digest can be made
    assert not list(tmp_path.glob("step-*"))
    allowed.set()
    checkpoints.close()
    assert checkpoint.newest(tmp_path, "f") is not None
    assert 0 < checkpoints.seconds < 60


def test_a_rank_hashes_what_it_wrote(tmp_path: Path) -> None:
    names = ["mp_rank_00_model_states.pt", "bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt"]
    others = [f"zero_pp_rank_{r}_mp_rank_00_optim_states.pt" for r in (1, 11)]
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    for name in (*names, *others, ".digests-1.json"):
        (folder / name).write_text(name)
    assert sorted(checkpoint.digests(folder, 0)) == sorted(names)
    assert list(checkpoint.digests(folder, 1)) == [others[0]]
    assert list(checkpoint.digests(folder, 11)) == [others[1]]


def test_state_beside_the_parameters_is_that_of_the_step(tmp_path: Path) -> None:
    """The training goes on while it is written."""
    checkpoints, rows = checkpoint.Checkpoints(tmp_path, "f"), torch.zeros(100_000)
    checkpoints.save(Engine(), 10, {}, {"rows": rows})
    rows += 1
    checkpoints.close()
    found = checkpoint.newest(tmp_path, "f")
    assert found is not None and checkpoint.BEYOND in found.manifest["files"]
    assert not checkpoint.beyond(found)["rows"].any()
