"""The experiment: the only schema. Snakemake validates against the JSON schema exported from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, PrivateAttr, field_validator, model_validator

from vlp.config.base import NAME, Part, stated
from vlp.config.data import Data
from vlp.config.launch import Launch, Tracking
from vlp.config.model import Model
from vlp.config.report import Report
from vlp.config.sources import check_sources
from vlp.config.tasks import Tasks, known
from vlp.config.vocabulary import Vocabulary


@dataclass(frozen=True)
class StageFacts:
    """A stage of pre-training: a field of `pretraining` of the same name holds its settings."""

    name: str
    title: str
    stream: int
    """Its random numbers are those of 1000 seed + stream: another stage sees other masks and another order."""


class Pretraining(Part):
    """A method has a field for each of its stages."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...


class Reuse(Part):
    """Folders of experiments whose work is taken instead of doing it again: runs of a sweep share it so."""

    data: Path | None = Field(default=None, json_schema_extra=stated("local"))
    """Raw data, tables, detector, regions, phrases, vocabulary and corpus."""
    stages: dict[str, Path] = Field(default={}, json_schema_extra=stated("local"))
    """Stage -> the folder whose model of it is taken."""

    def of(self, stage: str) -> Path | None:
        return self.stages.get(stage) or getattr(self, stage, None)


OF_DATA = {"raw", "tables", "detector", "regions", "phrases", "vocabulary", "corpus", "leaks", "captions"}
"""Beginnings of paths in an experiment's folder that `reuse.data` gives."""


NOT_OF_STAGES = {"name", "results", "data", "regions", "phrases", "vocabulary", "tasks", "report", "launch", "tracking"}
NOT_OF_STAGES |= {"reuse", "sources", "start_from", "pretraining"}


def fine_tuning(task: str, variant: str, seed: int, own: int) -> str:
    """Name of a fine-tuning: of its model, its run, and with the split its predictions; `vqa.full`, `vqa.full-89`.

    Args:
        own: the experiment's seed, which is not named.
    """
    return f"{task}.{variant}" + ("" if seed == own else f"-{seed}")


