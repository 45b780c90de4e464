"""The authors' checkpoints: import of an Oscar-style folder, and export back (docs/official.md)."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vlp.errors import InputError
from vlp.files import atomic, read_json, sha256, write_json
from vlp.finite import demand_tensors
from vlp.methods.mvptr import directory
from vlp.methods.mvptr.config import Lengths
from vlp.methods.mvptr.initialise import LAYER_KEYS
from vlp.methods.mvptr.model import Architecture, Head, Mvptr
from vlp.models import weights
from vlp.models.bert import modern
from vlp.phrases import tokenizer
from vlp.phrases.vocabulary import PhraseVocabulary, read_id2phrase, write_id2phrase

FILES = ("pytorch_model.bin", "model.safetensors")
"""What the release saves, and what its users make of it."""
CLASSES = {
    "pretraining": "BiBertImgForPreTraining",
    "retrieval": "BiImageBertForRetrieval",
    "vqa": "BiImageBertForVQA",
    "entailment": "BiImageBertForSequenceClassification",
    "referring": "BiImageBertForRE",
}
"""Our name of a kind of checkpoint -> the release's class."""

WORDS = "bert.embeddings.word_embeddings.weight"
_PARTS = ("weight", "bias")
_ENCODERS = {"txt_encoder": "text_encoder", "vis_encoder": "visual_encoder", "mul_encoder": "multimodal_encoder"}
_HEADS: dict[str, Head | None] = {
    "retrieval": None,
    "pretraining": None,
    "vqa": "vqa",
    "entailment": "entailment",
    "referring": "referring",
}


@dataclass
class Conversion:
    """What a conversion did beside copying; every tensor is named."""

    kind: str
    fresh: list[str] = field(default_factory=list)
    """Ours, without a counterpart in the file: drawn anew."""
    dropped: list[str] = field(default_factory=list)
    """Theirs (import) or ours (export), without a place on the other side."""
    notes: list[str] = field(default_factory=list)


Convert = Callable[[Tensor], Tensor]


def _same(x: Tensor) -> Tensor:
    return x


def _transposed(x: Tensor) -> Tensor:
    return x.T


def _flipped(x: Tensor) -> Tensor:
    return x.flip(0)


def _pairs(a: Architecture, kind: str) -> list[tuple[str, str, Convert]]:
    """(official key, our key, conversion) of every tensor both sides hold; the conversions are their own inverses."""
    keys: list[tuple[str, str, Convert]] = [
        (WORDS, "embeddings.weight", _same),
        ("bert.embeddings.position_embeddings.weight", "positions.weight", _same),
        ("bert.embeddings.token_type_embeddings.weight", "types.weight", _same),
    ]

    def module(theirs: str, ours: str, convert: Convert = _same) -> None:
        keys.extend((f"{theirs}.{p}", f"{ours}.{p}", convert) for p in _PARTS)

    module("bert.embeddings.LayerNorm", "embedding_norm")
    layers = {
        "text_encoder": a.text_layers,
        "visual_encoder": a.visual_layers,
        "multimodal_encoder": a.multimodal_layers,
    }
    for theirs, ours in _ENCODERS.items():
        for i in range(layers[ours]):
            for part, own in LAYER_KEYS.items():
                module(f"bert.{theirs}.layer.{i}.{part}", f"{ours}.layers.{i}.{own}")
    module("bert.pooler.dense", "pooler")
    module("bert.img_embedding", "region_projection")
    if a.region_layer_norm:
        module("bert.LayerNorm", "region_norm")
    if a.contrast_projection:
        # Theirs multiplies from the right.
        keys.append(("bert.txt_proj", "text_projection.weight", _transposed))
        keys.append(("bert.vis_proj", "visual_projection.weight", _transposed))
    if kind in ("pretraining", "retrieval"):
        keys.append(("logit_scale", "logit_scale", _same))
    heads = {"pretraining": [("cls.predictions", "mlm_head"), ("half_mlm", "tag_head")]}
    heads["vqa"] = [("cls.predictions", "head.vqa")]
    for theirs, ours in heads.get(kind, []):
        module(f"{theirs}.transform.dense", f"{ours}.dense")
        module(f"{theirs}.transform.LayerNorm", f"{ours}.norm")
        keys.append((f"{theirs}.bias", f"{ours}.bias", _same))
        if ours == "head.vqa" or not a.tied_decoders:
            keys.append((f"{theirs}.decoder.weight", f"{ours}.table", _same))
    if kind == "pretraining":
        module("cls.seq_relationship", "itm_head")
        if a.qa_head_size:
            module("qa_head", "qa_head")
    elif kind == "retrieval":
        # In fine-tuning the release counts 1 as match, in pre-training 0 (reference 1.9, row 21).
        module("classifier", "itm_head", _flipped)
    elif kind in ("entailment", "referring"):
        module("classifier", f"head.{kind}")
    return keys


