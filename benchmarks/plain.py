"""What `benchmarks.training` compares with: random samples of the paper's shapes, and MVPTR as plain PyTorch has it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlp.batching.draw import Draw
from vlp.methods.mvptr.batch import Batch, Targets
from vlp.methods.mvptr.model import Architecture, Mvptr
from vlp.methods.mvptr.objectives import mcr, s_wpg, wpg
from vlp.methods.mvptr.reader import add_negative_noise
from vlp.methods.mvptr.tied import Tied
from vlp.models import products
from vlp.models.layers import Packing
from vlp.objectives import LossSum, hard_negatives, itm, mlm, similarity
from vlp.objectives import contrast as vsc

STAGES = {
    "stage1": ("mcr_visual", "mcr_text", "vsc"),
    "stage2": ("mcr_visual", "mcr_text", "vsc", "mlm", "itm", "wpg"),
}
WORDS, PHRASES, TAGS, REGIONS = 35, 5, 20, 50
CLS, SEP, MASK, FIRST_WORD = 1, 2, 3, 10


def base(layers: int, word_rows: int, phrase_rows: int, size: int) -> Architecture:
    return Architecture(
        hidden_size=size,
        num_heads=size // 64,
        intermediate_size=4 * size,
        text_layers=layers,
        visual_layers=layers,
        multimodal_layers=layers,
        max_positions=512,
        dropout=0.0,
        attention_dropout=0.0,
        region_layer_norm=False,
        contrast_projection=False,
        grounding_layer=max(1, layers // 2),
        use_phrases=True,
        use_tags=True,
        word_rows=word_rows,
        phrase_rows=phrase_rows,
        region_size=2054,
    )


def random_batch(size: int, a: Architecture, seed: int, full: bool) -> Batch:
    """`full`: padded to the caps, as the plain version has it; else to the longest sample, as our collator does.

    Both hold the same samples."""
    g = np.random.default_rng(seed)
    words, phrases = g.integers(8, 21, size), g.integers(1, 4, size)
    tags, regions = g.integers(8, TAGS - 1, size), g.integers(20, REGIONS + 1, size)
    length = WORDS + PHRASES if full else int((words + phrases).max()) + 2
    width, count = (TAGS, REGIONS) if full else (int(tags.max()) + 2, int(regions.max()))
    text, tag_ids = np.zeros((size, length), np.int64), np.zeros((size, width), np.int64)
    features = np.zeros((size, count, a.region_size), np.float32)
    places = np.zeros((size, PHRASES), np.int64)
    masked: dict[str, list[tuple[int, int, int]]] = {"words": [], "phrases": [], "tags": []}
    for b, (n, m, k, r) in enumerate(zip(words, phrases, tags, regions, strict=True)):
        text[b, : n + 1] = [CLS, *g.integers(FIRST_WORD, a.word_rows, n)]
        text[b, n + 1 : n + m + 2] = [*g.integers(a.word_rows, a.word_rows + a.phrase_rows, m), SEP]
        tag_ids[b, : k + 2] = [CLS, *g.integers(FIRST_WORD, a.word_rows, k), SEP]
        features[b, :r] = g.normal(size=(r, a.region_size))
        places[b, :m] = np.arange(n + 1, n + m + 1)
        for name, ids, first, number, rate, offset in (
            ("words", text, 1, n, 0.15, 0),
            ("phrases", text, n + 1, m, 0.15, a.word_rows),
            ("tags", tag_ids, 1, k, 0.25, 0),
        ):
            for p in first + np.flatnonzero(g.random(number) < rate):
                masked[name].append((b, int(p), int(ids[b, p]) - offset))
                ids[b, p] = MASK

    def valid(number: np.ndarray, of: int) -> Tensor:
        return torch.from_numpy(np.arange(of) < number[:, None])

    batch = Batch(
        text_ids_BL=torch.from_numpy(text),
        text_mask_BL=valid(words + phrases + 2, length),
        tag_ids_BT=torch.from_numpy(tag_ids),
        tag_mask_BT=valid(tags + 2, width),
        regions_BRF=torch.from_numpy(features),
        region_mask_BR=valid(regions, count),
        phrase_positions_BP=torch.from_numpy(places),
        phrase_mask_BP=torch.from_numpy(places > 0),
        image_B=torch.arange(size),
        text_B=torch.arange(size),
        words=_targets(masked["words"]),
        phrases=_targets(masked["phrases"]),
        tags=_targets(masked["tags"]),
    )
    return add_negative_noise(batch, Draw(seed, 0, slice(0, size), size, 0, 1))


def _targets(found: list[tuple[int, int, int]]) -> Targets:
    sample, position, label = torch.tensor(found or np.zeros((0, 3)), dtype=torch.int64).reshape(-1, 3).T
    return Targets(sample, position, label, torch.arange(len(found)))


class Plain(nn.Module):
    """The same weights and losses as plain PyTorch has them: nothing packed, nothing gathered, two multimodal calls."""

    def __init__(self, model: Mvptr, losses: tuple[str, ...]) -> None:
        super().__init__()
        self.model, self.losses = model, losses

    def forward(self, batch: Batch) -> dict[str, LossSum]:
        m = self.model
        assert batch.words is not None and batch.phrases is not None and batch.tags is not None
        s = m.unimodal(batch)
        text, image = m.contrast_vectors(s)
        found = {
            "mcr_visual": _over_all(m.tag_logits, s.tags_BTD, batch.tags, mcr),
            "mcr_text": _over_all(m.phrase_logits, s.text_BLD, batch.phrases, mcr),
            "vsc": vsc(text, image, m.scale(), batch.image_B, batch.text_B, None, None),
        }
        if "mlm" not in self.losses:
            return found
        assert batch.gumbel_2BG is not None and batch.replace_image_B is not None
        coarse = m.scale() * similarity(text, image)
        text_B, image_B, valid_B, _ = hard_negatives(
            coarse, batch.image_B, batch.text_B, batch.gumbel_2BG, batch.replace_image_B, None
        )
        masks = batch.text_mask_BL, batch.region_mask_BR
        pairs = [
            m.multimodal(s.text_BLD, masks[0], s.regions_BRD, masks[1]),
            m.multimodal(s.text_BLD[text_B], masks[0][text_B], s.regions_BRD[image_B], masks[1][image_B]),
        ]
        size, length = len(batch), batch.text_ids_BL.shape[1]
        found["mlm"] = _over_all(m.mlm_logits, pairs[0][-1][:, :length], batch.words, lambda x, y, *_: mlm(x, y))
        logits = torch.cat([m.itm_logits(p[-1]) for p in pairs])
        matched = torch.arange(2 * size, device=logits.device) < size
        found["itm"] = itm(logits, matched, torch.cat([torch.ones_like(valid_B), valid_B]))
        scores = []
        for p, regions in zip(pairs, (masks[1], masks[1][image_B]), strict=True):
            x = p[m.architecture.grounding_layer - 1]
            at = batch.phrase_positions_BP[..., None].expand(-1, -1, x.shape[-1])
            scores.append(s_wpg(x.gather(1, at), batch.phrase_mask_BP, x[:, length:], regions))
        kept = batch.replace_image_B & valid_B & batch.phrase_mask_BP.any(1)
        found["wpg"] = wpg(scores[0], scores[1], kept)
        return found


def _over_all(
    head: Callable[[Tensor], Tensor], states_BND: Tensor, t: Targets, loss: Callable[..., LossSum]
) -> LossSum:
    """The head on every position; its logits picked where they are needed."""
    return loss(t.gather(head(states_BND)), t.label_M, t.concept_M, t.sample_M)


@contextmanager
def plain_torch() -> Iterator[None]:
    """The model's modules without what makes them fast: padding stays, torch's products, each reader of the table for
    itself."""
    with (
        mock.patch.object(Packing, "of", lambda mask: None),
        mock.patch.object(products, "one_dnn_wins", lambda: False),
        mock.patch.object(Tied, "read", lambda t, ids, words: Tied(F.embedding(ids, t), t[:words], t[words:])),
    ):
        yield
