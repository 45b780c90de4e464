"""What one optimiser step computes: each module maps a batch to named losses (sum and count)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlp.methods.mvptr import counts, flops
from vlp.methods.mvptr.batch import Batch
from vlp.methods.mvptr.flops import Sizes
from vlp.methods.mvptr.model import Mvptr, Unimodal
from vlp.methods.mvptr.objectives import Masked, Pending, mcr_cost, mcr_loss, s_wpg, wpg
from vlp.models.layers import Layer
from vlp.objectives import LossSum, answers, grounding, hard_negatives, itm, labels, mlm, similarity
from vlp.objectives import (
    contrast as vsc,
)
from vlp.training.contrast import Cached, Identity


class Pairs(NamedTuple):
    """B matched pairs, then B hard negatives, then E texts with a further hard image, in one multimodal pass."""

    layers: list[Tensor]
    """States [2B+E,L+R(+T),D] after each layer."""
    rest_E: Tensor
    """The texts that got a further hard image."""
    region_mask_NR: Tensor
    matched_B: Tensor
    """The pair is one: its text describes its image."""
    valid_B: Tensor
    """The negative is one: the batch had another image and text to draw."""


def matched_and_negative(
    m: Mvptr, batch: Batch, states: Unimodal, coarse_BB: Tensor | None, cls_only: bool, every_text: bool = False
) -> Pairs:
    """Encode the batch's pairs and one hard negative for each (paper 3.3.2, 3.3.3).

    Args:
        coarse_BB: U / tau; None draws the negatives uniformly.
        every_text: texts whose negative is another text are encoded with a hard image too.
    """
    assert batch.gumbel_2BG is not None and batch.replace_image_B is not None and batch.hardness is not None
    coarse_BB = None if coarse_BB is None else batch.hardness * coarse_BB
    text_N, image_N, valid, hard_image = hard_negatives(
        coarse_BB, batch.image_B, batch.text_B, batch.gumbel_2BG, batch.replace_image_B, batch.matchable_B
    )
    # Those without a replaced image come first; how many there are is known, so the host need not ask the device.
    rest = torch.argsort(batch.replace_image_B.to(torch.int8), stable=True)[: len(batch) // 2 if every_text else 0]
    text_N, image_N = torch.cat([text_N, rest]), torch.cat([image_N, hard_image[rest]])
    regions = torch.cat([states.regions_BRD, states.regions_BRD[image_N]])
    region_mask = torch.cat([batch.region_mask_BR, batch.region_mask_BR[image_N]])
    text = torch.cat([states.text_BLD, states.text_BLD[text_N]])
    text_mask = torch.cat([batch.text_mask_BL, batch.text_mask_BL[text_N]])
    tags = torch.cat([states.tags_BTD, states.tags_BTD[image_N]]) if m.merged else None
    tag_mask = torch.cat([batch.tag_mask_BT, batch.tag_mask_BT[image_N]]) if m.merged else None
    layers = m.multimodal(text, text_mask, regions, region_mask, tags, tag_mask, cls_only=cls_only)
    matched = torch.ones_like(valid) if batch.matchable_B is None else batch.matchable_B
    return Pairs(layers, rest, region_mask, matched, valid)


def contrastive(
    m: Mvptr, batch: Batch, text_BD: Tensor, image_BD: Tensor, group: int | None, cached: Cached | None
) -> LossSum:
    """L_vsc (eq. 5) over the micro-batches that ranks work on at the same time, or with `cached` over all."""
    if cached is not None:
        return cached.loss(text_BD, image_BD, m.scale())
    return vsc(text_BD, image_BD, m.scale(), batch.image_B, batch.text_B, group, batch.matchable_B)


def matching_loss(m: Mvptr, pairs: Pairs) -> LossSum:
    size = len(pairs.valid_B)
    matched = torch.arange(2 * size, device=pairs.valid_B.device) < size
    return itm(m.itm_logits(pairs.layers[-1][: 2 * size]), matched, torch.cat([pairs.matched_B, pairs.valid_B]))


def grounding_loss(m: Mvptr, batch: Batch, pairs: Pairs) -> LossSum:
    """L_wpg, anchor-aligned: only a negative that keeps the text has the phrases of the text's own pair."""
    assert batch.replace_image_B is not None
    size, length, rest = len(batch), batch.text_ids_BL.shape[1], pairs.rest_E
    x = pairs.layers[m.architecture.grounding_layer - 1]
    regions = x[:, length : length + batch.regions_BRF.shape[1]]
    # Where a text was replaced, its pair is read at the anchor's phrases and then left out.
    positions, mask = (torch.cat([p, p, p[rest]]) for p in (batch.phrase_positions_BP, batch.phrase_mask_BP))
    at = positions[..., None].expand(-1, -1, x.shape[-1])
    score_N = s_wpg(x.gather(1, at), mask, regions, pairs.region_mask_NR)
    negative_B = score_N[size : 2 * size].index_copy(0, rest, score_N[2 * size :])
    kept_B = batch.replace_image_B.index_fill(0, rest, True)
    return wpg(score_N[:size], negative_B, kept_B & pairs.valid_B & batch.phrase_mask_BP.any(1))


