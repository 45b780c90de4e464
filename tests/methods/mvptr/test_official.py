"""The authors' checkpoints: golden tensors of the official classes, round trips, and what is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from vlp.errors import InputError
from vlp.methods.mvptr import directory, official
from vlp.methods.mvptr.batch import Batch
from vlp.methods.mvptr.model import Architecture, Head, Mvptr

HERE = Path(__file__).parents[2] / "golden"
GOLDEN = Path(os.environ.get("VLP_GOLDEN_DIR", HERE))
"""Any folder of NAME.config.json, NAME.weights.safetensors, NAME.tensors.safetensors (docs/official.md)."""
NAMES = sorted(p.name.removesuffix(".config.json") for p in GOLDEN.glob("*.config.json"))


def read(name: str) -> tuple[dict[str, Tensor], dict, dict[str, Tensor]]:
    config = json.loads((GOLDEN / f"{name}.config.json").read_text())
    parts = (load_file(GOLDEN / f"{name}.{p}.safetensors") for p in ("weights", "tensors"))
    weights, tensors = parts
    return weights, config, tensors


def batch_of(t: dict[str, Tensor], num_tags: int) -> Batch:
    size, visual = len(t["input.text_ids"]), t["input.visual_mask"].bool()
    return Batch(
        text_ids_BL=t["input.text_ids"],
        text_mask_BL=t["input.text_mask"].bool(),
        tag_ids_BT=t["input.tag_ids"],
        tag_mask_BT=visual[:, :num_tags],
        regions_BRF=t["input.regions"],
        region_mask_BR=visual[:, num_tags:],
        phrase_positions_BP=torch.zeros(size, 1, dtype=torch.long),
        phrase_mask_BP=torch.zeros(size, 1, dtype=torch.bool),
        image_B=torch.arange(size),
        text_B=torch.arange(size),
    )


@torch.no_grad()
def outputs(model: Mvptr, kind: str, batch: Batch) -> dict[str, Tensor]:
    """Ours under the golden files' names; what a kind of checkpoint does not train is left out."""
    states = model.unimodal(batch)
    layers = model.joint(batch)
    text, image = model.contrast_vectors(states)
    found = {
        "text_hidden": states.text_BLD,
        "visual_hidden": states.visual_BND,
        "joint_hidden": layers[-1],
        "joint_hidden_layer3": layers[min(3, len(layers)) - 1],
        "pooled": model.pooled(layers[-1]),
        "similarity": text @ image.T,
    }
    if kind == "pretraining":
        length = batch.text_ids_BL.shape[1]
        found["mlm_logits"] = model.mlm_logits(layers[-1][:, :length])
        found["tag_logits"] = model.tag_logits(states.tags_BTD)
        found["itm_logits"] = model.itm_logits(layers[-1])
    elif kind == "retrieval":
        found["itm_logits"] = model.itm_logits(layers[-1]).flip(-1)  # theirs: 1 is match
    elif kind == "vqa":
        found["logits"] = model.answer_logits(layers[-1])
    elif kind == "entailment":
        found["logits"] = model.class_logits(layers[-1])
    return found


def test_all_golden_cases_are_there() -> None:
    assert NAMES, f"{GOLDEN} holds no golden case"
    if GOLDEN == HERE:
        layer_norm = ["pretraining_with_region_layernorm", "pretraining_without_region_layernorm"]
        assert [*layer_norm, "retrieval", "ve", "vqa"] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_golden_outputs(name: str) -> None:
    """Every stored output of the official model to 1e-5."""
    weights, config, tensors = read(name)
    model, done = official.from_official(weights, config, name)
    ours = outputs(model.eval(), done.kind, batch_of(tensors, tensors["input.tag_ids"].shape[1]))
    wanted = {k.removeprefix("output."): v for k, v in tensors.items() if k.startswith("output.")}
    assert wanted and set(wanted) <= set(ours)
    for key, value in wanted.items():
        assert ours[key].shape == value.shape, key
        torch.testing.assert_close(ours[key], value, rtol=0, atol=1e-5, msg=lambda m, key=key: f"{key}: {m}")


