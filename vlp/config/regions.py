"""Regions: which detector, or which published feature files."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from vlp.config.base import DEVICE, Part, stated
from vlp.config.experiment import Experiment


class Detector(Part):
    """A torchvision Faster R-CNN with a small backbone, trained on the train images' object boxes."""

    width: int = Field(default=24, ge=8)
    """Channels of the first stage of the backbone; each of the next stages doubles them."""
    feature_size: int = Field(default=128, ge=16)
    """Size of the pooled box feature, D of the region store."""
    image_size: int = Field(default=160, ge=64)
    epochs: float = Field(default=3.0, gt=0)
    train_images: int | None = None
    """Use only the first so many train images."""
    batch_size: int = Field(default=4, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0)
    score_threshold: float = Field(default=0.2, ge=0, le=1, json_schema_extra=stated("paper A.1"))
    """Regions that reach it carry their class; only they give tags."""
    nms_threshold: float = Field(default=0.5, gt=0, le=1)
    min_regions: int = Field(default=8, ge=0)
    """Where fewer reach the threshold, the next best regions are kept too, without a class (VinVL: at least 10)."""
    max_regions: int = Field(default=20, ge=1)


class Selection(Part):
    """Which of the boxes that a detector finds become regions."""

    score_threshold: float = Field(default=0.2, ge=0, le=1, json_schema_extra=stated("paper A.1"))
    """Regions that reach it carry their class; only they give tags."""
    nms_threshold: float = Field(default=0.5, gt=0, le=1, json_schema_extra=stated("released"))
    """Of boxes that overlap more than this only the best is kept, whatever their classes. Not for DETR's family."""
    min_regions: int = Field(default=10, ge=1, json_schema_extra=stated("released"))
    """Where fewer reach the threshold, the next best regions are kept too, without a class."""
    max_regions: int = Field(default=100, ge=1, json_schema_extra=stated("released"))


class Pretrained(Part):
    """A detector with weights of its own, for `source: pretrained`."""

    name: str
    """`vinvl`, a torchvision detection model, or the directory or cached name of a transformers one."""
    weights: Path | None = None
    """The weights file. A transformers directory holds its own."""
    selection: Selection | None = None
    """None: the defaults. VinVL's detector has its own rule."""


class Extraction(Part):
    """How the work is cut; the regions are the same, but for rounding where the batches are others."""

    shards: int = Field(default=1, ge=1)
    """Jobs that share the images; 1: no scatter and no merge."""
    keep_shards: bool = False
    """The store is the folder of the shards, with a manifest: nothing is copied, as a store of terabytes wants it.
    False: the shards become one file, and are removed."""
    batch_size: int = Field(default=16, ge=1)
    workers: int = Field(default=0, ge=0)
    """Processes that decode and resize images; 0: the extraction does it itself."""
    device: str = Field(default="cpu", pattern=DEVICE)


TrainingData = Literal["coco", "vg", "openimages", "objects365"]


class Regions(Part):
    source: Literal["detector", "pretrained", "vinvl_tsv"] = Field(
        default="detector", json_schema_extra=stated("local")
    )
    detector: Detector = Field(default=Detector(), json_schema_extra=stated("ours"))
    pretrained: Pretrained | None = Field(default=None, json_schema_extra=stated("local"))
    extraction: Extraction = Field(default=Extraction(), json_schema_extra=stated("local"))
    tsv: Path | None = Field(default=None, json_schema_extra=stated("local"))
    """Folder with features.tsv and predictions.tsv, for `vinvl_tsv`; with several data sets one such folder for each
    lies in it, under the set's name."""
    trained_on: list[TrainingData] | None = Field(default=None, json_schema_extra=stated("local"))
    """Data sets that the detector of published features or weights is said to be trained on; None: what is known of its
    name. Results say which of their images are of these."""
    on_bad_image: Literal["skip", "stop"] = Field(default="skip", json_schema_extra=stated("local"))

    @model_validator(mode="after")
    def _source_is_there(self) -> "Regions":
        if self.source == "pretrained" and self.pretrained is None:
            raise ValueError("pretrained: name the detector and its weights")
        return self


class WithRegions(Experiment):
    """An experiment of a method that reads regions: a detector's, trained in the chain or with weights of its own, or
    published features."""

    needs: ClassVar[frozenset[str]] = frozenset({"regions"})

    depends: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "detector": ("regions.detector", "regions.on_bad_image", "seed", "launch.cpu_threads"),
        "regions": ("regions", "launch.cpu_threads"),
        "regions_import": ("regions", "data.max_lost"),
        "regions_merge": ("data",),
    }

    regions: Regions = Regions()

    @property
    def region_store(self) -> Path:
        cut = self.regions.extraction
        kept = cut.keep_shards and cut.shards > 1 and self.regions.source != "vinvl_tsv"
        return self.place("regions/shards" if kept else "regions/regions.h5")

    @property
    def tsv_folders(self) -> dict[str, Path]:
        """Data set -> folder with its features.tsv and predictions.tsv; empty without `regions.tsv`."""
        folder, sets = self.regions.tsv, list(self.data.each())
        if folder is None:
            return {}
        return {name: folder / name for name in sets} if any(self.data.sets.values()) else {sets[0]: folder}

    @property
    def ground_truth_tags(self) -> bool:
        """Whether the store holds the tags that are annotated, beside the detector's."""
        return False

    @model_validator(mode="after")
    def _regions_have_a_source(self) -> "WithRegions":
        if self.regions.source == "vinvl_tsv" and self.regions.tsv is None:
            raise ValueError("regions.tsv: name the folder with features.tsv and predictions.tsv")
        if self.regions.source == "detector" and not any(chosen.objects for chosen in self.data.each().values()):
            raise ValueError("regions.source: the detector is trained on data.objects, which is not set")
        return self
