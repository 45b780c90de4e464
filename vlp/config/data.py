"""Where the raw data come from. A folder in the published formats and the embedded default have the same form."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from vlp.config.base import DEVICE, NAME, Part, stated


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


Format = Literal[
    "karpathy",
    "coco_captions",
    "gqa_questions",
    "visual_genome_questions",
    "vqa_v2_questions",
    "conceptual_captions",
    "sbu",
    "openimages",
    "localized_narratives",
    "captions_jsonl",
    "vqa_v2",
    "snli_ve",
    "flickr30k_entities",
    "coco_instances",
    "openimages_labels",
    "refcoco",
]


class Source(Part):
    """One file, or one file per source split (`{split}` in the name), in a published format; relative to the root."""

    format: Format
    files: dict[str, str] = {}
    """Role -> path; `{split}` stands for each source split. Roles: see the reader in `vlp/data/readers`."""


class Exclusion(Part):
    """Images of evaluations that pre-training must not have (docs/data.md, No leaks)."""

    policy: Literal["as_paper", "strict", "none"] = Field(default="as_paper", json_schema_extra=stated("paper 4.1"))
    """as_paper: val and test of captions (Karpathy's COCO, Flickr30k), entailment and grounding; strict: also those of
    VQA and referring expressions; none."""
    on_leak: Literal["remove", "stop"] = Field(default="remove", json_schema_extra=stated("ours"))
    """remove: pre-training leaves them out; stop: their list ends the command."""
    not_hashed: dict[str, str] = Field(default={}, json_schema_extra=stated("local"))
    """Data set -> why its pictures are compared by their ids alone, not by looks."""


class Captioner(Part):
    """A transformers model that writes captions of the images, as VinVL's corpus has them for OpenImages."""

    model: str = Field(json_schema_extra=stated("local"))
    """Its directory, or its name where the hub's cache on this disk holds it."""
    prompt: str | None = Field(default=None, json_schema_extra=stated("local"))
    """What a model that needs words beside the image is asked; in a chat it is the user's turn."""
    max_tokens: int = Field(default=20, ge=1, json_schema_extra=stated("ours"))
    """Word pieces of a caption at most."""
    beams: int = Field(default=1, ge=1, json_schema_extra=stated("ours"))
    """1: greedy."""
    batch_size: int = Field(default=16, ge=1, json_schema_extra=stated("local"))
    workers: int = Field(default=2, ge=1, json_schema_extra=stated("local"))
    """Threads that decode images."""
    shards: int = Field(default=1, ge=1, json_schema_extra=stated("local"))
    """Jobs that share the images."""
    device: str = Field(default="cpu", pattern=DEVICE, json_schema_extra=stated("local"))


class DataSet(Part):
    """One data set: its images with their texts, and what is annotated on them."""

    root: Path | None = None
    """Folder of the raw data; has no default where there is no generator. Of one of several sets: relative to
    `data.root`; None: the set's name."""
    images: list[str] = ["images"]
    """Folders with the images, relative to the root."""
    split: Split = Split()
    captions: Source | None = None
    """Which images there are, in which split, and their texts."""
    texts: Source | None = None
    """Further texts of these images, for pre-training: questions, machine captions."""
    captioner: Captioner | None = Field(default=None, json_schema_extra=stated("local"))
    """Writes the `texts`: the experiment captions the images that `captions` lists."""
    questions: Source | None = None
    entailment: Source | None = None
    phrase_boxes: Source | None = None
    objects: Source | None = None
    labels: Source | None = None
    """Classes of the image as a whole: ground-truth tags without a box."""
    referring: Source | None = None
    limit: int | None = Field(default=None, ge=1)
    """Keep at most so many images of each split: for trials."""


class Data(DataSet):
    """One data set, or, under `sets`, several: the tables hold the rows of all, told apart by their ids."""

    name: str = Field(pattern=NAME)
    """Prefix of every id: `flickr30k/1000268201`. With `sets`: that of the set which a task uses that names none."""
    generator: Shapes | None = Field(default=None, json_schema_extra=stated("ours"))
    """Make the raw data; `root` is then a folder of the results."""
    sets: dict[Annotated[str, StringConstraints(pattern=NAME)], DataSet | None] = {}
    """Name -> data set; null takes one away that an extended file has. `limit` holds for each that has none."""
    corpus: Literal["paper_named", "vinvl_large", "available"] | None = None
    """What the sets are compared with, part by part (`vlp/config/presets.py`). The first two want all their parts in
    `sets`; available: sets whose files are not on disk are left out and told."""
    exclusion: Exclusion = Exclusion()
    on_bad_record: Literal["skip", "stop"] = "skip"
    """A bad record is skipped, counted and reported, or ends the command."""
    max_lost: float = Field(default=0.2, ge=0, le=1, json_schema_extra=stated("ours"))
    """Share of its records that a table or a split of one may lose as bad, and of its objects an image file of regions
    (`regions.tsv`); more, or a split that is left with none, ends the command. 1: anything goes."""

    @model_validator(mode="after")
    def _is_one_or_several(self) -> Self:
        sets = {name: chosen for name, chosen in self.sets.items() if chosen is not None}
        own = [name for name in DataSet.model_fields if name not in ("root", "limit") and name in self.model_fields_set]
        own = [name for name in own if getattr(self, name) != DataSet.model_fields[name].default]
        if sets and own:
            raise ValueError(f"{own[0]}: belongs to one data set; with `sets` it stands in each of them")
        if sets and self.generator is not None:
            raise ValueError("generator: makes one data set; it does not go with `sets`")
        if sets and self.name not in sets:
            raise ValueError(f"name: {self.name!r} is none of the sets {', '.join(sets)}")
        for name, chosen in (sets or {"": self}).items():
            if chosen.captioner is not None and chosen.texts is not None:
                raise ValueError(f"{f'sets.{name}.' if name else ''}captioner: writes the `texts`; name one of the two")
            if chosen.captions is None:
                raise ValueError(f"{f'sets.{name}.' if name else ''}captions: missing; they say which images there are")
        return self

    @model_validator(mode="after")
    def _corpus_is_whole(self) -> Self:
        from vlp.config.presets import PRESETS, mark_of

        if self.corpus is None:
            return self
        there = {
            (name, mark_of(source.format, key))
            for name, chosen in self.each().items()
            for key, source in (("captions", chosen.captions), ("texts", chosen.texts))
            if source is not None
        }
        there |= {(name, mark_of("captions_jsonl", "texts")) for name, c in self.each().items() if c.captioner}
        for part in PRESETS[self.corpus] if self.corpus != "available" else ():
            if (part.set, part.mark) not in there:
                what = f"sets.{part.set}" + (f" with texts of the kind {part.mark!r}" if part.mark else "")
                raise ValueError(f"corpus: {self.corpus} needs {what}; or say available")
        return self

    def each(self) -> dict[str, DataSet]:
        """Name -> data set, one or several, with its root (relative to `root`, the base of all) and limit."""
        if not any(self.sets.values()):
            return {self.name: self}
        return {
            name: chosen.model_copy(
                update={
                    "root": chosen.root if chosen.root is not None else Path(name),
                    "limit": chosen.limit if chosen.limit is not None else self.limit,
                }
            )
            for name, chosen in sorted(self.sets.items())
            if chosen is not None
        }