@pytest.mark.parametrize("name", NAMES)
def test_export_of_the_import_is_the_checkpoint_bit_for_bit(name: str) -> None:
    weights, config, _ = read(name)
    model, done = official.from_official(weights, config, name)
    again, _ = official.to_official(model, done.kind)
    assert again.keys() == weights.keys() and not done.dropped
    for key, value in weights.items():
        assert again[key].dtype == value.dtype and torch.equal(again[key], value), key


@pytest.fixture
def pretrained() -> tuple[dict[str, Tensor], dict]:
    config = json.loads((HERE / "pretraining_with_region_layernorm.config.json").read_text())
    return load_file(HERE / "pretraining_with_region_layernorm.weights.safetensors"), config


def test_optional_keys_decide_by_presence(pretrained) -> None:
    weights, config = pretrained
    fewer = {k: v for k, v in weights.items() if not k.startswith(("qa_head.", "bert.LayerNorm."))}
    model, done = official.from_official(fewer, config)
    assert model.architecture.qa_head_size == 0 and not model.architecture.region_layer_norm
    assert any("LayerNorm" in note for note in done.notes)
    assert official.to_official(model, "pretraining")[0].keys() == fewer.keys()


def test_half_precision_and_old_names(pretrained) -> None:
    weights, config = pretrained
    old = {k.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): v.half()
           for k, v in weights.items()}  # fmt: skip
    model, _ = official.from_official(old, config)
    assert model.pooler.weight.dtype == torch.float32
    torch.testing.assert_close(model.pooler.weight.half(), weights["bert.pooler.dense.weight"].half())


def test_tied_decoders_stay_tied(pretrained) -> None:
    weights, config = pretrained
    words = weights["bert.embeddings.word_embeddings.weight"][: config["only_word_size"]]
    tied = weights | {k: words.clone() for k in ("cls.predictions.decoder.weight", "half_mlm.decoder.weight")}
    model, done = official.from_official(tied, config)
    assert model.architecture.tied_decoders and model.mlm_head.table is None and not done.dropped
    again, _ = official.to_official(model, "pretraining")
    assert all(torch.equal(again[k], v) for k, v in tied.items()) and again.keys() == tied.keys()
    untied, _ = official.from_official(weights, config)
    assert not untied.architecture.tied_decoders


def test_missing_misshapen_and_unexpected_are_named(pretrained) -> None:
    weights, config = pretrained
    broken = dict(weights)
    del broken["bert.pooler.dense.bias"]
    broken["half_mlm.bias"] = broken["half_mlm.bias"][:-1]
    with pytest.raises(
        InputError, match=r"missing bert\.pooler\.dense\.bias; half_mlm\.bias has shape \(299,\), wanted"
    ):
        official.from_official(broken, config, "folder")
    _, done = official.from_official(weights | {"qa_seq_relation.weight": torch.zeros(2, 32)}, config)
    assert done.dropped == ["qa_seq_relation.weight"]
    assert any(k.startswith("phrase_head.") for k in done.fresh)
    with pytest.raises(InputError, match=r"lacks only_word_size"):
        official.from_official(weights, {k: v for k, v in config.items() if k != "only_word_size"}, "folder")


def test_referring_head(pretrained) -> None:
    """`mod 1`: cosine of the text's [CLS] with each region; `mod 3`: a linear layer on each region."""
    weights, config = pretrained
    torch.manual_seed(3)
    classifier = {"classifier.weight": torch.randn(1, 32), "classifier.bias": torch.randn(1)}
    weights = {k: v for k, v in weights.items() if k.startswith("bert.")} | classifier
    model, done = official.from_official(weights, config)
    assert done.kind == "referring"
    states, length, regions = torch.randn(2, 9, 32), 4, 3
    cosine = model.eval().referring_similarity(states, length, regions)
    linear = model.referring_logits(states, length, regions)
    assert cosine.shape == linear.shape == (2, 3)
    for b in range(2):
        for r in range(regions):
            cls, region = states[b, 0], states[b, length + r]
            assert cosine[b, r].item() == pytest.approx((cls @ region / cls.norm() / region.norm()).item(), abs=1e-6)
            byhand = classifier["classifier.weight"][0] @ region + classifier["classifier.bias"][0]
            assert linear[b, r].item() == pytest.approx(byhand.item(), abs=1e-5)