def prefix_of(tensors: Mapping[str, Tensor]) -> str:
    """What stands before every name of a checkpoint that was saved from inside a wrapper: `module.` of data parallel
    training; empty: nothing, or the word rows are not told by their name."""
    own = [k.removesuffix(WORDS) for k in tensors if k.endswith("." + WORDS)]
    return own[0] if len(own) == 1 and all(k.startswith(own[0]) for k in tensors) else ""


def kind_of(tensors: Mapping[str, Tensor], where: Path | str = "checkpoint") -> str:
    """The kind of checkpoint, by the presence of its heads."""
    if "half_mlm.bias" in tensors:
        return "pretraining"
    if "cls.predictions.decoder.weight" in tensors:
        return "vqa"
    rows = len(tensors["classifier.weight"]) if "classifier.weight" in tensors else 0
    kinds = {1: "referring", 2: "retrieval", 3: "entailment"}
    if rows in kinds:
        return kinds[rows]
    remedy = f"Known are the classes {', '.join(CLASSES.values())} with linear heads."
    begins = ", ".join(sorted({k.split(".")[0] for k in tensors})[:8])
    heads = f" (a classifier of {rows} rows)" if rows else ""
    problem = f"has the heads of none of the known classes{heads}; its tensors' names begin with {begins}."
    raise InputError(where, problem, remedy)


def architecture_of(tensors: Mapping[str, Tensor], config: Mapping[str, Any], kind: str) -> Architecture:
    """From the tensors' presence and shapes; `config` only where no tensor tells."""
    words = tensors[WORDS]
    layers = {ours: _count(tensors, theirs) for theirs, ours in _ENCODERS.items()}
    decoder = {"pretraining": "cls.predictions.decoder.weight"}.get(kind)
    word_rows = len(tensors[decoder]) if decoder else int(config["only_word_size"])
    tied = decoder is not None and all(
        torch.equal(tensors[k], words[: len(tensors[k])]) for k in (decoder, "half_mlm.decoder.weight")
    )
    return Architecture(
        hidden_size=words.shape[1],
        num_heads=int(config["num_attention_heads"]),
        intermediate_size=len(tensors["bert.mul_encoder.layer.0.intermediate.dense.bias"]),
        text_layers=layers["text_encoder"],
        visual_layers=layers["visual_encoder"],
        multimodal_layers=layers["multimodal_encoder"],
        max_positions=len(tensors["bert.embeddings.position_embeddings.weight"]),
        dropout=float(config.get("hidden_dropout_prob", 0.1)),
        attention_dropout=float(config.get("attention_probs_dropout_prob", 0.1)),
        region_layer_norm="bert.LayerNorm.weight" in tensors,
        region_norm_eps=float(config.get("img_layer_norm_eps") or 1e-12),
        contrast_projection="bert.txt_proj" in tensors,
        grounding_layer=min(3, layers["multimodal_encoder"]),
        use_phrases=True,
        use_tags=True,
        word_rows=word_rows,
        phrase_rows=len(words) - word_rows,
        region_size=tensors["bert.img_embedding.weight"].shape[1],
        tied_decoders=tied or decoder is None,
        qa_head_size=len(tensors["qa_head.bias"]) if "qa_head.bias" in tensors else 0,
        head=_HEADS[kind],
        head_size=len(tensors["cls.predictions.bias"]) if kind == "vqa" else 0,
    )


def _count(tensors: Mapping[str, Tensor], encoder: str) -> int:
    found = [re.match(rf"bert\.{encoder}\.layer\.(\d+)\.", k) for k in tensors]
    return 1 + max((int(m.group(1)) for m in found if m), default=-1)


