"""A masked pre-training batch made by hand, and a model for it."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor

from tests.batching.draws import draw
from tests.methods.mvptr.tiny import architecture
from vlp.methods.mvptr.batch import Batch, Targets
from vlp.methods.mvptr.model import Mvptr
from vlp.methods.mvptr.reader import add_negative_noise

PAD, CLS, SEP, MASK = range(4)
FIRST_WORD, FIRST_PHRASE, LAST_ID = 5, 30, 33
"""Ids of `tests.methods.mvptr.tiny.architecture`: words 5..29, phrases 30..33."""
LENGTH, TAGS, REGIONS, FEATURES = 9, 7, 4, 11
LAYERS, GROUNDING_LAYER = 3, 2


def model(seed: int = 0) -> Mvptr:
    """In double, with larger weights than at the start of a training, or all samples would look alike."""
    torch.manual_seed(seed)
    a = architecture(LAYERS).model_copy(update={"grounding_layer": GROUNDING_LAYER})
    m = Mvptr(a).double().eval()
    with torch.no_grad():
        for p in m.parameters():
            if p.dim() > 1:
                p *= 10
    return m


def batch(size: int = 6, seed: int = 0, phrases: int | None = None) -> Batch:
    """Different images and texts; the first word, first phrase and first two tags (of 1 or 2 pieces) are masked.

    Args:
        phrases: of every sample; None: 2 for the first, then 0 to 2.
    """
    g = np.random.Generator(np.random.PCG64(seed))
    text, tags = np.full((size, LENGTH), PAD), np.full((size, TAGS), PAD)
    positions, wanted = np.zeros((size, 2), np.int64), {"words": [], "phrases": [], "tags": []}
    for b in range(size):
        n, m = int(g.integers(2, 6)), int(g.integers(0, 3)) if phrases is None else phrases
        m = 2 if b == 0 and phrases is None else m
        words, concepts = g.integers(FIRST_WORD, FIRST_PHRASE, n), g.integers(FIRST_PHRASE, LAST_ID + 1, m)
        wanted["words"].append((b, 1, words[0], 0))
        words[0] = MASK
        if m:
            wanted["phrases"].append((b, n + 1, concepts[0] - FIRST_PHRASE, 0))
            concepts[0] = MASK
        text[b, : n + m + 2] = [CLS, *words, *concepts, SEP]
        positions[b, :m] = np.arange(n + 1, n + m + 1)
        pieces = np.repeat(np.arange(3), g.integers(1, 3, 3))[: TAGS - 2]
        ids = g.integers(FIRST_WORD, FIRST_PHRASE, len(pieces))
        hidden = pieces < 2
        wanted["tags"] += [(b, at + 1, ids[at], pieces[at]) for at in np.flatnonzero(hidden)]
        tags[b, : len(ids) + 2] = [CLS, *np.where(hidden, MASK, ids), SEP]
    counts = g.integers(1, REGIONS + 1, size)
    made = Batch(
        text_ids_BL=torch.from_numpy(text),
        text_mask_BL=torch.from_numpy(text != PAD),
        tag_ids_BT=torch.from_numpy(tags),
        tag_mask_BT=torch.from_numpy(tags != PAD),
        regions_BRF=torch.from_numpy(g.normal(size=(size, REGIONS, FEATURES))),
        region_mask_BR=torch.from_numpy(np.arange(REGIONS) < counts[:, None]),
        phrase_positions_BP=torch.from_numpy(positions),
        phrase_mask_BP=torch.from_numpy(positions > 0),
        image_B=torch.arange(size),
        text_B=torch.arange(size),
        words=targets(wanted["words"]),
        phrases=targets(wanted["phrases"]),
        tags=targets(wanted["tags"]),
    )
    return add_negative_noise(made, draw(size, seed))


def targets(rows: list[tuple[int, int, int, int]]) -> Targets:
    """From (sample, position, label, concept within the sample)."""
    columns = np.asarray(rows, np.int64).reshape(-1, 4)
    keys = columns[:, 0] * 100 + columns[:, 3]
    concept = np.unique(keys, return_inverse=True)[1].reshape(-1)
    return Targets(*(torch.from_numpy(x.copy()) for x in (*columns[:, :3].T, concept)))


def share(b: Batch, rows: slice) -> Batch:
    """These samples of the batch, as a rank gets them; without noise, which each rank draws for itself."""
    first, last, _ = rows.indices(len(b))
    changed: dict[str, object] = {"gumbel_2BG": None}
    for field in dataclasses.fields(b):
        value = getattr(b, field.name)
        if isinstance(value, Targets):
            own = (value.sample_M >= first) & (value.sample_M < last)
            concept = torch.unique(value.concept_M[own], return_inverse=True)[1]
            parts = (value.sample_M[own] - first, value.position_M[own], value.label_M[own], concept)
            changed[field.name] = Targets(*parts)
        elif isinstance(value, Tensor) and value.dim() and field.name != "gumbel_2BG":
            changed[field.name] = value[rows]
    return dataclasses.replace(b, **changed)
