"""What an experiment of MVPTR sets: the only schema of it (paper 3, 4; A.1, A.2, A.3)."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from vlp.config.base import Part, stated
from vlp.config.experiment import Pretraining as AnyPretraining
from vlp.config.experiment import Reuse as AnyReuse
from vlp.config.experiment import StageFacts
from vlp.config.model import Model as AnyModel
from vlp.config.phrases import WithPhrases
from vlp.config.regions import WithRegions
from vlp.config.tasks import entailment, grounding, referring, retrieval, tasks_with, vqa
from vlp.config.training import Optimisation

Loss = Literal["mcr_visual", "mcr_text", "vsc", "mlm", "itm", "wpg"]


class Model(AnyModel):
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


_LENGTHS = {"lengths": "paper 4.1"}
"""Of pre-training; fine-tuning has its own (A.3)."""


class Lengths(Part):
    """Caps that hold, [CLS] and [SEP] counted in (paper 4.1: 35, 5, 50, 20)."""

    words: int = Field(default=35, ge=3, json_schema_extra=stated(**_LENGTHS))
    phrases: int = Field(default=5, ge=0, json_schema_extra=stated(**_LENGTHS))
    regions: int = Field(default=50, ge=1, json_schema_extra=stated(**_LENGTHS))
    tags: int = Field(default=20, ge=2, json_schema_extra=stated(**_LENGTHS))


class Stage(Optimisation):
    losses: list[Loss]
    wpg_negatives: Literal["replaced", "all"] = Field(default="replaced", json_schema_extra=stated("ours"))
    """replaced: WPG uses the ITM negatives whose image was replaced, so half of the texts; all: every text gets a hard
    image, for a joint encoding of the other half more."""


class Alignment(Part):
    """How well tags and phrases find their regions, texts their images, measured on val while a stage trains; it has
    no effect on the training."""

    every: int = Field(default=500, ge=0, json_schema_extra=stated("ours"))
    """Steps between two measurements; 0: none."""
    images: int = Field(default=64, ge=2, json_schema_extra=stated("ours"))
    """Of val, so many at most."""


class Pretraining(AnyPretraining):
    stage1: Stage | None = None
    """None: one stage only, as merged attention has it."""
    stage2: Stage
    tag_source: Literal["detector", "ground_truth"] = Field(default="detector", json_schema_extra=stated("ours"))
    """ground_truth: an image's annotated classes are its tags, where it is annotated (paper 3.1.2: COCO, OpenImages).
    Tasks always read the detector's."""
    alignment: Alignment = Alignment()


class WithLengths(Part):
    """Of a task."""

    lengths: Lengths | None = Field(default=None, json_schema_extra=stated("assumed"))
    """None: those of pre-training."""


class Retrieval(WithLengths, retrieval.Retrieval):
    pass


class Vqa(WithLengths, vqa.Vqa):
    pass


class Entailment(WithLengths, entailment.Entailment):
    pass


class Grounding(WithLengths, grounding.Grounding):
    objective: Literal["mse", "cross_entropy"] = Field(default="mse", json_schema_extra=stated("paper A.3.4"))
    layer: int = Field(default=3, ge=1)
    """Multimodal layer whose states are compared, counted from 1."""


class Referring(WithLengths, referring.Referring):
    objective: Literal["mse", "cross_entropy"] = Field(default="mse", json_schema_extra=stated("released"))
    layer: int | None = Field(default=None, ge=1, json_schema_extra=stated("assumed"))
    """Multimodal layer whose states are compared, counted from 1; None: the last."""


if TYPE_CHECKING:
    from vlp.config.tasks import Tasks
else:
    _OWN = {
        "retrieval": Retrieval,
        "vqa": Vqa,
        "entailment": Entailment,
        "grounding": Grounding,
        "referring": Referring,
    }
    Tasks = tasks_with(WithLengths, home=__name__, **_OWN)


class Reuse(AnyReuse):
    """`stages`, or each by its name."""

    stage1: Path | None = Field(default=None, json_schema_extra=stated("local"))
    stage2: Path | None = Field(default=None, json_schema_extra=stated("local"))


class Experiment(WithRegions, WithPhrases):
    title: ClassVar[str] = "MVPTR"
    needs: ClassVar[frozenset[str]] = frozenset({"regions", "phrases"})
    stage_facts: ClassVar[tuple[StageFacts, ...]] = (
        StageFacts("stage1", "Stage 1", stream=1),
        StageFacts("stage2", "Stage 2", stream=2),
    )
    depends: ClassVar[Mapping[str, tuple[str, ...]]] = {"ground_truth_tags": ("pretraining.tag_source",)}
    zero_shot: ClassVar[frozenset[str]] = frozenset({"grounding"})
    only_watched: ClassVar[frozenset[str]] = frozenset({"pretraining.alignment"})

    lengths: Lengths = Lengths()
    model: Model = Model()
    masking: Masking = Masking()
    pretraining: Pretraining
    tasks: Tasks = Tasks()
    reuse: Reuse = Field(default=Reuse(), json_schema_extra=stated("local"))

    @property
    def starts(self) -> list[str]:
        return super().starts + ([self.model.init_from] if self.model.init_from else [])

    @property
    def ground_truth_tags(self) -> bool:
        return self.pretraining.tag_source == "ground_truth"

    @model_validator(mode="after")
    def _model_fits(self) -> "Experiment":
        m = self.model
        if m.hidden_size % m.num_heads:
            raise ValueError("model.hidden_size: not a multiple of model.num_heads")
        if m.fusion == "merged":
            self._merged_fits()
        if m.grounding_layer > m.multimodal_layers:
            raise ValueError("model.grounding_layer: more than model.multimodal_layers")
        for name, stage in self.stages.items():
            if stage.embedding_cache and ("vsc" not in stage.losses or m.fusion == "merged"):
                raise ValueError(f"pretraining.{name}.embedding_cache: is for vsc, which is none of its losses")
        for name, task in self.tasks_set.items():
            if task.optimisation.embedding_cache and (name != "retrieval" or m.fusion == "merged"):
                raise ValueError(f"tasks.{name}.optimisation.embedding_cache: is for vsc, which is none of its losses")
        return self

    def _merged_fits(self) -> None:
        if self.model.text_layers or self.model.visual_layers:
            raise ValueError("model.fusion: merged attention has no unimodal layers: text_layers, visual_layers: 0")
        for name, stage in self.stages.items():
            if "vsc" in stage.losses:
                raise ValueError(f"pretraining.{name}.losses: merged attention has no unimodal [CLS] states for vsc")
