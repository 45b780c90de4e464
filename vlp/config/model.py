"""The model (paper 3.2, 3.3, A.2.1) and the masks."""

from typing import Literal

from pydantic import Field

from vlp.config.base import Part, stated


class Model(Part):
    method: Literal["mvptr"] = Field(default="mvptr", json_schema_extra=stated("paper 3"))
    fusion: Literal["separate", "merged"] = Field(default="separate", json_schema_extra=stated("paper 3"))
    """merged: one transformer over words, phrases, regions and tags instead of three encoders (paper 4.5.1, Table 4);
    needs `text_layers` and `visual_layers` 0 and losses without `vsc`."""
    hidden_size: int = Field(default=768, json_schema_extra=stated("paper A.2.1"))
    num_heads: int = Field(default=12, json_schema_extra=stated("paper A.2.1"))
    intermediate_size: int = Field(default=3072, json_schema_extra=stated("paper A.2.1"))
    text_layers: int = Field(default=6, json_schema_extra=stated("paper 4.1"))
    visual_layers: int = Field(default=6, json_schema_extra=stated("paper 4.1"))
    multimodal_layers: int = Field(default=6, json_schema_extra=stated("paper 4.1"))
    max_positions: int = Field(default=512, json_schema_extra=stated("released"))
    dropout: float = Field(default=0.1, ge=0, lt=1, json_schema_extra=stated("paper A.2.2"))
    attention_dropout: float = Field(default=0.1, ge=0, lt=1, json_schema_extra=stated("paper A.2.2"))
    region_layer_norm: bool = Field(default=False, json_schema_extra=stated("released"))
    """LayerNorm after the region projection; the release decides by script (reference 1.2)."""
    contrast_projection: bool = Field(default=False, json_schema_extra=stated("paper 3.3.1"))
    """The release's extra projections of the [CLS] states; the paper has none (3.3.1)."""
    grounding_layer: int = Field(default=3, ge=1, json_schema_extra=stated("paper 3.3.2"))
    """WPG sees the output of this multimodal layer, counted from 1 (paper 3.3.2: the 3rd of 6)."""
    init_from: str | None = None
    """A BERT directory, or `package:NAME`, for the first/last half of its layers and its embeddings."""
    use_phrases: bool = Field(default=True, json_schema_extra=stated("paper 3.1.1"))
    use_tags: bool = Field(default=True, json_schema_extra=stated("paper 3.1.2"))


class Masking(Part):
    """Paper 3.2.1, 3.3.4, 4.1; 80/10/10 as in BERT."""

    words: float = Field(default=0.15, ge=0, lt=1, json_schema_extra=stated("paper 3.2.1"))
    phrases: float = Field(default=0.15, ge=0, lt=1, json_schema_extra=stated("paper 3.2.1"))
    tags: float = Field(default=0.25, ge=0, lt=1, json_schema_extra=stated("paper 3.2.1"))
