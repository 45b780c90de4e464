"""MVPTR: separate text and visual encoders, then a multimodal encoder (paper 3.1-3.3)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from vlp.methods.mvptr.batch import Batch, Images, Texts
from vlp.methods.mvptr.tied import Tied
from vlp.models.layers import LAYER_NORM_EPS, Encoder, VocabularyHead, initialise
from vlp.models.products import Linear

MAX_LOGIT_SCALE = math.log(100.0)


Head = Literal["vqa", "entailment", "classes", "referring"]
"""classes: of a task with a list of classes of its own."""


class Architecture(BaseModel):
    """All that is needed to build the module: `config.json` of a model directory."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str = "mvptr"
    fusion: Literal["separate", "merged"] = "separate"
    """merged: no unimodal encoders, one transformer over {w, c, r, t} (the row "merged attention" of Table 4)."""
    hidden_size: int
    num_heads: int
    intermediate_size: int
    text_layers: int
    visual_layers: int
    multimodal_layers: int
    max_positions: int
    dropout: float
    attention_dropout: float
    region_layer_norm: bool
    contrast_projection: bool
    grounding_layer: int
    use_phrases: bool
    use_tags: bool
    word_rows: int
    """Rows of the word pieces; phrase rows follow in the same table."""
    phrase_rows: int
    region_size: int
    """D + 6 of the region store."""
    region_norm_eps: float = LAYER_NORM_EPS
    tied_decoders: bool = True
    """False: MLM and tag head own their tables, as the release's checkpoints may (reference 1.8)."""
    qa_head_size: int = 0
    """Rows of the release's `qa_head`, carried along for export; no loss uses it (reference 1.7)."""
    head: Head | None = None
    head_size: int = 0


@dataclass(frozen=True)
class Unimodal:
    """Last states of both unimodal encoders; `regions_BRD` is the region part of the visual sequence.

    With merged attention there are no unimodal encoders: these are the embedded inputs.
    """

    text_BLD: Tensor
    visual_BND: Tensor
    regions_BRD: Tensor
    tags_BTD: Tensor
    table: Tied