def from_official(
    tensors: Mapping[str, Tensor], config: Mapping[str, Any], where: Path | str = "checkpoint"
) -> tuple[Mvptr, Conversion]:
    """The model of an official state dict, and what could not be carried over.

    Half precision becomes float32; old names (gamma, beta) are understood; keys that may be absent decide by presence.

    Raises:
        InputError: a tensor is missing or has another shape (each is named), or config.json lacks a key.
    """
    demand_tensors(tensors, where, "Fetch or train it again.")
    prefix = prefix_of(tensors)
    tensors = {modern(k.removeprefix(prefix)): v.float() if v.is_floating_point() else v for k, v in tensors.items()}
    kind = kind_of(tensors, where)
    needed = _NEEDED | (dict.fromkeys(_DECODERS, 2) if kind == "pretraining" else {})
    _refuse([f"missing {k}" for k in needed if k not in tensors], where)
    _refuse(
        [f"{k} has {tensors[k].ndim} dimensions, wanted {n}" for k, n in needed.items() if tensors[k].ndim != n], where
    )
    _check_config(config, tensors[WORDS].shape, Path(where) / "config.json")
    model = Mvptr(architecture_of(tensors, config, kind))
    own, pairs, done = model.state_dict(), _pairs(model.architecture, kind), Conversion(kind)
    if prefix:
        done.notes.append(f"The names of the tensors begin with {prefix} (saved from inside a wrapper): left out.")
    problems = [f"missing {theirs}" for theirs, _, _ in pairs if theirs not in tensors]
    found = [(theirs, ours, convert) for theirs, ours, convert in pairs if theirs in tensors]
    for theirs, ours, convert in found:
        value = convert(tensors[theirs]).reshape(1) if theirs == "logit_scale" else convert(tensors[theirs])
        if value.shape != own[ours].shape:
            problems.append(f"{theirs} has shape {tuple(tensors[theirs].shape)}, wanted {tuple(own[ours].shape)}")
            continue
        with torch.no_grad():
            own[ours].copy_(value)
    _refuse(problems, where)
    copies = set(_DECODERS) if kind == "pretraining" and model.architecture.tied_decoders else set()
    done.fresh = sorted(set(own) - {ours for _, ours, _ in found})
    done.dropped = sorted(set(tensors) - {theirs for theirs, _, _ in found} - copies)
    if config.get("use_img_layernorm") and not model.architecture.region_layer_norm:
        done.notes.append("config.json asks for a LayerNorm of the regions, the checkpoint has none: left out.")
    if kind == "pretraining":
        tied = "equal" if model.architecture.tied_decoders else "differ from"
        done.notes.append(f"The decoders of MLM and tags {tied} the word rows.")
    return model, done


def to_official(model: Mvptr, kind: str) -> tuple[dict[str, Tensor], Conversion]:
    """The official state dict of a model, in the release's form of this `kind`.

    Raises:
        InputError: the model has merged attention, or lacks the head.
    """
    a = model.architecture
    if a.fusion != "separate":
        raise InputError("model", "merged attention has no official form.", "Export a model with three encoders.")
    if _HEADS[kind] is not None and a.head != _HEADS[kind]:
        raise InputError("model", f"has no {kind} head.", f"Export a model fine-tuned for {kind}.")
    own = {k: v.detach() for k, v in model.state_dict().items()}
    pairs, done = _pairs(a, kind), Conversion(kind)
    out = {theirs: convert(own[ours]).contiguous().clone() for theirs, ours, convert in pairs}
    if "logit_scale" in out:
        out["logit_scale"] = out["logit_scale"].reshape(())
    if not a.contrast_projection:
        out |= {k: torch.eye(a.hidden_size) for k in ("bert.txt_proj", "bert.vis_proj")}
        done.notes.append("bert.txt_proj and bert.vis_proj are identities: ours has no projections.")
    if kind == "pretraining" and a.tied_decoders:
        out |= {k: own["embeddings.weight"][: a.word_rows].clone() for k in _DECODERS}
    done.dropped = sorted(set(own) - {ours for _, ours, _ in pairs})
    return out, done


def official_config(a: Architecture, kind: str) -> dict[str, Any]:
    """config.json of the release (reference 4); both layer counts of ours must be equal: it knows one."""
    if not a.text_layers == a.visual_layers == a.multimodal_layers:
        raise InputError("model", "its encoders differ in depth.", "The release's config knows one depth for all.")
    return {
        "attention_probs_dropout_prob": a.attention_dropout,
        "hidden_act": "gelu",
        "hidden_dropout_prob": a.dropout,
        "hidden_size": a.hidden_size,
        "img_feature_dim": a.region_size,
        "img_feature_type": "faster_r-cnn",
        "img_layer_norm_eps": a.region_norm_eps,
        "initializer_range": 0.02,
        "intermediate_size": a.intermediate_size,
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": a.max_positions,
        "num_attention_heads": a.num_heads,
        "num_contrast_classes": 2,
        "num_hidden_layers": 2 * a.multimodal_layers,
        "num_labels": {"vqa": a.head_size, "entailment": 3, "referring": 1}.get(kind, 2),
        "only_word_size": a.word_rows,
        "qa_answer_size": a.qa_head_size,
        "torchscript": True,
        "type_vocab_size": 2,
        "use_img_layernorm": int(a.region_layer_norm),
        "vocab_size": a.word_rows + a.phrase_rows,
    }