def base_size_keys() -> dict[str, dict[str, tuple[int, ...]]]:
    found: dict[str, dict[str, tuple[int, ...]]] = {}
    kind = ""
    for line in (HERE / "base_size_state_dicts.txt").read_text().splitlines():
        if line.startswith("["):
            kind = line.strip("[]")
            found[kind] = {}
        elif not line.startswith("#"):
            key, shape = line.split()
            sizes = tuple(int(n) for n in shape.strip("()").split(",") if n)
            found[kind] |= {key.replace(".N.", f".{i}."): sizes for i in range(6 if ".N." in key else 1)}
    return found


@pytest.mark.parametrize("kind", official.CLASSES)
def test_base_size_has_the_released_keys_and_shapes(kind: str) -> None:
    wanted = base_size_keys()[kind]
    heads: dict[str, tuple[Head, int]] = {
        "vqa": ("vqa", 3129),
        "entailment": ("entailment", 3),
        "referring": ("referring", 1),
    }
    head = heads.get(kind, (None, 0))
    a = Architecture(
        hidden_size=768, num_heads=12, intermediate_size=3072, text_layers=6, visual_layers=6, multimodal_layers=6,
        max_positions=512, dropout=0.1, attention_dropout=0.1, region_layer_norm=True, contrast_projection=False,
        grounding_layer=3, use_phrases=True, use_tags=True, word_rows=30522, phrase_rows=86051 - 30522,
        region_size=2054, qa_head_size=3129, head=head[0], head_size=head[1],
    )  # fmt: skip
    with torch.device("meta"):
        tensors, done = official.to_official(Mvptr(a), kind)
    assert {k: tuple(v.shape) for k, v in tensors.items()} == wanted
    assert len(wanted) == {"pretraining": 318, "retrieval": 304, "vqa": 307, "entailment": 303, "referring": 303}[kind]
    assert any("identities" in note for note in done.notes)


def folder_of(tmp_path: Path, pretrained) -> Path:
    weights, config = pretrained
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(config["only_word_size"] - 5))]
    folder = tmp_path / "official"
    folder.mkdir()
    torch.save(weights, folder / "pytorch_model.bin")
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    phrases = {"5": ["w0"], "300": ["w1", "w2"], "301": ["w1", "on", "w2"], "410": ["giraffe"]}
    (tmp_path / "id2phrase.json").write_text(json.dumps(phrases))
    return folder


def test_folder_imports_and_exports(tmp_path: Path, pretrained) -> None:
    weights, _ = pretrained
    folder = folder_of(tmp_path, pretrained)
    lengths = {"words": 10, "phrases": 2, "regions": 10, "tags": 8}
    done = official.import_folder(folder, tmp_path / "ours", tmp_path / "id2phrase.json", lengths)
    assert done.kind == "pretraining"
    again = directory.load(tmp_path / "ours")
    assert torch.equal(again.embeddings.weight, weights["bert.embeddings.word_embeddings.weight"])
    official.export_folder(tmp_path / "ours", tmp_path / "back", "pretraining")
    stored = torch.load(tmp_path / "back" / "pytorch_model.bin", weights_only=True)
    assert stored.keys() == weights.keys() and all(torch.equal(stored[k], v) for k, v in weights.items())
    assert json.loads((tmp_path / "back" / "id2phrase.json").read_text()) == json.loads(
        (tmp_path / "id2phrase.json").read_text()
    )
    twice, _ = official.read_folder(tmp_path / "back")
    assert twice.keys() == weights.keys()


def test_pickled_code_is_not_run(tmp_path: Path, pretrained) -> None:
    folder = folder_of(tmp_path, pretrained)
    torch.save({"a": print}, folder / "pytorch_model.bin")
    with pytest.raises(InputError, match="cannot be read"):
        official.read_folder(folder)
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(InputError, match="there is no such file"):
        official.read_folder(folder)


