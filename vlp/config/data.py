"""Where the raw data come from. A folder in the published formats and the embedded default have the same form."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from vlp.config.base import Part, stated


class Shapes(Part):
    """The dials of the embedded data set's generator (`vlp/data/shapes`)."""

    seed: int = 0
    train_images: int = Field(default=1600, ge=1)
    val_images: int = Field(default=200, ge=1)
    test_images: int = Field(default=200, ge=1)
    image_size: int = Field(default=160, ge=64)
    """Pixels of a side."""
    min_objects: int = Field(default=2, ge=1)
    max_objects: int = Field(default=6, le=9)
    shapes: int = Field(default=10, ge=3, le=12)
    """How many of the known shapes, colours, textures are in use."""
    colours: int = Field(default=8, ge=3, le=8)
    textures: int = Field(default=3, ge=1, le=3)
    synonyms: float = Field(default=0.3, ge=0, le=1)
    """Probability that a caption uses a synonym (disc for circle, tiny for small)."""
    same_noun: float = Field(default=0.35, ge=0, le=1)
    """Probability that a further object repeats a shape already in the scene (a distractor of the same noun)."""
    mention: float = Field(default=0.75, ge=0, le=1)
    """Probability that a caption mentions an attribute of an object it names."""
    pixel_noise: float = Field(default=12.0, ge=0)
    """Standard deviation of the noise, in grey levels of 255."""
    label_noise: float = Field(default=0.0, ge=0, le=1)
    """Probability that an object's class in `instances_*.json` is replaced by another (tag noise)."""
    captions_per_image: int = Field(default=5, ge=1)
    questions_per_image: int = Field(default=6, ge=3)
    hypotheses_per_image: int = Field(default=6, ge=3)


class Split(Part):
    """How the source's splits become train / val / test."""

    rename: dict[str, str] = {"train": "train", "val": "val", "test": "test"}
    """Source split -> ours; a source split that is not named here is left out."""
    set_apart: int = Field(default=0, ge=0)
    """So many train images, drawn by a hash of their ids, become `val` (for selection)."""


class Source(Part):
    """One file, or one file per source split (`{split}` in the name), in a published format; relative to the root."""

    format: Literal["karpathy", "coco_captions", "vqa_v2", "snli_ve", "flickr30k_entities", "coco_instances", "refcoco"]
    files: dict[str, str] = {}
    """Role -> path; `{split}` stands for each source split. Roles: see the reader in `vlp/data/readers`."""


class Data(Part):
    name: str
    """Prefix of every id: `flickr30k/1000268201`."""
    generator: Shapes | None = Field(default=None, json_schema_extra=stated("ours"))
    """Make the raw data; `root` is then a folder of the results."""
    root: Path | None = None
    """Folder of the raw data; has no default where there is no generator."""
    images: list[str] = ["images"]
    """Folders with the images, relative to the root."""
    split: Split = Split()
    captions: Source
    questions: Source | None = None
    entailment: Source | None = None
    phrase_boxes: Source | None = None
    objects: Source | None = None
    referring: Source | None = None
    limit: int | None = Field(default=None, ge=1)
    """Keep at most so many images of each split: for trials."""
    on_bad_record: Literal["skip", "stop"] = "skip"
    """A bad record is skipped, counted and reported, or ends the command."""