class Experiment(Part):
    """What the experiments of all methods set; a method's own class adds to it (`vlp/config/methods.py: schema`)."""

    title: ClassVar[str]
    """The method, as its paper writes it."""
    stage_facts: ClassVar[tuple[StageFacts, ...]] = ()
    """Its stages of pre-training, in order."""
    needs: ClassVar[frozenset[str]] = frozenset()
    """What it reads beside the texts, of {regions, phrases, pixels, codes, boxes}: nothing else is made."""
    zero_shot: ClassVar[frozenset[str]] = frozenset()
    """Tasks that a pre-trained model is asked too, without fine-tuning."""
    depends: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "shapes": ("data.generator",),
        "captions": ("data",),
        "tables": ("data",),
        "leaks": ("data",),
        "vocabulary": ("vocabulary", "start_from"),
    }
    """Rule of the data -> the parts of the config that it depends on beside its input files; a subclass's are added.
    Its `params` in the workflow and the key by which runs of a sweep share their data are both made of this."""

    only_watched: ClassVar[frozenset[str]] = frozenset()
    """Parts that say what is measured while a stage trains: they change no model."""

    name: str = Field(pattern=NAME, json_schema_extra=stated("local"))
    seed: int = Field(default=0, json_schema_extra=stated("local"))
    results: Path = Field(default=Path("results"), json_schema_extra=stated("local"))
    """Everything the experiment makes stands in `results`/`name`."""
    data: Data = Field(json_schema_extra=stated("local"))
    vocabulary: Vocabulary = Vocabulary()
    model: Model = Model()
    pretraining: Pretraining
    """Its fields that are stages, in order; one that is null is not run."""
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

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    @classmethod
    def parts_of(cls, *rules: str) -> list[str]:
        """The parts of the config that rules of the data depend on; no rule named: all."""
        every = [(rule, parts) for c in reversed(cls.__mro__) for rule, parts in vars(c).get("depends", {}).items()]
        return sorted({part for rule, parts in every if not rules or rule in rules for part in parts})

    @property
    def parts_of_stages(self) -> list[str]:
        """The parts of the config that every stage depends on, beside its files and `pretraining.STAGE`.

        Not what comes before it as files, what comes after it, where things stand, and what is only watched.
        """
        stages = {facts.name for facts in self.stage_facts}
        own = {f"pretraining.{name}" for name in type(self.pretraining).model_fields if name not in stages}
        return sorted({*type(self).model_fields} - NOT_OF_STAGES) + sorted(own - self.only_watched)

    _home: Path | None = PrivateAttr(default=None)

    @property
    def folder(self) -> Path:
        return self._home or self.results / self.name

    def lying_in(self, folder: Path | None) -> Self:
        """The same experiment with its files in `folder`, moved or copied there; None: where it says itself."""
        found = self.model_copy()
        found._home = folder
        return found

    @property
    def data_root(self) -> Path:
        return self.data.root if self.data.root is not None else self.place("raw")

    def place(self, path: str) -> Path:
        """Where a file of this experiment stands (`tables/images.parquet`): in its folder, or in the reused one's."""
        first, *rest = path.split("/")
        reused = self.reuse.data if first in OF_DATA else self.reuse.of(rest[0]) if first == "models" and rest else None
        return (reused or self.folder) / path

    @property
    def region_store(self) -> Path | None:
        """The regions that everything reads: a file, or the folder of the shards that were kept; None: none is read."""
        return None

    @property
    def stages(self) -> dict[str, Any]:
        """Name -> settings of the stages of pre-training that the experiment has, in order."""
        found = {facts.name: getattr(self.pretraining, facts.name) for facts in self.stage_facts}
        return {name: stage for name, stage in found.items() if stage is not None}

    @property
    def trained_stages(self) -> dict[str, Any]:
        """Those that this experiment trains itself."""
        if self.start_from is not None:
            return {}
        return {name: stage for name, stage in self.stages.items() if self.reuse.of(name) is None}

    def stage(self, name: str) -> StageFacts:
        return next(facts for facts in self.stage_facts if facts.name == name)

    @property
    def pretrained_model(self) -> Path:
        """The model directory that the tasks start from."""
        return self.start_from or self.place(f"models/{list(self.stages)[-1]}")

    @property
    def starts(self) -> list[str]:
        """Directories, or `package:NAME`, that word pieces and weights are taken from."""
        return [self.vocabulary.tokenizer] if self.vocabulary.tokenizer else []

    def seeds_of(self, task: str) -> list[int]:
        """Those that a task is fine-tuned with."""
        settings = getattr(self.tasks, task)
        return [self.seed + i for i in range(settings.seeds)]

    @property
    def tasks_set(self) -> dict[str, Any]:
        """Name -> settings of the tasks that the experiment has, in the order of the table of tasks."""
        return {name: chosen for name in known() if (chosen := getattr(self.tasks, name, None)) is not None}

    def captions_of(self, name: str) -> Path:
        """What the captioner of the data set `name` writes."""
        return self.place(f"captions/{name}.jsonl").resolve()

    @model_validator(mode="after")
    def _parts_fit(self) -> "Experiment":
        data = self.data
        if data.generator is None and data.root is None:
            raise ValueError(
                "data.root: has no default; name the folder of the raw data (in a file that extends this one, "
                "or --set data.root=DIR)"
            )
        self._tasks_have_data()
        self._launch_can()
        lacking = [name for name in self.reuse.stages if name not in (f.name for f in self.stage_facts)]
        if lacking:
            raise ValueError(f"reuse.stages: {lacking[0]!r} is no stage of {self.model.method}")
        return self

    def _launch_can(self) -> None:
        """Everything that is trained here can be trained as `launch` says: told before anything has run."""
        trained = {f"pretraining.{name}": ("pretraining", stage) for name, stage in self.trained_stages.items()}
        trained |= {
            f"tasks.{name}.optimisation": ("finetuning", task.optimisation)
            for name, task in self.tasks_set.items()
            if task.variants
        }
        for where, (part, settings) in trained.items():
            try:
                getattr(self.launch, part).can_train(settings)
            except ValueError as error:
                raise ValueError(f"{where}: {error}; see launch.{part}") from error

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

    @field_validator("sources")
    @classmethod
    def _sources_are_known(cls, sources: dict[str, str]) -> dict[str, str]:
        check_sources(cls, sources)
        return sources
