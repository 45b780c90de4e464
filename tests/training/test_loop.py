"""The loop as a user meets it: killed, resumed, shared by ranks, diverging."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest

from tests.training.tiny_run import driver, train, weights
from vlp.config.launch import Resources
from vlp.errors import VlpError

SOON = 0.001
"""Minutes between checkpoints: one every step or two."""


def losses(folder: Path) -> list[float]:
    lines = [json.loads(line) for line in (folder / "run" / "journal.jsonl").read_text().splitlines()]
    return [line["value"] for line in lines if line["key"] == "loss"]


@pytest.fixture(scope="module")
def whole(tiny_inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stage-2 run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    result = train(tiny_inputs, folder, "stage2", Resources(executor="inline"))
    assert result["steps"] == 40 and len(losses(folder)) == 40
    return folder


@pytest.mark.slow
def test_killed_and_started_again_gives_the_same_bits(tiny_inputs: Path, whole: Path, tmp_path: Path) -> None:
    first = driver(tiny_inputs, tmp_path, "stage2", "inline", 1, checkpoint_minutes=SOON)
    manifest = "run/checkpoints/step-*/manifest.json"
    end = time.monotonic() + 300
    while not list(tmp_path.glob(manifest)) and first.poll() is None and time.monotonic() < end:
        time.sleep(0.005)
    first.kill()
    assert first.wait() == -9, "it ended before it could be killed"
    assert list(tmp_path.glob(manifest)) and not weights(tmp_path).exists()
    again = driver(tiny_inputs, tmp_path, "stage2", "inline", 1, checkpoint_minutes=SOON)
    said, _ = again.communicate(timeout=600)
    assert again.returncode == 0, said
    steps = [int(n) for n in re.findall(r"^step (\d+)/40 ", said, re.M)]
    assert steps[0] > 1 and steps == list(range(steps[0], 41))
    assert weights(tmp_path).read_bytes() == weights(whole).read_bytes()
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.slow
def test_two_ranks_train_as_one_does(tiny_inputs: Path, tmp_path: Path) -> None:
    """Stage 1; stage 2's hard negatives are drawn within each rank."""
    short = {"epochs": 6, "dropout": 0.0}  # dropout is drawn for each rank
    train(tiny_inputs, tmp_path / "one", "stage1", Resources(executor="inline"), **short)
    train(tiny_inputs, tmp_path / "two", "stage1", Resources(executor="local", tasks_per_node=2), **short)
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert len(one) == 30 and two == pytest.approx(one, rel=1e-3)
    assert one[-1] < one[0]


@pytest.mark.slow
def test_a_loss_that_is_not_finite_ends_the_training(tiny_inputs: Path, tmp_path: Path) -> None:
    with pytest.raises(VlpError, match=r"step 3: the loss is not finite \(mcr_visual nan.* number 3 in a row"):
        train(
            tiny_inputs, tmp_path, "stage1", Resources(executor="inline"), learning_rate=1e30, warmup=0.0, skip_limit=2
        )
    assert not weights(tmp_path).exists()


def test_a_batch_that_can_not_be_shared_is_refused(tiny_inputs: Path, tmp_path: Path) -> None:
    with pytest.raises(VlpError, match="batch_size 8 is not a multiple of 1 ranks x 3"):
        train(tiny_inputs, tmp_path, "stage1", Resources(executor="inline"), accumulation=3)
