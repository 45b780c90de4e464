"""A tiny model and batch for tests."""

from __future__ import annotations

import numpy as np
import torch

from tests.batching.draws import draw
from vlp.methods.mvptr.batch import Batch
from vlp.methods.mvptr.model import Architecture, Head
from vlp.methods.mvptr.reader import add_negative_noise


def architecture(layers: int = 2, head: Head | None = None, head_size: int = 0) -> Architecture:
    return Architecture(
        hidden_size=16,
        num_heads=2,
        intermediate_size=24,
        text_layers=layers,
        visual_layers=layers,
        multimodal_layers=layers,
        max_positions=32,
        dropout=0.0,
        attention_dropout=0.0,
        region_layer_norm=False,
        contrast_projection=False,
        grounding_layer=1,
        use_phrases=True,
        use_tags=True,
        word_rows=30,
        phrase_rows=4,
        region_size=11,
        head=head,
        head_size=head_size,
    )


def batch(size: int = 3, pad: int = 0, seed: int = 0) -> Batch:
    """Samples of different lengths; `pad` adds so many positions that say nothing."""
    g = np.random.Generator(np.random.PCG64(seed))
    length, tags, regions = 8, 5, 4
    lengths, tag_lengths, counts = (g.integers(3, n + 1, size) for n in (length, tags, regions))
    lengths[0], tag_lengths[0], counts[0] = length, tags, regions

    def mask(n: np.ndarray, width: int) -> torch.Tensor:
        return torch.from_numpy(np.arange(width + pad) < n[:, None])

    def ids(width: int) -> torch.Tensor:
        known = torch.from_numpy(g.integers(5, 30, (size, width)))
        return torch.cat([known, torch.zeros(size, pad, dtype=torch.long)], 1)

    features = torch.from_numpy(g.normal(size=(size, regions, 11)).astype(np.float32))
    b = Batch(
        text_ids_BL=ids(length),
        text_mask_BL=mask(lengths, length),
        tag_ids_BT=ids(tags),
        tag_mask_BT=mask(tag_lengths, tags),
        regions_BRF=torch.cat([features, torch.zeros(size, pad, 11)], 1),
        region_mask_BR=mask(counts, regions),
        phrase_positions_BP=torch.full((size, 2), 2),
        phrase_mask_BP=torch.tensor([[True, False]] * size),
        image_B=torch.arange(size),
        text_B=torch.arange(size),
    )
    return add_negative_noise(b, draw(size, seed))