class Step(nn.Module):
    """What the steps share."""

    leaves = (Layer,)
    """What a layer calls itself depends on its batch (padding is removed where there is some)."""
    leading = flops.LEADING

    def __init__(self, model: Mvptr) -> None:
        super().__init__()
        self.model = model

    def sizes(self, batch: Batch, padded: bool = False) -> Sizes:
        return Sizes.of(batch, padded)


class ContrastStep(Step, ABC):
    """L_vsc is among its losses (`vlp/training/contrast.py: Contrasting`).

    Args:
        contrast_group: see `vsc`.
    """

    def __init__(self, model: Mvptr, contrast_group: int | None = None) -> None:
        super().__init__(model)
        self.contrast_group = contrast_group

    @property
    @abstractmethod
    def contrasts(self) -> bool: ...

    def vectors(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return self.model.contrast_vectors(self.model.unimodal(batch))

    def identity(self, batch: Batch) -> Identity:
        return Identity(batch.image_B, batch.text_B, batch.matchable_B)

    def scale(self) -> Tensor:
        return self.model.scale()

    def logged(self, together: int) -> dict[str, float]:
        return {"vsc_negatives": float((self.contrast_group or together) - 1)} if self.contrasts else {}


class PretrainingStep(ContrastStep):
    """Stage 1 (eq. 10) and stage 2 (eq. 11): one pass, all losses see the masked input.

    Which loss reads what is data: `vlp.methods.mvptr.objectives.table`.

    Args:
        wpg_negatives: `replaced`: WPG uses the ITM negatives that keep the text; `all`: each text gets a hard image.
    """

    def __init__(
        self,
        model: Mvptr,
        losses: Collection[str],
        contrast_group: int | None = None,
        wpg_negatives: Literal["replaced", "all"] = "replaced",
    ) -> None:
        super().__init__(model, contrast_group)
        self.names, self.wpg_negatives = frozenset(losses), wpg_negatives
        if not self.cross_modal and not model.merged:
            # Stage 1 does not train the multimodal part; without gradients it costs no optimizer state either.
            for part in (model.multimodal_encoder, model.pooler, model.itm_head, model.mlm_head):
                part.requires_grad_(False)

    @property
    def cross_modal(self) -> bool:
        return bool(self.names & {"mlm", "itm", "wpg"})

    @property
    def contrasts(self) -> bool:
        return "vsc" in self.names and not self.model.merged

    def counts(self, batch: Batch) -> dict[str, int]:
        found, names = {}, self.names
        if "mcr_visual" in names and batch.tags is not None:
            found["mcr_visual"] = counts.concepts(batch.tags)
        if "mcr_text" in names and batch.phrases is not None and self.model.architecture.phrase_rows:
            found["mcr_text"] = counts.concepts(batch.phrases)
        if self.contrasts:
            found["vsc"] = counts.matchable(batch)
        if "mlm" in names and batch.words is not None:
            found["mlm"] = len(batch.words.label_M)
        if "itm" in names:
            found["itm"] = counts.matching(batch)
        if "wpg" in names:
            found["wpg"] = counts.anchored(batch, self.wpg_negatives == "all")
        return found

    def forward(self, batch: Batch, cached: Cached | None = None) -> dict[str, LossSum]:
        """`cached`: the gradients of VSC over all micro-batches, in the place of VSC within this one."""
        m = self.model
        states = m.unimodal(batch)
        if m.merged:
            return self._merged(batch, states)
        # What the matching needs travels to the host while the device goes on with the other losses.
        pending, found, coarse = self._recover(batch, states), {}, None
        if "vsc" in self.names:
            text, image = m.contrast_vectors(states)
            found["vsc"] = contrastive(m, batch, text, image, self.contrast_group, cached)
            coarse = m.scale() * similarity(text, image)
        if self.cross_modal:
            found |= self._cross_modal(batch, states, self._pairs(batch, states, coarse))
        return {name: mcr_loss(p) for name, p in pending.items()} | found

    def forward_flops(self, sizes: Sizes, global_size: int) -> dict[str, float]:
        every_text = self.wpg_negatives == "all"
        return flops.pretraining(
            self.model.architecture, sizes, self.names, self.contrast_group or global_size, every_text
        )

    def _merged(self, batch: Batch, embedded: Unimodal) -> dict[str, LossSum]:
        """One encoder over all inputs: concepts are recovered from the last states of the matched pairs."""
        pairs = self._pairs(batch, embedded, None) if self.cross_modal else None
        last = self.model.joint(batch)[-1] if pairs is None else pairs.layers[-1][: len(batch)]
        pending = self._recover(batch, self.model.parted(last, batch, embedded.table))
        found = {} if pairs is None else self._cross_modal(batch, embedded, pairs)
        return {name: mcr_loss(p) for name, p in pending.items()} | found

    def _recover(self, batch: Batch, states: Unimodal) -> dict[str, Pending]:
        """Predictions of the masked tags and phrases, and the start of their matching."""
        m, masked = self.model, dict[str, Masked]()
        if "mcr_visual" in self.names and batch.tags is not None:
            t = batch.tags
            logits = m.tag_logits(t.gather(states.tags_BTD), states.table)
            masked["mcr_visual"] = Masked(logits, t.label_M, t.concept_M, t.sample_M)
        if "mcr_text" in self.names and batch.phrases is not None and m.architecture.phrase_rows:
            t = batch.phrases
            logits = m.phrase_logits(t.gather(states.text_BLD), states.table)
            masked["mcr_text"] = Masked(logits, t.label_M, t.concept_M, t.sample_M)
        return dict(zip(masked, mcr_cost(*masked.values()), strict=True))

    def _pairs(self, batch: Batch, states: Unimodal, coarse: Tensor | None) -> Pairs:
        every_text = "wpg" in self.names and self.wpg_negatives == "all"
        cls_only = not self.names & {"mlm", "wpg"} and not self.model.merged
        return matched_and_negative(self.model, batch, states, coarse, cls_only, every_text)

    def _cross_modal(self, batch: Batch, states: Unimodal, pairs: Pairs) -> dict[str, LossSum]:
        m, names, found = self.model, self.names, {}
        if "mlm" in names and batch.words is not None:
            last = pairs.layers[-1][: len(batch)]
            found["mlm"] = mlm(m.mlm_logits(batch.words.gather(last), states.table), batch.words.label_M)
        if "itm" in names:
            found["itm"] = matching_loss(m, pairs)
        if "wpg" in names:
            found["wpg"] = grounding_loss(m, batch, pairs)
        return found


class RetrievalStep(ContrastStep):
    """L_vsc + L_itm (paper 4.2.1); with merged attention L_itm alone, its negatives drawn uniformly."""

    def forward_flops(self, sizes: Sizes, global_size: int) -> dict[str, float]:
        losses = ("itm",) if self.model.merged else ("vsc", "itm")
        return flops.pretraining(self.model.architecture, sizes, losses, self.contrast_group or global_size)

    @property
    def contrasts(self) -> bool:
        return not self.model.merged

    def counts(self, batch: Batch) -> dict[str, int]:
        found = {"vsc": counts.matchable(batch)} if self.contrasts else {}
        return found | {"itm": counts.matching(batch)}

    def forward(self, batch: Batch, cached: Cached | None = None) -> dict[str, LossSum]:
        """`cached`: see `PretrainingStep`."""
        m, states = self.model, self.model.unimodal(batch)
        if m.merged:
            return {"itm": matching_loss(m, matched_and_negative(m, batch, states, None, cls_only=True))}
        text, image = m.contrast_vectors(states)
        coarse = m.scale() * similarity(text, image)
        pairs = matched_and_negative(m, batch, states, coarse, cls_only=True)
        return {
            "vsc": contrastive(m, batch, text, image, self.contrast_group, cached),
            "itm": matching_loss(m, pairs),
        }


class VqaStep(Step):
    def forward_flops(self, sizes: Sizes, global_size: int) -> dict[str, float]:
        return flops.classification(self.model.architecture, sizes, self.model.architecture.head_size)

    def counts(self, batch: Batch) -> dict[str, int]:
        return {"answers": len(batch)}

    def forward(self, batch: Batch) -> dict[str, LossSum]:
        assert batch.scores_BA is not None
        return {
            "answers": answers(self.model.answer_logits(self.model.joint(batch, cls_only=True)[-1]), batch.scores_BA)
        }


class ClassesStep(Step):
    def forward_flops(self, sizes: Sizes, global_size: int) -> dict[str, float]:
        return flops.classification(self.model.architecture, sizes, self.model.architecture.head_size or 3)

    def counts(self, batch: Batch) -> dict[str, int]:
        return {"labels": len(batch)}

    def forward(self, batch: Batch) -> dict[str, LossSum]:
        assert batch.labels_B is not None
        return {"labels": labels(self.model.class_logits(self.model.joint(batch, cls_only=True)[-1]), batch.labels_B)}


def span_similarity(states_BND: Tensor, length: int, span_mask_BGL: Tensor, region_mask_BR: Tensor) -> Tensor:
    """Cosine [B,G,R] of the mean state of each phrase's positions and each region (paper 4.2.3)."""
    weights = span_mask_BGL.to(states_BND.dtype)
    phrase_BGD = (weights @ states_BND[:, :length]) / weights.sum(-1, keepdim=True).clamp(min=1.0)
    regions_BRD = states_BND[:, length : length + region_mask_BR.shape[1]]
    cosine = F.normalize(phrase_BGD, dim=-1) @ F.normalize(regions_BRD, dim=-1).transpose(1, 2)
    return cosine.masked_fill(~region_mask_BR[:, None], -torch.inf)


class GroundingStep(Step):
    """Similarities regressed to IoU (A.3.4), on the states of one multimodal layer."""

    def __init__(self, model: Mvptr, layer: int, objective: str) -> None:
        super().__init__(model)
        self.layer, self.objective = layer, objective

    def forward_flops(self, sizes: Sizes, global_size: int) -> dict[str, float]:
        return flops.classification(self.model.architecture, sizes, 0, whole_last_layer=True)

    def counts(self, batch: Batch) -> dict[str, int]:
        assert batch.grounded_BG is not None
        return {"grounding": int((batch.grounded_BG[..., None] & batch.region_mask_BR[:, None]).sum())}

    def forward(self, batch: Batch) -> dict[str, LossSum]:
        assert batch.span_mask_BGL is not None and batch.iou_BGR is not None and batch.grounded_BG is not None
        states = self.model.joint(batch)[self.layer - 1]
        cosine = span_similarity(states, batch.text_ids_BL.shape[1], batch.span_mask_BGL, batch.region_mask_BR)
        valid = batch.grounded_BG[..., None] & batch.region_mask_BR[:, None]
        return {"grounding": grounding(cosine.masked_fill(~valid, 0.0), batch.iou_BGR, valid, self.objective)}
