"""A checkpoint is whole or it is not used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch.distributed as dist

from vlp.training import checkpoint
from vlp.training.engine import init_process_group

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


def save(folder: Path, *steps: int, keep: int = 2, fingerprint: str = "f") -> None:
    for step in steps:
        checkpoint.save(Engine(), folder, step, fingerprint, keep, {})


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
