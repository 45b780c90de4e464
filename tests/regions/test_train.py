"""Training the detector on few images: schedules of few steps, batches larger than the data, numbers gone wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from tests.regions.scenes import SIDE
from vlp.config.regions import Detector as DetectorConfig
from vlp.errors import InputError
from vlp.files import sha256
from vlp.images.decode import ImageRecord, Skipped
from vlp.regions import detector as detectors
from vlp.regions.detector import Detector
from vlp.regions.detectors.small import Small
from vlp.regions.train import Example, Examples, schedule, train

CONFIG: dict[str, Any] = {"width": 8, "feature_size": 64, "image_size": SIDE, "batch_size": 2, "epochs": 1}


def config(**over: Any) -> DetectorConfig:
    return DetectorConfig.model_validate(CONFIG | over)


def data(folder: Path, count: int) -> Examples:
    folder.mkdir(exist_ok=True)
    Image.new("RGB", (SIDE, SIDE), (200, 30, 30)).save(folder / "a.png")
    record = ImageRecord("t/0", folder / "a.png", SIDE, SIDE, "train")
    box = torch.tensor([[4.0, 4.0, 30.0, 30.0]])
    return Examples([Example(record, box, torch.tensor([1]))] * count, Skipped("stop"))


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 6, 40])
def test_a_schedule_of_any_length(steps: int) -> None:
    """With exactly four steps the warm-up of a fifth began and ended at once: a division by zero."""
    optimiser = torch.optim.AdamW([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    made, rates = schedule(optimiser, 0.1, steps), []
    for _ in range(steps):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        made.step()
    assert all(0 < rate <= 0.1 + 1e-9 for rate in rates)
    top = rates.index(max(rates))
    assert top == 0 if steps < 5 else abs(top - (0.2 * (steps + 1) - 1)) < 1
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[-1] < rates[top] or steps == 1


def test_exactly_four_steps(tmp_path: Path) -> None:
    found, facts = train(config(batch_size=1), data(tmp_path, 4), 4, ["red"], seed=1, threads=1)
    assert facts["steps"] == 4 and facts["images_seen"] == 4
    detectors.save(tmp_path / "detector.safetensors", found, facts)


def test_a_batch_larger_than_the_data_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="batch_size is 5, and there are 4 train images with objects"):
        train(config(batch_size=5), data(tmp_path, 4), 4, ["red"], seed=1, threads=1)


def test_a_loss_that_is_not_finite_ends_the_training(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"step \d+: the loss is (nan|inf); the detector is not trained"):
        train(config(learning_rate=1e30, epochs=20), data(tmp_path, 2), 2, ["red"], seed=1, threads=1)


@pytest.fixture
def spoilt() -> Detector:
    model = Detector(config(), ["red"]).eval()
    with torch.no_grad():
        model.backbone.low[0].weight[0, 0, 0, 0] = torch.nan  # type: ignore[index]
    return model


def test_weights_that_are_not_finite_go_neither_out_nor_in(spoilt: Detector, tmp_path: Path) -> None:
    path, told = (
        tmp_path / "detector.safetensors",
        r"not finite: rcnn\.backbone\.low\.0\.weight \(1 of 216 numbers is NaN",
    )
    with pytest.raises(InputError, match=told):
        detectors.save(path, spoilt, {})
    assert not path.exists()
    detectors.save(path, Detector(config(), ["red"]), {})
    import safetensors.torch

    safetensors.torch.save_file({k: v.contiguous() for k, v in spoilt.state_dict().items()}, path)
    facts = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps(facts | {"sha256": sha256(path)}))
    with pytest.raises(InputError, match=told):
        detectors.load(path)


def test_an_image_whose_numbers_are_not_finite_is_no_empty_image(spoilt: Detector) -> None:
    """Its regions would be one: the whole image, of no class."""
    small = Small(spoilt, "0" * 64)
    with pytest.raises(InputError, match=r"detector small: its map of a batch of images: [\d,]+ of [\d,]+ numbers"):
        small([small.prepare(Image.new("RGB", (SIDE, SIDE)))], [(SIDE, SIDE)])
