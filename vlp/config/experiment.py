"""The experiment: the only schema. Snakemake validates against the JSON schema exported from it."""

from pathlib import Path

from pydantic import Field, field_validator, model_validator

from vlp.config.base import Part, stated
from vlp.config.data import Data
from vlp.config.launch import Launch, Tracking
from vlp.config.model import Masking, Model
from vlp.config.phrases import Lengths, Phrases, Vocabulary
from vlp.config.regions import Regions
from vlp.config.report import Report
from vlp.config.tasks import Task, Tasks, known
from vlp.config.training import Pretraining


class Reuse(Part):
    """Folders of experiments whose work is taken instead of doing it again: runs of a sweep share it so."""

    data: Path | None = Field(default=None, json_schema_extra=stated("local"))
    """Raw data, tables, detector, regions, phrases, vocabulary and corpus."""
    stage1: Path | None = Field(default=None, json_schema_extra=stated("local"))
    stage2: Path | None = Field(default=None, json_schema_extra=stated("local"))


REUSED = {
    **dict.fromkeys(
        ("raw", "tables", "detector", "regions", "phrases", "vocabulary", "corpus", "leaks", "captions"), "data"
    ),
    "models/stage1": "stage1",
    "models/stage2": "stage2",
}
"""Beginning of a path in an experiment's folder -> the part of `reuse` that it belongs to."""


def fine_tuning(task: str, variant: str, seed: int, own: int) -> str:
    """Name of a fine-tuning: of its model, its run, and with the split its predictions; `vqa.full`, `vqa.full-89`.

    Args:
        own: the experiment's seed, which is not named.
    """
    return f"{task}.{variant}" + ("" if seed == own else f"-{seed}")


class Experiment(Part):
    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$", json_schema_extra=stated("local"))
    seed: int = Field(default=0, json_schema_extra=stated("local"))
    results: Path = Field(default=Path("results"), json_schema_extra=stated("local"))
    """Everything the experiment makes stands in `results`/`name`."""
    data: Data = Field(json_schema_extra=stated("local"))
    regions: Regions = Regions()
    phrases: Phrases = Phrases()
    vocabulary: Vocabulary = Vocabulary()
    lengths: Lengths = Lengths()
    model: Model = Model()
    masking: Masking = Masking()
    pretraining: Pretraining
    start_from: Path | None = Field(default=None, json_schema_extra=stated("local"))
    """A pre-trained model directory, made elsewhere, that the tasks start from: no stage is run here, and its word
    pieces and phrases are the vocabulary. `regions` and `lengths` have to be as it was trained with."""
    tasks: Tasks = Tasks()
    report: Report = Report()
    launch: Launch = Field(default=Launch(), json_schema_extra=stated("local"))
    tracking: Tracking = Field(default=Tracking(), json_schema_extra=stated("local"))
    reuse: Reuse = Field(default=Reuse(), json_schema_extra=stated("local"))
    sources: dict[str, str] = Field(default={}, json_schema_extra=stated("local"))
    """Key path -> where that value comes from, for values that are no sourced default of this schema."""

    @property
    def folder(self) -> Path:
        return self.results / self.name

    @property
    def data_root(self) -> Path:
        return self.data.root if self.data.root is not None else self.place("raw")

    def place(self, path: str) -> Path:
        """Where a file of this experiment stands (`tables/images.parquet`): in its folder, or in the reused one's."""
        first = path.split("/")
        part = REUSED.get(first[0]) or REUSED.get("/".join(first[:2]))
        reused = getattr(self.reuse, part) if part else None
        return (reused or self.folder) / path

    @property
    def region_store(self) -> Path:
        """The regions that everything reads: a file, or the folder of the shards that were kept."""
        cut = self.regions.extraction
        kept = cut.keep_shards and cut.shards > 1 and self.regions.source != "vinvl_tsv"
        return self.place("regions/shards" if kept else "regions/regions.h5")

    def seeds_of(self, task: str) -> list[int]:
        """Those that a task is fine-tuned with."""
        settings = getattr(self.tasks, task)
        return [self.seed + i for i in range(settings.seeds)]

    @property
    def tasks_set(self) -> dict[str, Task]:
        """Name -> settings of the tasks that the experiment has, in the order of the table of tasks."""
        return {name: chosen for name in known() if (chosen := getattr(self.tasks, name, None)) is not None}

    def captions_of(self, name: str) -> Path:
        """What the captioner of the data set `name` writes."""
        return self.place(f"captions/{name}.jsonl").resolve()

    @property
    def tsv_folders(self) -> dict[str, Path]:
        """Data set -> folder with its features.tsv and predictions.tsv; empty without `regions.tsv`."""
        folder, sets = self.regions.tsv, list(self.data.each())
        if folder is None:
            return {}
        return {name: folder / name for name in sets} if any(self.data.sets.values()) else {sets[0]: folder}

    @model_validator(mode="after")
    def _parts_fit(self) -> "Experiment":
        data = self.data
        if data.generator is None and data.root is None:
            raise ValueError(
                "data.root: has no default; name the folder of the raw data (in a file that extends this one, "
                "or --set data.root=DIR)"
            )
        self._tasks_have_data()
        if self.regions.source == "vinvl_tsv" and self.regions.tsv is None:
            raise ValueError("regions.tsv: name the folder with features.tsv and predictions.tsv")
        if self.regions.source == "detector" and not any(chosen.objects for chosen in data.each().values()):
            raise ValueError("regions.source: the detector is trained on data.objects, which is not set")
        if self.model.hidden_size % self.model.num_heads:
            raise ValueError("model.hidden_size: not a multiple of model.num_heads")
        if self.model.fusion == "merged":
            self._merged_fits()
        if self.model.grounding_layer > self.model.multimodal_layers:
            raise ValueError("model.grounding_layer: more than model.multimodal_layers")
        return self

    def _tasks_have_data(self) -> None:
        sets = self.data.each()
        for task, settings in self.tasks_set.items():
            table = known()[task].table
            name = settings.dataset or self.data.name
            if name not in sets:
                raise ValueError(f"tasks.{task}.dataset: {name!r} is none of the data sets {', '.join(sets)}")
            if getattr(sets[name], table) is None:
                where = f"data.sets.{name}" if any(self.data.sets.values()) else "data"
                raise ValueError(f"tasks.{task}: needs {where}.{table}")

    def _merged_fits(self) -> None:
        m, stages = self.model, {"stage1": self.pretraining.stage1, "stage2": self.pretraining.stage2}
        if m.text_layers or m.visual_layers:
            raise ValueError("model.fusion: merged attention has no unimodal layers: text_layers, visual_layers: 0")
        for name, stage in stages.items():
            if stage is not None and "vsc" in stage.losses:
                raise ValueError(f"pretraining.{name}.losses: merged attention has no unimodal [CLS] states for vsc")

    @field_validator("sources")
    @classmethod
    def _sources_are_known(cls, sources: dict[str, str]) -> dict[str, str]:
        from vlp.config.provenance import check_sources

        check_sources(cls, sources)
        return sources
