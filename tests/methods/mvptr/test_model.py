"""The model against transformers' BERT, and the laws it must keep."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.methods.mvptr.tiny import architecture, batch
from vlp.errors import InputError
from vlp.methods.mvptr import directory
from vlp.methods.mvptr.initialise import copy_bert, set_answer_rows, set_phrase_rows
from vlp.methods.mvptr.model import Mvptr


@pytest.fixture
def model() -> Mvptr:
    torch.manual_seed(0)
    return Mvptr(architecture()).eval()


def test_padding_changes_nothing(model: Mvptr) -> None:
    narrow, wide = batch(), batch(pad=3)
    with torch.no_grad():
        one, other = model.unimodal(narrow), model.unimodal(wide)
    length, regions = narrow.text_ids_BL.shape[1], narrow.regions_BRF.shape[1]
    valid = narrow.text_mask_BL
    torch.testing.assert_close(one.text_BLD[valid], other.text_BLD[:, :length][valid], rtol=1e-5, atol=1e-6)
    valid = narrow.region_mask_BR
    torch.testing.assert_close(one.regions_BRD[valid], other.regions_BRD[:, :regions][valid], rtol=1e-5, atol=1e-6)


def test_first_row_of_the_last_layer_is_the_same_alone(model: Mvptr) -> None:
    b = batch()
    with torch.no_grad():
        s = model.unimodal(b)
        full = model.multimodal(s.text_BLD, b.text_mask_BL, s.regions_BRD, b.region_mask_BR)
        cls = model.multimodal(s.text_BLD, b.text_mask_BL, s.regions_BRD, b.region_mask_BR, cls_only=True)
    assert cls[-1].shape[1] == 1
    torch.testing.assert_close(cls[-1][:, 0], full[-1][:, 0], rtol=1e-5, atol=1e-6)


def test_tags_reach_the_regions_but_not_the_multimodal_input(model: Mvptr) -> None:
    b = batch()
    with torch.no_grad():
        s = model.unimodal(b)
    states = model.multimodal(s.text_BLD, b.text_mask_BL, s.regions_BRD, b.region_mask_BR)[-1]
    assert states.shape[1] == b.text_ids_BL.shape[1] + b.regions_BRF.shape[1]


def saved_bert(folder: Path, layers: int, seed: int) -> Any:
    """A BertModel of the tiny model's sizes, far from the usual start so that its layers differ; saved in `folder`."""
    from transformers import BertConfig, BertModel

    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=30,
        hidden_size=16,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=32,
    )
    bert = BertModel(config).eval()
    for p in bert.parameters():
        torch.nn.init.normal_(p, std=0.3)
    bert.save_pretrained(folder)
    return bert


def test_layers_equal_transformers_bert(tmp_path: Path) -> None:
    """Text and visual encoder take the first layers, the multimodal one the last: states equal BertModel's."""
    bert = saved_bert(tmp_path, layers=4, seed=1)
    model = Mvptr(architecture(layers=2)).eval()
    copied = copy_bert(model, tmp_path)
    for name in ("text_encoder", "visual_encoder", "multimodal_encoder"):
        assert all(f"{name}.{k}" in copied for k in getattr(model, name).state_dict())
    ids, mask = torch.randint(5, 30, (2, 7)), torch.ones(2, 7, dtype=torch.bool)
    b = batch()
    b.text_ids_BL, b.text_mask_BL = ids, mask
    with torch.no_grad():
        hidden = bert(ids, attention_mask=mask, output_hidden_states=True).hidden_states
        torch.testing.assert_close(model.encode_text(b), hidden[2], rtol=1e-4, atol=1e-5)
        last = model.multimodal_encoder(hidden[2], mask)[-1]
    torch.testing.assert_close(last, hidden[4], rtol=1e-4, atol=1e-5)


def test_every_copied_tensor_is_berts(tmp_path: Path) -> None:
    """Each tensor that is said to be copied equals BERT's of the first or last layers; the others are left as drawn."""
    bert = saved_bert(tmp_path, layers=5, seed=2)
    theirs, model = bert.state_dict(), Mvptr(architecture(layers=2))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    done = set(copy_bert(model, tmp_path))
    after = model.state_dict()
    parts = {"query": "attention.self.query", "key": "attention.self.key", "value": "attention.self.value"}
    wanted: dict[str, torch.Tensor] = {}
    for encoder, first in (("text_encoder", 0), ("visual_encoder", 0), ("multimodal_encoder", 3)):
        for i in range(2):
            own, other = f"{encoder}.layers.{i}", f"encoder.layer.{first + i}"
            pairs = {f"attention.{k}": v for k, v in parts.items()} | {
                "attention.output": "attention.output.dense",
                "attention.norm": "attention.output.LayerNorm",
                "intermediate": "intermediate.dense",
                "output": "output.dense",
                "norm": "output.LayerNorm",
            }
            for ours, bert_name in pairs.items():
                wanted |= {f"{own}.{ours}.{p}": theirs[f"{other}.{bert_name}.{p}"] for p in ("weight", "bias")}
    for p in ("weight", "bias"):
        wanted |= {f"embedding_norm.{p}": theirs[f"embeddings.LayerNorm.{p}"]}
        wanted |= {f"pooler.{p}": theirs[f"pooler.dense.{p}"]}
    wanted["types.weight"] = theirs["embeddings.token_type_embeddings.weight"]
    wanted["positions.weight"] = theirs["embeddings.position_embeddings.weight"]
    assert done == set(wanted) | {"embeddings.weight"}
    assert all(torch.equal(after[k], v) for k, v in wanted.items())
    assert torch.equal(after["embeddings.weight"][:30], theirs["embeddings.word_embeddings.weight"])
    assert torch.equal(after["embeddings.weight"][30:], before["embeddings.weight"][30:])
    assert all(torch.equal(after[k], before[k]) for k in set(after) - done)


