"""Captioners of transformers with random weights: what they are given, what is read from them, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from tests.data.caption.tiny import WORDS, directory, photos
from vlp.config.data import Captioner as Settings
from vlp.data.caption.captioner import build
from vlp.errors import ConfigError, InputError

QUESTION = "what is this"


@pytest.fixture
def images(tmp_path: Path) -> list[Image.Image]:
    files = sorted(photos(tmp_path / "photos", 6).glob("*.png"))
    return [Image.open(path).convert("RGB") for path in files if path.name != "3.png"]


@pytest.mark.parametrize(
    ("kind", "prompt"),
    [("blip", None), ("blip", QUESTION), ("git", None), ("vision-encoder-decoder", None), ("llava", QUESTION)],
)
def test_each_kind_speaks_of_its_image(
    kind: str, prompt: str | None, images: list[Image.Image], tmp_path: Path
) -> None:
    settings = Settings(model=str(directory(kind, tmp_path / kind)), prompt=prompt, max_tokens=6)
    texts = build(settings)(images)
    assert len(texts) == len(images) and len(set(texts)) > 2
    words = [word for text in texts for word in text.split()]
    assert set(words) <= set(WORDS) and max(len(text.split()) for text in texts) in range(1, 7)
    assert not any(text.startswith(QUESTION) for text in texts)
    assert build(settings)(images) == texts
    assert [build(settings)([image])[0] for image in images] == texts  # an image's text is not its neighbours'


def test_beams_find_other_words(images: list[Image.Image], tmp_path: Path) -> None:
    plain = Settings(model=str(directory("blip", tmp_path / "blip")), max_tokens=6)
    greedy, wide = build(plain), build(plain.model_copy(update={"beams": 4}))
    assert greedy(images) != wide(images)
    assert {k for k in wide.facts if wide.facts[k] != greedy.facts[k]} == {"beams"}


def test_a_prompt_is_for_those_that_take_one(tmp_path: Path) -> None:
    git, llava = (str(directory(kind, tmp_path / kind)) for kind in ("git", "llava"))
    with pytest.raises(ConfigError, match=r"captioner\.prompt: a git model gets an image alone"):
        build(Settings(model=git, prompt=QUESTION))
    with pytest.raises(ConfigError, match=r"captioner\.prompt: a llava model has to be asked"):
        build(Settings(model=llava))


def test_what_is_no_captioner_is_refused(tmp_path: Path) -> None:
    folder = directory("blip", tmp_path / "blip")
    weights = load_file(folder / "model.safetensors")
    taken = next(name for name in weights if "crossattention" in name)
    save_file({k: v for k, v in weights.items() if k != taken}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=rf"1 of the captioner's weights are not in it \({taken}\)"):
        build(Settings(model=str(folder)))
    (folder / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(InputError, match="no captioner can be read from it"):
        build(Settings(model=str(folder)))
    with pytest.raises(InputError, match=r"no such captioner.*hf download nobody/nothing"):
        build(Settings(model="nobody/nothing"))


def test_numbers_that_are_not_finite_say_nothing(images: list[Image.Image], tmp_path: Path) -> None:
    folder = directory("blip", tmp_path / "blip")
    spoken = build(Settings(model=str(folder), max_tokens=6))
    with torch.no_grad():
        next(p for n, p in spoken._model.named_parameters() if "crossattention" in n).view(-1)[0] = torch.nan
    with pytest.raises(InputError, match=r"blip: its scores of the next word: [\d,]+ of [\d,]+ numbers are NaN"):
        spoken(images)
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if "crossattention" in name)
    weights[name].view(-1)[0] = torch.inf
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"has weights that are not finite: .*crossattention.* \(1 of"):
        build(Settings(model=str(folder)))
