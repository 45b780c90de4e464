"""What the paper's Figures 4 to 6 show, as numbers: attention and grounding on unseen pairs, embeddings of concepts.

Computed once from a model directory (`vlp report probe`), so that the report needs no model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from vlp.batching.inputs import Inputs, Paths
from vlp.config import Experiment
from vlp.methods.mvptr import directory, reader
from vlp.methods.mvptr.model import Mvptr
from vlp.methods.mvptr.reader import Collator
from vlp.methods.mvptr.reading import read_from
from vlp.methods.mvptr.steps import span_similarity
from vlp.parts import drawn_by_hash
from vlp.phrases.vocabulary import PhraseRecord, PhraseVocabulary

PAIRS = 3
GROUNDED = 6
"""So many pairs are grounded for Figure 5."""
REGIONS = 8
"""The best so many regions of an image are rows of the region-to-tag map."""
TAGS, PHRASES = 8, 12
"""Figure 6 has the so many most frequent tags, and of each the so many most frequent phrases that contain it."""
Known = dict[int, PhraseRecord]
"""Phrases of the vocabulary by id."""


def probe(experiment: Experiment, paths: Paths, model: Path, split: str = "test") -> dict[str, Any]:
    """Figures 4, 5 and 6 of a pre-trained model.

    Args:
        split: whose captions and images are shown: unseen in pre-training.

    Returns:
        `attention`: of each pair the caption, image, words, phrases, tags, boxes and the maps (see `_maps`);
        `grounding`: of each pair the annotated and the extracted phrases with their regions (see `_grounding`);
        `embedding`: points of Figure 6.
    """
    inputs = Inputs(experiment, paths)
    network = directory.load(model).float().eval()
    collator = reader.collator(inputs, "captions")
    vocabulary = PhraseVocabulary.load(paths.vocabulary / "phrases.json")
    known = {r.id: r for r in vocabulary.records}
    texts = collator.texts
    several = [
        i
        for i, s in enumerate(texts.splits)
        if s == split and (texts.matchable is None or texts.matchable[i]) and len(texts.phrases(i)) > 1
    ]
    chosen = drawn_by_hash(several, PAIRS, lambda i: texts.ids[i])
    shown = [_attention(network, collator, inputs, known, i) for i in chosen] if not network.merged else []
    annotated = _annotated(paths.tables, split)
    marked = [i for i in several if len(annotated.get(texts.ids[i], ())) > 1] or several
    drawn = drawn_by_hash(marked, GROUNDED, lambda i: texts.ids[i])
    return {
        "split": split,
        "attention": shown,
        "grounding": [_grounding(network, collator, inputs, known, annotated, i) for i in drawn],
        "embedding": _embedding(network, inputs, vocabulary),
    }


def _attention(model: Mvptr, collator: Collator, inputs: Inputs, known: Known, row: int) -> dict[str, Any]:
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
        "phrases": [" ".join(_parts(known, int(p))) for p in example.phrases],
        "tags": tags,
        "boxes": _rounded(regions.boxes),
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


def _parts(known: Known, phrase: int) -> list[str]:
    return list(known[phrase].parts) if phrase in known else [str(phrase)]


def _rounded(boxes: ArrayLike) -> list[list[float]]:
    return np.round(np.asarray(boxes, np.float64), 2).tolist()


def _annotated(tables: Path, split: str) -> dict[str, list[dict[str, Any]]]:
    """The phrases that have a true box, by caption, in their order in the text."""
    from vlp.data.tables import rows

    found: dict[str, list[dict[str, Any]]] = {}
    for phrase in sorted(rows(tables, "phrase_boxes", split), key=lambda p: (p["start"], p["end"])):
        if phrase["boxes"]:
            found.setdefault(phrase["caption_id"], []).append(phrase)
    return found


@torch.inference_mode()
def _grounding(
    model: Mvptr,
    collator: Collator,
    inputs: Inputs,
    known: Known,
    annotated: dict[str, list[dict[str, Any]]],
    row: int,
) -> dict[str, Any]:
    """The region nearest to each phrase of one pair, by the cosine of their states in WPG's layer (eq. 6).

    Returns:
        `annotated`: phrases that annotators marked, read from the mean of their word pieces (paper 4.2.3): characters
        `start` and `end`, `box`, and the true `boxes`; `extracted`: phrases of our parser as the model reads them, each
        a token of its own: `parts`, `kind`, `words` (characters of each word), `box`, and as `boxes` the true ones of
        the annotated phrases that it speaks of: an attribute's words stand in one, a relation's may stand in two; empty
        where none is known. Boxes are xyxy in pixels.
    """
    texts, image = collator.texts, collator.texts.image_ids[row]
    batch, (words, phrases, pairs) = collator(np.array([row]), [image]), collator.text(row)
    marked = [
        (p, at)
        for p in annotated.get(texts.ids[row], ())
        if len(at := read_from(collator, row, (p["start"], p["end"]), "tokens"))
    ]
    positions = [at for _, at in marked] + [np.array([1 + len(words) + i]) for i in range(len(phrases))]
    spans = torch.zeros(1, len(positions), batch.text_ids_BL.shape[1], dtype=torch.bool)
    for g, at in enumerate(positions):
        spans[0, g, at] = True
    states = model.joint(batch)[model.architecture.grounding_layer - 1]
    best = span_similarity(states, spans.shape[2], spans, batch.region_mask_BR)[0].argmax(-1).tolist()
    regions = inputs.store.regions(image, limit=collator.lengths.regions)
    boxes = _rounded(regions.boxes[best])
    width, height = (int(v) for v in inputs.store.image_size(image))
    found: dict[str, Any] = {"caption_id": texts.ids[row], "image_id": image, "size": [width, height]}
    found["annotated"] = [
        {"start": p["start"], "end": p["end"], "box": box, "boxes": _rounded(p["boxes"])}
        for (p, _), box in zip(marked, boxes, strict=False)
    ]
    found["extracted"] = []
    for number, phrase in enumerate(phrases.tolist()):
        own = sorted(pairs[(pairs[:, 0] == number) & (pairs[:, 1] < len(words)), 1].tolist())
        kind = known[phrase].kind if phrase in known else ""
        found["extracted"].append(
            {
                "parts": _parts(known, phrase),
                "kind": kind,
                "words": [[int(c) for c in texts.spans(row)[piece]] for piece in own],
                "box": boxes[len(marked) + number],
                "boxes": _truth(kind, [piece + 1 for piece in own], marked),
            }
        )
    return found


def _truth(
    kind: str, own: Sequence[int], marked: Sequence[tuple[Mapping[str, Any], NDArray[np.int64]]]
) -> list[list[float]]:
    """The true boxes of an extracted phrase, of annotated phrases that it speaks of; none where that is not known.

    Args:
        own: text positions of its words.
        marked: annotated phrases with the positions of theirs.
    """
    # A word of an attribute outside of an annotated phrase may tell of something else.
    enough = all if kind == "attribute" else any
    return [box for phrase, at in marked if own and enough(p in at for p in own) for box in _rounded(phrase["boxes"])]


def _embedding(model: Mvptr, inputs: Inputs, vocabulary: PhraseVocabulary) -> list[dict[str, Any]]:
    """t-SNE of the rows of common tags (mean of their word pieces) and of the phrases that contain them: Figure 6.

    A phrase that contains two of the tags stands with the one that it names first.
    """
    from sklearn.manifold import TSNE

    table = model.embeddings.weight.detach()
    chosen = _chosen(_frequent(inputs), vocabulary)
    points, rows = [], []
    for tag, phrases in chosen.items():
        pieces = inputs.tokenizer(tag, add_special_tokens=False)["input_ids"]
        points.append({"name": tag, "kind": "tag", "tag": tag})
        rows.append(table[torch.tensor(pieces)].mean(0))
        for phrase in phrases:
            points.append({"name": " ".join(phrase.parts), "kind": phrase.kind, "tag": tag})
            rows.append(table[phrase.id])
    if len(rows) < 4:
        return []
    unit = torch.nn.functional.normalize(torch.stack(rows), dim=1).numpy()
    near = min(30.0, (len(rows) - 1) / 3)
    placed = TSNE(2, perplexity=near, init="pca", metric="cosine", random_state=0, n_jobs=1).fit_transform(unit)
    at = [[round(float(v), 3) for v in xy] for xy in placed]
    return [{**point, "x": x, "y": y} for point, (x, y) in zip(points, at, strict=True)]


def _frequent(inputs: Inputs) -> list[str]:
    """The tags by the number of regions that have them, in their order."""
    names = inputs.store.class_names
    counts = np.zeros(len(names), np.int64)
    for image in inputs.store.image_ids:
        classes = inputs.store.regions(image).classes
        np.add.at(counts, classes[classes >= 0], 1)
    return [names[c] for c in np.argsort(-counts, kind="stable") if counts[c]]


def _chosen(tags: list[str], vocabulary: PhraseVocabulary) -> dict[str, list[PhraseRecord]]:
    """The first `TAGS` of the tags that some phrase contains, each with its `PHRASES` most frequent phrases."""
    place = {tag.lower(): tag for tag in tags}
    mined = sorted((r for r in vocabulary.records if r.kind != "object"), key=lambda r: (-(r.count or 0), r.parts))
    found: dict[str, list[PhraseRecord]] = {tag: [] for tag in tags}
    for record in mined:
        tag = next((place[part] for part in record.parts if part in place), None)
        if tag is not None:
            found[tag].append(record)
    return {tag: found[tag][:PHRASES] for tag in [t for t in tags if found[t]][:TAGS]}