class Mvptr(nn.Module):
    """Text sequence `[CLS] w c [SEP]`, visual sequence `[CLS] t [SEP] r`, multimodal sequence: text then regions.

    Tags stay out of the multimodal input, or MLM could copy them (paper 3.3.1); merged attention has them last.
    """

    def __init__(self, a: Architecture) -> None:
        super().__init__()
        self.build(a)

    def build(self, a: Architecture) -> None:
        """Make the modules; apart from `__init__`, so that the class can be joined with transformers' (auto.py)."""
        if a.fusion == "merged" and (a.text_layers or a.visual_layers):
            raise ValueError("merged attention has no unimodal layers: set text_layers and visual_layers to 0")
        self.architecture = a
        d = a.hidden_size
        self.embeddings = nn.Embedding(a.word_rows + a.phrase_rows, d)
        self.positions = nn.Embedding(a.max_positions, d)
        self.types = nn.Embedding(2, d)
        self.embedding_norm = nn.LayerNorm(d, eps=LAYER_NORM_EPS)
        self.region_projection = Linear(a.region_size, d)
        self.region_norm = nn.LayerNorm(d, eps=a.region_norm_eps) if a.region_layer_norm else nn.Identity()
        self.dropout = nn.Dropout(a.dropout)
        shape = (d, a.num_heads, a.intermediate_size, a.dropout, a.attention_dropout)
        self.text_encoder = Encoder(a.text_layers, *shape)
        self.visual_encoder = Encoder(a.visual_layers, *shape)
        self.multimodal_encoder = Encoder(a.multimodal_layers, *shape)
        self.pooler = Linear(d, d)
        self.mlm_head = VocabularyHead(d, a.word_rows, own_table=not a.tied_decoders)
        self.tag_head = VocabularyHead(d, a.word_rows, own_table=not a.tied_decoders)
        self.phrase_head = VocabularyHead(d, a.phrase_rows)
        self.itm_head = Linear(d, 2)
        self.text_projection = Linear(d, d, bias=False) if a.contrast_projection else nn.Identity()
        self.visual_projection = Linear(d, d, bias=False) if a.contrast_projection else nn.Identity()
        # One element, not none: DeepSpeed cannot broadcast a parameter without dimensions.
        self.logit_scale = nn.Parameter(torch.full((1,), math.log(1 / 0.07)))
        if a.qa_head_size:
            self.qa_head = Linear(d, a.qa_head_size)
        # Of a task: all under one name, so that what is a head is told by its place.
        self.head = nn.ModuleDict()
        if a.head == "vqa":
            self.head["vqa"] = VocabularyHead(d, a.head_size, own_table=True)
        elif a.head == "entailment":
            self.head["entailment"] = Linear(d, 3)
        elif a.head == "classes":
            self.head["classes"] = Linear(d, a.head_size)
        elif a.head == "referring":
            self.head["referring"] = Linear(d, 1)
        initialise(self)

    @property
    def merged(self) -> bool:
        return self.architecture.fusion == "merged"

    @property
    def word_rows(self) -> int:
        return self.architecture.word_rows

    @property
    def phrase_rows(self) -> int:
        return self.architecture.phrase_rows

    # -- inputs -----------------------------------------------------------------------------------------------
    def _read(self, *ids: Tensor) -> tuple[Tied, list[Tensor]]:
        """The table, and the rows [B,L,D] of each of `ids` [B,L]."""
        flat = torch.cat([i.flatten() for i in ids])
        table = Tied.read(self.embeddings.weight, flat, self.architecture.word_rows)
        parts = table.embedded_ND.split([i.numel() for i in ids])
        return table, [rows.unflatten(0, i.shape) for rows, i in zip(parts, ids, strict=True)]

    def _embed(self, ids_BL: Tensor, kind: int, rows_BLD: Tensor | None = None) -> Tensor:
        """`rows_BLD`: of the ids, where they were read with others."""
        rows = self.embeddings(ids_BL) if rows_BLD is None else rows_BLD
        x = rows + self.positions.weight[: ids_BL.shape[1]] + self.types.weight[kind]
        return self.dropout(self.embedding_norm(x))

    def encode_text(self, batch: Batch | Texts, rows_BLD: Tensor | None = None) -> Tensor:
        """States [B,L,D] of `[CLS] words phrases [SEP]`."""
        return self.text_encoder(self._embed(batch.text_ids_BL, 0, rows_BLD), batch.text_mask_BL)[-1]

    def _embed_image(self, batch: Batch | Images, rows_BTD: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """`[CLS] tags [SEP] | regions` and its mask; regions have no position and no type (reference 1.2)."""
        tags = self._embed(batch.tag_ids_BT, 1, rows_BTD)
        features = batch.regions_BRF.to(self.region_projection.weight.dtype)  # float32 as read, whatever the precision
        regions = self.dropout(self.region_norm(self.region_projection(features)))
        return torch.cat([tags, regions], 1), torch.cat([batch.tag_mask_BT, batch.region_mask_BR], 1)

    def encode_image(self, batch: Batch | Images, rows_BTD: Tensor | None = None) -> Tensor:
        """States [B,T+R,D] of `[CLS] tags [SEP] | regions`."""
        return self.visual_encoder(*self._embed_image(batch, rows_BTD))[-1]

    def unimodal(self, batch: Batch) -> Unimodal:
        table, (text, tags) = self._read(batch.text_ids_BL, batch.tag_ids_BT)
        visual, num_tags = self.encode_image(batch, tags), batch.tag_ids_BT.shape[1]
        return Unimodal(self.encode_text(batch, text), visual, visual[:, num_tags:], visual[:, :num_tags], table)

    def multimodal(
        self,
        text_BLD: Tensor,
        text_mask_BL: Tensor,
        regions_BRD: Tensor,
        region_mask_BR: Tensor,
        tags_BTD: Tensor | None = None,
        tag_mask_BT: Tensor | None = None,
        *,
        cls_only: bool = False,
    ) -> list[Tensor]:
        """States after each multimodal layer: text positions, regions and, with merged attention only, tags."""
        sequence = self._join(text_BLD, text_mask_BL, regions_BRD, region_mask_BR, tags_BTD, tag_mask_BT)
        return self.multimodal_encoder(*sequence, cls_only)

    def _join(
        self,
        text_BLD: Tensor,
        text_mask_BL: Tensor,
        regions_BRD: Tensor,
        region_mask_BR: Tensor,
        tags_BTD: Tensor | None,
        tag_mask_BT: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        states, masks = [text_BLD, regions_BRD], [text_mask_BL, region_mask_BR]
        if self.merged:
            assert tags_BTD is not None and tag_mask_BT is not None, "merged attention reads the tags"
            states.append(tags_BTD)
            masks.append(tag_mask_BT)
        return torch.cat(states, 1), torch.cat(masks, 1)

    def joint(self, batch: Batch, *, cls_only: bool = False, states: Unimodal | None = None) -> list[Tensor]:
        """Multimodal states [B,L+R(+T),D] of the batch's own pairs, after each layer.

        Args:
            states: those of the unimodal encoders, where they are known.
        """
        s = self.unimodal(batch) if states is None else states
        masks = batch.text_mask_BL, batch.region_mask_BR, batch.tag_mask_BT
        return self.multimodal(s.text_BLD, masks[0], s.regions_BRD, masks[1], s.tags_BTD, masks[2], cls_only=cls_only)

    def parted(self, joint_BND: Tensor, batch: Batch, table: Tied) -> Unimodal:
        """Merged attention: the last states taken apart as those of unimodal encoders are."""
        length, end = batch.text_ids_BL.shape[1], batch.text_ids_BL.shape[1] + batch.regions_BRF.shape[1]
        regions, tags = joint_BND[:, length:end], joint_BND[:, end:]
        return Unimodal(joint_BND[:, :length], torch.cat([tags, regions], 1), regions, tags, table)

    @torch.no_grad()
    def attention_maps(self, batch: Batch, states: Unimodal | None = None) -> dict[str, list[Tensor]]:
        """Maps [B,H,L,L] of each layer of `text`, `visual` and `multimodal`, in the order of their sequences.

        Args:
            states: what `unimodal(batch)` gave, where it is known.
        """
        s, (image, image_mask) = self.unimodal(batch) if states is None else states, self._embed_image(batch)
        masks = batch.text_mask_BL, batch.region_mask_BR, batch.tag_mask_BT
        joined = self._join(s.text_BLD, masks[0], s.regions_BRD, masks[1], s.tags_BTD, masks[2])
        return {
            "text": self.text_encoder.attentions(self._embed(batch.text_ids_BL, 0), masks[0]),
            "visual": self.visual_encoder.attentions(image, image_mask),
            "multimodal": self.multimodal_encoder.attentions(*joined),
        }

    # -- read-outs --------------------------------------------------------------------------------------------
    def contrast_vectors(self, states: Unimodal) -> tuple[Tensor, Tensor]:
        """L2-normalised global vectors of texts and images, [B,D] each (paper 3.3.1)."""
        text = F.normalize(self.text_projection(states.text_BLD[:, 0]), dim=-1)
        return text, F.normalize(self.visual_projection(states.visual_BND[:, 0]), dim=-1)

    def scale(self) -> Tensor:
        """1/tau, clamped to [1, 100] (ours: neither paper nor release bounds it)."""
        return self.logit_scale.clamp(0.0, MAX_LOGIT_SCALE).exp()

    def pooled(self, multimodal_BND: Tensor) -> Tensor:
        return torch.tanh(self.pooler(multimodal_BND[:, 0]))

    def itm_logits(self, multimodal_BND: Tensor) -> Tensor:
        """[B,2]: class 0 = match, 1 = no match, as in the release (reference 1.7)."""
        return self.itm_head(self.dropout(self.pooled(multimodal_BND)))

    def mlm_logits(self, x_MD: Tensor, table: Tied | None = None) -> Tensor:
        """`table`: as the same step has read it (`Unimodal`), so that there is one gradient of it."""
        return self.mlm_head(x_MD, self._words(table))

    def tag_logits(self, x_MD: Tensor, table: Tied | None = None) -> Tensor:
        return self.tag_head(x_MD, self._words(table))

    def phrase_logits(self, x_MD: Tensor, table: Tied | None = None) -> Tensor:
        own = self.embeddings.weight[self.architecture.word_rows :] if table is None else table.phrases_VD
        return self.phrase_head(x_MD, own)

    def _words(self, table: Tied | None) -> Tensor:
        return self.embeddings.weight[: self.architecture.word_rows] if table is None else table.words_VD

    def answer_logits(self, multimodal_BND: Tensor) -> Tensor:
        """[B, answers] from the joint [CLS] state (paper 4.2.2, A.3.2)."""
        return self.head["vqa"](self.dropout(multimodal_BND[:, 0]))

    def class_logits(self, multimodal_BND: Tensor) -> Tensor:
        """[B, classes] from the pooled joint [CLS] state: of entailment (reference 5.3), or of a task's own classes."""
        assert self.architecture.head in ("entailment", "classes")
        return self.head[self.architecture.head](self.dropout(self.pooled(multimodal_BND)))

    def referring_logits(self, multimodal_BND: Tensor, length: int, regions: int) -> Tensor:
        """[B,R] from each region's state: the release's `mod 3` (reference 5.4)."""
        return self.head["referring"](self.dropout(multimodal_BND[:, length : length + regions]))[..., 0]

    def referring_similarity(self, multimodal_BND: Tensor, length: int, regions: int) -> Tensor:
        """Cosine [B,R] of the text's [CLS] state with each region: the release's `mod 1` (reference 5.4)."""
        x = F.normalize(self.dropout(multimodal_BND), dim=-1)
        return (x[:, length : length + regions] @ x[:, :1].transpose(1, 2))[..., 0]


def set_dropout(module: nn.Module, hidden: float) -> None:
    """Change the hidden dropout everywhere; attention dropout stays (reference 1.1)."""
    for m in module.modules():
        if isinstance(m, nn.Dropout):
            m.p = hidden
