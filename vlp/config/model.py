"""The model (paper 3.2, 3.3, A.2.1) and the masks."""

from typing import Literal

from pydantic import Field

from vlp.config.base import Part


class Model(Part):
    method: Literal["mvptr"] = "mvptr"
    fusion: Literal["separate", "merged"] = "separate"
    """merged: one transformer over words, phrases, regions and tags instead of three encoders (paper 4.5.1, Table 4);
    needs `text_layers` and `visual_layers` 0. The paper leaves it open without VSC: see docs/divergences.md."""
    hidden_size: int = 768
    num_heads: int = 12
    intermediate_size: int = 3072
    text_layers: int = 6
    visual_layers: int = 6
    multimodal_layers: int = 6
    max_positions: int = 512
    dropout: float = Field(default=0.1, ge=0, lt=1)
    attention_dropout: float = Field(default=0.1, ge=0, lt=1)
    region_layer_norm: bool = False
    """LayerNorm after the region projection; the release decides by script (reference 1.2)."""
    contrast_projection: bool = False
    """The release's extra projections of the [CLS] states; the paper has none (3.3.1)."""
    grounding_layer: int = Field(default=3, ge=1)
    """WPG sees the output of this multimodal layer, counted from 1 (paper 3.3.2: the 3rd of 6)."""
    init_from: str | None = None
    """A BERT directory, or `package:NAME`, for the first/last half of its layers and its embeddings."""
    use_phrases: bool = True
    use_tags: bool = True


class Masking(Part):
    """Paper 3.2.1, 3.3.4, 4.1; 80/10/10 as in BERT."""

    words: float = Field(default=0.15, ge=0, lt=1)
    phrases: float = Field(default=0.15, ge=0, lt=1)
    tags: float = Field(default=0.25, ge=0, lt=1)
