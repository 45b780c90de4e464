"""transformers' Auto classes on our model directories, and the other way round."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel

from tests.methods.mvptr.test_model import vocabulary
from tests.methods.mvptr.tiny import architecture, batch
from vlp.errors import InputError
from vlp.methods.mvptr import directory
from vlp.methods.mvptr.auto import MvptrConfig, MvptrModel
from vlp.methods.mvptr.model import Mvptr
from vlp.models.layers import Layer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = Mvptr(architecture(head="entailment"))
    directory.save(model, tmp_path / "m", vocabulary(tmp_path / "v"), {"lengths": {"words": 9}}, {"corpus": "0" * 64})
    return tmp_path / "m"


def test_auto_classes_read_our_directory(folder: Path) -> None:
    ours, theirs = directory.load(folder).eval(), AutoModel.from_pretrained(folder).eval()
    assert isinstance(theirs, MvptrModel) and isinstance(AutoConfig.from_pretrained(folder), MvptrConfig)
    assert theirs.architecture == ours.architecture
    b = batch()
    with torch.no_grad():
        out, layers = theirs(b), ours.joint(b)
    assert torch.equal(out.multimodal_states[-1], layers[-1])
    assert torch.equal(out.itm_logits, ours.itm_logits(layers[-1]))
    assert torch.equal(out.logits, ours.class_logits(layers[-1]))
    assert out.attentions is None


@pytest.mark.parametrize("attentions", [False, True])
def test_a_forward_pass_encodes_each_side_once(folder: Path, attentions: bool) -> None:
    import vlp.infer.auto  # noqa: F401  (what a user imports)

    model, calls = AutoModel.from_pretrained(folder).eval(), []
    for encoder in (model.text_encoder, model.visual_encoder):
        encoder.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        model(batch(), output_attentions=attentions)
    assert len(calls) == 2


def test_save_pretrained_takes_everything_along(folder: Path, tmp_path: Path) -> None:
    model = AutoModel.from_pretrained(folder)
    model.save_pretrained(tmp_path / "copy")
    for name in ("phrases.json", "inputs.json", "README.md", "tokenizer/vocab.txt"):
        assert (tmp_path / "copy" / name).read_bytes() == (folder / name).read_bytes()
    again = directory.load(tmp_path / "copy")
    assert again.architecture == model.architecture
    for key, value in directory.load(folder).state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key


def test_attention_maps_are_those_of_the_forward_pass() -> None:
    """Rows sum to one over valid keys; with them and the values, the layer's output is the forward pass's."""
    torch.manual_seed(1)
    model, b = Mvptr(architecture()).eval(), batch(pad=2)
    maps = model.attention_maps(b)
    assert {k: len(v) for k, v in maps.items()} == {"text": 2, "visual": 2, "multimodal": 2}
    masks = {"text": b.text_mask_BL, "visual": torch.cat([b.tag_mask_BT, b.region_mask_BR], 1)}
    masks["multimodal"] = torch.cat([b.text_mask_BL, b.region_mask_BR], 1)
    for name, layers in maps.items():
        for weights in layers:
            length = masks[name].shape[1]
            assert weights.shape == (3, 2, length, length)
            torch.testing.assert_close(weights.sum(-1), torch.ones(3, 2, length))
            assert weights.masked_fill(masks[name][:, None, None], 0).abs().max() == 0
    block = model.text_encoder.layers[0]
    assert isinstance(block, Layer)
    layer = block.attention
    with torch.no_grad():
        x = model._embed(b.text_ids_BL, 0)
        mixed = (maps["text"][0] @ layer._split(layer.value(x))).transpose(1, 2).flatten(2)
        torch.testing.assert_close(layer.norm(x + layer.output(mixed)), layer(x, b.text_mask_BL), rtol=1e-5, atol=1e-6)


def test_merged_attention_reads_everything_in_one_sequence() -> None:
    torch.manual_seed(2)
    one = architecture().model_copy(update={"fusion": "merged", "text_layers": 0, "visual_layers": 0})
    model, b = Mvptr(one).eval(), batch()
    states = model.joint(b)
    assert states[-1].shape[1] == b.text_ids_BL.shape[1] + b.regions_BRF.shape[1] + b.tag_ids_BT.shape[1]
    changed = batch()
    changed.tag_ids_BT = (changed.tag_ids_BT + 1) % 25 + 5
    assert not torch.allclose(model.joint(changed)[-1][:, 0], states[-1][:, 0])
    with pytest.raises(ValueError, match="set text_layers and visual_layers to 0"):
        Mvptr(one.model_copy(update={"text_layers": 1}))


HEADS = {"vqa": "answer_head", "entailment": "entailment_head", "referring": "referring_head"}


def older(folder: Path, head: str) -> Path:
    """The directory as an earlier version wrote it."""
    tensors = load_file(folder / "model.safetensors")
    old = {k.replace(f"head.{head}.", f"{HEADS[head]}."): v for k, v in tensors.items()}
    assert old.keys() != tensors.keys()
    save_file(old, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("head", HEADS)
def test_a_directory_of_an_earlier_version_loads(head: Any, tmp_path: Path) -> None:
    model = Mvptr(architecture(head=head, head_size=3 if head == "vqa" else 0))
    directory.save(model, tmp_path / "m", vocabulary(tmp_path / "v"), {}, {})
    for again in (directory.load(older(tmp_path / "m", head)), AutoModel.from_pretrained(tmp_path / "m")):
        assert again.state_dict().keys() == model.state_dict().keys()
        for key, value in model.state_dict().items():
            assert torch.equal(value, again.state_dict()[key]), key


@pytest.mark.parametrize("stored", [None, *HEADS])
@pytest.mark.parametrize("head", HEADS)
def test_any_head_is_put_on_any_model(head: Any, stored: Any, tmp_path: Path) -> None:
    """A fresh one where the directory has none or another task's; the directory's own where it has it."""
    made = Mvptr(architecture(head=stored, head_size=3 if stored == "vqa" else 0))
    directory.save(made, tmp_path / "m", vocabulary(tmp_path / "v"), {}, {})
    model = directory.load(tmp_path / "m", head, 3 if head == "vqa" else 0)
    assert {k.split(".")[1] for k in model.state_dict() if directory.is_head(k)} == {head}
    same = [k for k in made.state_dict() if head == stored or not directory.is_head(k)]
    assert all(torch.equal(made.state_dict()[k], model.state_dict()[k]) for k in same)


def test_auto_classes_refuse_what_our_own_loading_refuses(folder: Path) -> None:
    file = folder / "model.safetensors"
    tensors = load_file(file)
    tensors["pooler.bias"][2] = torch.inf
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"not finite: pooler\.bias \(1 of 16 numbers is NaN or infinite\)"):
        AutoModel.from_pretrained(folder)
    tensors["pooler.bias"][2] = 0.0
    save_file(tensors, file, metadata={"format": "pt"})
    with (folder / "tokenizer" / "vocab.txt").open("a") as words:
        words.write("first\nsecond\n")
    with pytest.raises(InputError, match="has 32 word pieces, the model 30 rows"):
        AutoModel.from_pretrained(folder)