def test_bert_of_another_size_is_refused(tmp_path: Path, model: Mvptr) -> None:
    from transformers import BertConfig, BertModel

    BertModel(BertConfig(vocab_size=30, hidden_size=32, num_hidden_layers=4, num_attention_heads=2)).save_pretrained(
        tmp_path
    )
    with pytest.raises(InputError, match="hidden_size is 32, the model's is 16"):
        copy_bert(model, tmp_path)


def test_phrase_and_answer_rows(model: Mvptr) -> None:
    words = [[6, 7], [8], [6, 9, 9]]
    set_phrase_rows(model, words)
    table = model.embeddings.weight
    for row, ids in enumerate(words):
        torch.testing.assert_close(table[30 + row], torch.stack([table[i] for i in ids]).mean(0))
    task = Mvptr(architecture(head="vqa", head_size=2))
    torch.nn.init.normal_(task.mlm_head.bias)
    set_answer_rows(task, [[6, 7], [8]])
    head: Any = task.head["vqa"]
    assert head.table is not None
    torch.testing.assert_close(head.table[0], (task.embeddings.weight[6] + task.embeddings.weight[7]) / 2)
    torch.testing.assert_close(head.bias[1], task.mlm_head.bias[8])
    torch.testing.assert_close(head.dense.weight, task.mlm_head.dense.weight)


def vocabulary(folder: Path) -> Path:
    (folder / "tokenizer").mkdir(parents=True)
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(25))]
    (folder / "tokenizer" / "vocab.txt").write_text("".join(f"{p}\n" for p in pieces))
    (folder / "phrases.json").write_text('{"rows": 34, "records": []}')
    return folder


def test_directory_gives_the_model_back(tmp_path: Path, model: Mvptr) -> None:
    directory.save(model, tmp_path / "m", vocabulary(tmp_path / "v"), {"lengths": {}}, {"corpus": "0" * 64})
    again = directory.load(tmp_path / "m")
    for key, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key
    task = directory.load(tmp_path / "m", "vqa", 5)
    assert task.architecture.head_size == 5


def test_damaged_directory_is_named(tmp_path: Path, model: Mvptr) -> None:
    directory.save(model, tmp_path / "m", vocabulary(tmp_path / "v"), {}, {})
    weights = tmp_path / "m" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:200])
    with pytest.raises(InputError, match=r"model\.safetensors: cannot be read"):
        directory.load(tmp_path / "m")


def test_wrong_tensors_are_listed(tmp_path: Path, model: Mvptr) -> None:
    tensors = dict(model.state_dict())
    tensors["extra"] = tensors.pop("pooler.bias")
    with pytest.raises(InputError, match=r"missing pooler\.bias; unexpected extra"):
        directory.load_strictly(model, tensors, tmp_path / "x")


@pytest.mark.parametrize(
    ("name", "shape", "told"),
    [
        ("embeddings.word_embeddings.weight", (28, 16), "has 28 word rows, the tokenizer 30 word pieces"),
        ("embeddings.token_type_embeddings.weight", (1, 16), r"token_type_embeddings\.weight has shape \(1, 16\)"),
        ("encoder.layer.0.output.dense.bias", (1,), r"layer\.0\.output\.dense\.bias has shape \(1,\), wanted \(16,\)"),
        ("encoder.layer.3.output.dense.bias", None, r"has no tensor encoder\.layer\.3\.output\.dense\.bias"),
    ],
)
def test_bert_with_rows_too_few_is_refused(
    tmp_path: Path, model: Mvptr, name: str, shape: tuple[int, ...] | None, told: str
) -> None:
    saved_bert(tmp_path, layers=4, seed=1)
    tensors = load_file(tmp_path / "model.safetensors")
    if shape is None:
        del tensors[name]
    else:
        tensors[name] = torch.ones(shape)
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=told):
        copy_bert(model, tmp_path)