_DECODERS = ("cls.predictions.decoder.weight", "half_mlm.decoder.weight")
_NEEDED = {
    WORDS: 2,
    "bert.embeddings.position_embeddings.weight": 2,
    "bert.img_embedding.weight": 2,
    "bert.mul_encoder.layer.0.intermediate.dense.bias": 1,
}
"""What tells the architecture -> its dimensions."""


def _check_config(config: Mapping[str, Any], shape: Sequence[int], file: Path) -> None:
    """Raises InputError: what no tensor tells is missing, or does not fit the table of words and phrases [rows, D]."""
    for key, most in (("num_attention_heads", shape[1]), ("only_word_size", shape[0])):
        if key not in config:
            raise InputError(file, f"lacks {key}.", "Put it there: no tensor tells it.")
        value = config[key]
        if not isinstance(value, int) or not 0 < value <= most:
            raise InputError(file, f"{key} is {value!r}, wanted 1 to {most}.", "Take the checkpoint's own file.")
    if shape[1] % (heads := config["num_attention_heads"]):
        raise InputError(file, f"{heads} heads do not divide {shape[1]} numbers.", "Take the checkpoint's own file.")


def _refuse(problems: list[str], where: Path | str) -> None:
    if problems:
        raise InputError(where, "; ".join(problems) + ".", "Take the whole checkpoint, unchanged.")


# -- folders --------------------------------------------------------------------------------------------------------
def read_folder(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and config of an Oscar-style folder; weights only, no pickled code is run.

    Raises:
        InputError: as `vlp.models.weights.read_folder`; there is no config.json.
    """
    weights.refuse_pointer(folder / "config.json")
    config = read_json(folder / "config.json")
    if not isinstance(config, dict):
        raise InputError(folder / "config.json", "holds no mapping.", "Take the checkpoint's own file.")
    return weights.read_folder(folder, FILES), config


def import_folder(folder: Path, out: Path, id2phrase: Path | None, lengths: Mapping[str, int]) -> Conversion:
    """An Oscar-style folder (pytorch_model.bin, config.json, vocab.txt) becomes a model directory.

    Args:
        id2phrase: the authors' phrase file; without it the model has phrase rows that no text finds.
        lengths: caps that differ from the defaults.
    """
    tensors, config = read_folder(folder)
    model, done = from_official(tensors, config, folder)
    a = model.architecture
    rows = a.word_rows + a.phrase_rows
    phrases = PhraseVocabulary(rows, ()) if id2phrase is None else read_id2phrase(id2phrase, rows)
    with tempfile.TemporaryDirectory() as scratch:
        tokenizer.copy(folder, Path(scratch) / "tokenizer")
        phrases.save(Path(scratch) / "phrases.json")
        inputs = {
            "lengths": Lengths(**lengths).model_dump(),
            "parser": None,
            "regions": {"feature_size": a.region_size - 6, "class_names": []},
            "use_phrases": id2phrase is not None,
            "use_tags": True,
            "official": {"class": CLASSES[done.kind], "fresh": done.fresh, "dropped": done.dropped},
        }
        lineage = {file.name: sha256(file) for file in weights.files_in(folder, FILES)}
        directory.save(model, out, Path(scratch), inputs, lineage)
    return done


def export_folder(model_dir: Path, out: Path, kind: str) -> Conversion:
    """A model directory becomes an Oscar-style folder."""
    model = directory.load(model_dir)
    tensors, done = to_official(model, kind)
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "config.json", official_config(model.architecture, kind))
    for file in (model_dir / "tokenizer").iterdir():
        shutil.copyfile(file, out / file.name)
    write_id2phrase(PhraseVocabulary.load(model_dir / "phrases.json"), out / "id2phrase.json")
    with atomic(out / "pytorch_model.bin") as temporary:
        torch.save(tensors, temporary)
    return done