@pytest.mark.parametrize("prefix", ["module.", "model.module."])
def test_a_prefix_of_data_parallel_training_is_left_out(prefix: str, pretrained) -> None:
    weights, config = pretrained
    torch.manual_seed(0)
    model, done = official.from_official({prefix + k: v for k, v in weights.items()}, config)
    torch.manual_seed(0)
    plain, _ = official.from_official(weights, config)
    assert all(torch.equal(v, plain.state_dict()[k]) for k, v in model.state_dict().items())
    assert any(prefix in note for note in done.notes) and not done.dropped


def test_other_checkpoints_are_told_by_what_was_found(pretrained) -> None:
    weights, config = pretrained
    headless = {k: v for k, v in weights.items() if k.startswith("bert.")}
    with pytest.raises(InputError, match=r"none of the known classes; its tensors' names begin with bert\."):
        official.from_official(headless, config)
    with pytest.raises(InputError, match=r"\(a classifier of 7 rows\)"):
        official.from_official(headless | {"classifier.weight": torch.ones(7, 2)}, config)
    lacking = {k: v for k, v in weights.items() if k != "cls.predictions.decoder.weight"}
    with pytest.raises(InputError, match=r"missing cls\.predictions\.decoder\.weight"):
        official.from_official(lacking, config)
    flat = weights | {"bert.img_embedding.weight": torch.ones(3)}
    with pytest.raises(InputError, match=r"bert\.img_embedding\.weight has 1 dimensions, wanted 2"):
        official.from_official(flat, config)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("num_attention_heads", "x", "num_attention_heads is 'x', wanted 1 to"),
        ("num_attention_heads", 5, "5 heads do not divide"),
        ("only_word_size", 10**6, "only_word_size is 1000000, wanted 1 to"),
    ],
)
def test_config_that_does_not_fit_the_tensors(key: str, value: object, told: str, pretrained) -> None:
    weights, config = pretrained
    with pytest.raises(InputError, match=told):
        official.from_official(weights, config | {key: value})


def test_numbers_that_are_not_finite_are_not_imported(tmp_path: Path, pretrained) -> None:
    folder = folder_of(tmp_path, pretrained)
    weights = torch.load(folder / "pytorch_model.bin", weights_only=True)
    weights["half_mlm.bias"][3] = torch.nan
    torch.save(weights, folder / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"pytorch_model\.bin: has weights that are not finite: half_mlm\.bias \(1 of"):
        official.import_folder(folder, tmp_path / "ours", None, {})
    assert not (tmp_path / "ours").exists()


def test_two_word_pieces_more_than_rows_are_not_imported(tmp_path: Path, pretrained) -> None:
    folder = folder_of(tmp_path, pretrained)
    rows = pretrained[1]["only_word_size"]
    with (folder / "vocab.txt").open("a") as file:
        file.write("first\nsecond\n")
    with pytest.raises(InputError, match=rf"has {rows + 2} word pieces, the model {rows} rows for them"):
        official.import_folder(folder, tmp_path / "ours", None, {})
    assert not (tmp_path / "ours").exists()


def test_a_phrase_that_is_a_word_s_row_is_not_imported(tmp_path: Path, pretrained) -> None:
    folder = folder_of(tmp_path, pretrained)
    (tmp_path / "id2phrase.json").write_text(json.dumps({"7": ["w1", "w2"]}))
    with pytest.raises(InputError, match=r"phrases\.json: the id 7 is no phrase's row"):
        official.import_folder(folder, tmp_path / "ours", tmp_path / "id2phrase.json", {})


def test_a_checkpoint_in_safetensors_or_shards_is_imported(tmp_path: Path, pretrained) -> None:
    folder = folder_of(tmp_path, pretrained)
    torch.manual_seed(0)
    official.import_folder(folder, tmp_path / "one", None, {})
    tensors = torch.load(folder / "pytorch_model.bin", weights_only=True)
    (folder / "pytorch_model.bin").unlink()
    names, where = sorted(tensors), {}
    for n, part in enumerate((names[::2], names[1::2])):
        file = f"model-{n}.safetensors"
        save_file({k: tensors[k].contiguous().clone() for k in part}, folder / file)
        where |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    torch.manual_seed(0)
    official.import_folder(folder, tmp_path / "two", None, {})
    one, two = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two"))
    assert one == two
    assert "model-0.safetensors" in (tmp_path / "two" / "README.md").read_text()
