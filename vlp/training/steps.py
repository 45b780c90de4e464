"""What one optimiser step computes: each module maps a batch to named losses (sum and count)."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlp.batching.batch import Batch
from vlp.models.mvptr import Mvptr, Unimodal
from vlp.objectives import (
    LossSum,
    answers,
    grounding,
    hard_negatives,
    itm,
    labels,
    mcr,
    mlm,
    s_wpg,
    similarity,
    vsc,
    wpg,
)


class Pairs(NamedTuple):
    """B matched pairs, then B hard negatives, in one multimodal pass."""

    layers: list[Tensor]
    """States [2B,L+R,D] after each layer."""
    region_mask_NR: Tensor
    valid_B: Tensor
    """The negative is one: another image was in the batch."""


def matched_and_negative(m: Mvptr, batch: Batch, states: Unimodal, coarse_BB: Tensor | None, cls_only: bool) -> Pairs:
    """Encode the batch's pairs and one hard negative for each (paper 3.3.2, 3.3.3); `coarse_BB` = U / tau."""
    assert batch.gumbel_2BG is not None and batch.replace_image_B is not None and batch.hardness is not None
    coarse_BB = None if coarse_BB is None else batch.hardness * coarse_BB
    text_N, image_N, valid = hard_negatives(
        coarse_BB, batch.image_B, batch.text_B, batch.gumbel_2BG, batch.replace_image_B
    )
    regions = torch.cat([states.regions_BRD, states.regions_BRD[image_N]])
    region_mask = torch.cat([batch.region_mask_BR, batch.region_mask_BR[image_N]])
    text = torch.cat([states.text_BLD, states.text_BLD[text_N]])
    text_mask = torch.cat([batch.text_mask_BL, batch.text_mask_BL[text_N]])
    return Pairs(m.multimodal(text, text_mask, regions, region_mask, cls_only), region_mask, valid)


def matching_loss(m: Mvptr, pairs: Pairs) -> LossSum:
    size = len(pairs.valid_B)
    matched = torch.arange(2 * size, device=pairs.valid_B.device) < size
    return itm(m.itm_logits(pairs.layers[-1]), matched, torch.cat([torch.ones_like(pairs.valid_B), pairs.valid_B]))


class PretrainingStep(nn.Module):
    """Stage 1 (eq. 10) and stage 2 (eq. 11): one pass, all losses see the masked input."""

    def __init__(self, model: Mvptr, losses: Collection[str]) -> None:
        super().__init__()
        self.model, self.names = model, frozenset(losses)
        if not self.cross_modal:
            # Stage 1 does not train the multimodal part; without gradients it costs no optimizer state either.
            for part in (model.multimodal_encoder, model.pooler, model.itm_head, model.mlm_head):
                part.requires_grad_(False)

    @property
    def cross_modal(self) -> bool:
        return bool(self.names & {"mlm", "itm", "wpg"})

    def forward(self, batch: Batch) -> dict[str, LossSum]:
        m, names = self.model, self.names
        states = m.unimodal(batch)
        found: dict[str, LossSum] = {}
        if "mcr_visual" in names and batch.tags is not None:
            t = batch.tags
            found["mcr_visual"] = mcr(m.tag_logits(t.gather(states.tags_BTD)), t.label_M, t.concept_M, t.sample_M)
        if "mcr_text" in names and batch.phrases is not None and m.architecture.phrase_rows:
            t = batch.phrases
            found["mcr_text"] = mcr(m.phrase_logits(t.gather(states.text_BLD)), t.label_M, t.concept_M, t.sample_M)
        coarse = None
        if "vsc" in names:
            text, image = m.contrast_vectors(states)
            found["vsc"] = vsc(text, image, m.scale(), batch.image_B, batch.text_B)
            coarse = m.scale() * similarity(text, image)
        if self.cross_modal:
            found.update(self._cross_modal(batch, states, coarse))
        return found

    def _cross_modal(self, batch: Batch, states: Unimodal, coarse: Tensor | None) -> dict[str, LossSum]:
        m, names, found = self.model, self.names, {}
        pairs = matched_and_negative(m, batch, states, coarse, cls_only=not names & {"mlm", "wpg"})
        size, length = len(batch), batch.text_ids_BL.shape[1]
        if "mlm" in names and batch.words is not None:
            found["mlm"] = mlm(m.mlm_logits(batch.words.gather(pairs.layers[-1][:size])), batch.words.label_M)
        if "itm" in names:
            found["itm"] = matching_loss(m, pairs)
        if "wpg" in names:
            x = pairs.layers[m.architecture.grounding_layer - 1]
            at = batch.phrase_positions_BP.repeat(2, 1)[..., None].expand(-1, -1, x.shape[-1])
            score_N = s_wpg(x.gather(1, at), batch.phrase_mask_BP.repeat(2, 1), x[:, length:], pairs.region_mask_NR)
            # Anchor-aligned: only a negative that keeps the text has the anchor's phrases.
            assert batch.replace_image_B is not None
            usable = batch.replace_image_B & pairs.valid_B & batch.phrase_mask_BP.any(1)
            found["wpg"] = wpg(score_N[:size], score_N[size:], usable)
        return found


