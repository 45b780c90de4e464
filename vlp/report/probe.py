"""What the paper's Figures 4 and 6 show, as numbers: attention on unseen pairs, and the embeddings of tags and phrases.

Computed once from a model directory (`vlp report probe`), so that the report needs no model.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vlp.batching.collate import Collator
from vlp.config import Experiment
from vlp.models import directory
from vlp.models.mvptr import Mvptr
from vlp.phrases.vocabulary import PhraseVocabulary
from vlp.report.gallery import drawn_by_hash
from vlp.training.inputs import Inputs, Paths

PAIRS = 3
REGIONS = 8
"""The best so many regions of an image are rows of the region-to-tag map."""
TAGS, PHRASES = 60, 90
"""The most frequent so many are points of Figure 6."""


def probe(experiment: Experiment, paths: Paths, model: Path, split: str = "test") -> dict[str, Any]:
    """Figures 4 and 6 of a pre-trained model.

    Args:
        split: whose captions and images are shown: unseen in pre-training.

    Returns:
        `attention`: of each pair the caption, image, words, phrases, tags, boxes and the maps (see `_maps`);
        `embedding`: points of Figure 6.
    """
    inputs = Inputs(experiment, paths)
    network = directory.load(model).float().eval()
    collator = inputs.collator("captions")
    vocabulary = PhraseVocabulary.load(paths.vocabulary / "phrases.json")
    names = {r.id: " ".join(r.parts) for r in vocabulary.records}
    texts = collator.texts
    several = [i for i, s in enumerate(texts.splits) if s == split and len(texts.phrases(i)) > 1]
    chosen = drawn_by_hash(several, PAIRS, lambda i: texts.ids[i])
    shown = [_attention(network, collator, inputs, names, i) for i in chosen] if not network.merged else []
    return {"split": split, "attention": shown, "embedding": _embedding(network, inputs, vocabulary)}


def _attention(model: Mvptr, collator: Collator, inputs: Inputs, names: dict[int, str], row: int) -> dict[str, Any]:
    image = collator.texts.image_ids[row]
    batch, example = collator(np.array([row]), [image]), collator.example(row, image)
    words = _words(inputs, example.words)
    regions = inputs.store.regions(image, limit=collator.lengths.regions)
    tags = _words(inputs, example.tags)
    sizes = (len(words), len(example.phrases), len(tags), len(regions))
    width, height = (int(v) for v in inputs.store.image_size(image))
    return {
        "caption_id": collator.texts.ids[row],
        "image_id": image,
        "size": [width, height],
        "words": words,
        "phrases": [names.get(int(p), str(p)) for p in example.phrases],
        "tags": tags,
        "boxes": np.round(regions.boxes, 2).tolist(),
        "region_classes": [inputs.store.class_names[c] if c >= 0 else "" for c in regions.classes.tolist()],
        **{name: np.round(part, 5).tolist() for name, part in _maps(model.attention_maps(batch), sizes).items()},
    }


def _maps(layers: dict[str, list[Tensor]], sizes: tuple[int, int, int, int]) -> dict[str, NDArray[np.float64]]:
    """The four parts of Figure 4, from the last layer of each encoder, mean over heads; rows then sum to 1.

    Args:
        layers: of each encoder the maps [1,H,L,L] of its layers.
        sizes: numbers of word pieces, phrases, pieces of tags and regions.

    Returns:
        phrase_to_word [P,W], region_to_tag [R',T], phrase_to_region [P,R], word_to_region [W,R].
    """
    num_words, num_phrases, num_tags, num_regions = sizes
    text, visual, joint = (layers[name][-1][0].double().mean(0) for name in ("text", "visual", "multimodal"))
    words = slice(1, 1 + num_words)
    phrases = slice(1 + num_words, 1 + num_words + num_phrases)
    tags, first = slice(1, 1 + num_tags), visual.shape[0] - num_regions
    start = text.shape[0]  # in the joint sequence the regions follow the text
    parts = {
        "phrase_to_word": text[phrases, words],
        "region_to_tag": visual[first : first + min(REGIONS, num_regions), tags],
        "phrase_to_region": joint[phrases, start : start + num_regions],
        "word_to_region": joint[words, start : start + num_regions],
    }
    return {name: (p / p.sum(1, keepdim=True).clamp(min=1e-12)).numpy() for name, p in parts.items()}


def _words(inputs: Inputs, ids: NDArray[np.int64]) -> list[str]:
    return [str(t) for t in inputs.tokenizer.convert_ids_to_tokens(ids.tolist())]


def _embedding(model: Mvptr, inputs: Inputs, vocabulary: PhraseVocabulary) -> list[dict[str, Any]]:
    """t-SNE of the rows of the most frequent tags (mean of their pieces) and phrases: Figure 6."""
    from sklearn.manifold import TSNE

    table = model.embeddings.weight.detach()
    counts = np.zeros(len(inputs.store.class_names), np.int64)
    for image in inputs.store.image_ids:
        classes = inputs.store.regions(image).classes
        np.add.at(counts, classes[classes >= 0], 1)
    frequent = [int(c) for c in np.argsort(-counts, kind="stable")[:TAGS] if counts[c]]
    points, rows = [], []
    for c in frequent:
        pieces = inputs.tokenizer(inputs.store.class_names[c], add_special_tokens=False)["input_ids"]
        if pieces:
            points.append({"name": inputs.store.class_names[c], "kind": "tag"})
            rows.append(table[torch.tensor(pieces)].mean(0))
    mined = sorted((r for r in vocabulary.records if r.kind != "object"), key=lambda r: (-(r.count or 0), r.parts))
    for r in mined[:PHRASES]:
        points.append({"name": " ".join(r.parts), "kind": r.kind})
        rows.append(table[r.id])
    if len(rows) < 4:
        return []
    unit = torch.nn.functional.normalize(torch.stack(rows), dim=1).numpy()
    near = min(30.0, (len(rows) - 1) / 3)
    placed = TSNE(2, perplexity=near, init="pca", metric="cosine", random_state=0, n_jobs=1).fit_transform(unit)
    at = [[round(float(v), 3) for v in xy] for xy in placed]
    return [{**point, "x": x, "y": y} for point, (x, y) in zip(points, at, strict=True)]