class RetrievalStep(nn.Module):
    """L_vsc + L_itm (paper 4.2.1)."""

    def __init__(self, model: Mvptr) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch) -> dict[str, LossSum]:
        m, states = self.model, self.model.unimodal(batch)
        text, image = m.contrast_vectors(states)
        coarse = m.scale() * similarity(text, image)
        pairs = matched_and_negative(m, batch, states, coarse, cls_only=True)
        return {
            "vsc": vsc(text, image, m.scale(), batch.image_B, batch.text_B),
            "itm": matching_loss(m, pairs),
        }


def joint(m: Mvptr, batch: Batch, cls_only: bool = True) -> list[Tensor]:
    """Multimodal states of the batch's own pairs, after each layer."""
    s = m.unimodal(batch)
    return m.multimodal(s.text_BLD, batch.text_mask_BL, s.regions_BRD, batch.region_mask_BR, cls_only)


class VqaStep(nn.Module):
    def __init__(self, model: Mvptr) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch) -> dict[str, LossSum]:
        assert batch.scores_BA is not None
        return {"answers": answers(self.model.answer_logits(joint(self.model, batch)[-1]), batch.scores_BA)}


class EntailmentStep(nn.Module):
    def __init__(self, model: Mvptr) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch) -> dict[str, LossSum]:
        assert batch.labels_B is not None
        return {"labels": labels(self.model.entailment_logits(joint(self.model, batch)[-1]), batch.labels_B)}


def span_similarity(states_BND: Tensor, length: int, span_mask_BGL: Tensor, region_mask_BR: Tensor) -> Tensor:
    """Cosine [B,G,R] of the mean state of each phrase's positions and each region (paper 4.2.3)."""
    weights = span_mask_BGL.to(states_BND.dtype)
    phrase_BGD = (weights @ states_BND[:, :length]) / weights.sum(-1, keepdim=True).clamp(min=1.0)
    cosine = F.normalize(phrase_BGD, dim=-1) @ F.normalize(states_BND[:, length:], dim=-1).transpose(1, 2)
    return cosine.masked_fill(~region_mask_BR[:, None], -torch.inf)


class GroundingStep(nn.Module):
    """Similarities regressed to IoU (A.3.4), on the states of one multimodal layer."""

    def __init__(self, model: Mvptr, layer: int, objective: str) -> None:
        super().__init__()
        self.model, self.layer, self.objective = model, layer, objective

    def forward(self, batch: Batch) -> dict[str, LossSum]:
        assert batch.span_mask_BGL is not None and batch.iou_BGR is not None and batch.grounded_BG is not None
        states = joint(self.model, batch, cls_only=False)[self.layer - 1]
        cosine = span_similarity(states, batch.text_ids_BL.shape[1], batch.span_mask_BGL, batch.region_mask_BR)
        valid = batch.grounded_BG[..., None] & batch.region_mask_BR[:, None]
        return {"grounding": grounding(cosine.masked_fill(~valid, 0.0), batch.iou_BGR, valid, self.objective)}
