"""Where training runs, and where runs are recorded."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from vlp.config.base import Part
from vlp.config.training import Plan

ALONE = ("extraction", "phrases", "captioning", "prediction")
"""Work without a group of ranks."""
Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_(\[][A-Za-z0-9_.,:@+*&|()\[\]!=-]*$")]
"""For sbatch: no option, no second line."""


class Resources(Part):
    """One resource model for every executor (submitit)."""

    executor: Literal["inline", "debug", "local", "slurm"] = "local"
    """inline: in the calling process, one task; debug: the same, and an error opens the debugger; local, slurm: jobs.
    All but inline through submitit."""
    nodes: int = Field(default=1, ge=1)
    tasks_per_node: int = Field(default=1, ge=1)
    gpus_per_node: int = Field(default=0, ge=0)
    cpus_per_task: int = Field(default=1, ge=1)
    threads: int = Field(default=1, ge=1)
    """CPU threads of each task: fixed, since results depend on it."""
    memory_gb: int | None = Field(default=None, ge=1)
    minutes: int = Field(default=60 * 24, ge=1)
    partition: Word | None = None
    account: Word | None = None
    qos: Word | None = None
    constraint: Word | None = None
    signal_delay_seconds: int = Field(default=120, ge=0)
    """So long before the end of its time a job is told; it saves and goes back into the queue."""
    array: Path | None = None
    """Jobs of equal resources that are sent within a few seconds go to SLURM as one array, through this folder; shards
    and predictions do so in any case."""
    extra: dict[str, Any] = {}

    @property
    def ranks(self) -> int:
        return self.nodes * self.tasks_per_node

    @model_validator(mode="after")
    def _executor_can(self) -> Self:
        if self.executor in ("inline", "debug") and self.ranks != 1:
            raise ValueError(f"executor: {self.executor} runs one task; use local for several on this host")
        if self.executor == "local" and self.nodes != 1:
            raise ValueError(f"nodes: executor local has one node, this host; {self.nodes} nodes need slurm")
        if 0 < self.gpus_per_node < self.tasks_per_node:
            raise ValueError(
                f"gpus_per_node: {self.gpus_per_node} GPUs for {self.tasks_per_node} tasks; every task needs one, or "
                "none has one (0)"
            )
        if self.executor == "slurm" and self.signal_delay_seconds >= 60 * self.minutes:
            raise ValueError(
                f"signal_delay_seconds: {self.signal_delay_seconds} of {60 * self.minutes} seconds; the job would be "
                "told of its end before it has begun"
            )
        return self

    def can_train(self, o: Plan) -> None:
        """Raises ValueError: a training with these settings cannot run so."""
        o.shared_by(self.ranks)
        if o.precision == "fp16" and self.executor == "local" and not self.gpus_per_node:
            raise ValueError("precision: fp16 needs GPUs, and gpus_per_node is 0; ask for some, or use bf16 or fp32")


class Launch(Part):
    pretraining: Resources = Resources()
    finetuning: Resources = Resources(executor="inline")
    extraction: Resources = Resources(executor="inline")
    """Of each shard of the regions."""
    phrases: Resources = Resources(executor="inline")
    """Of each shard of the texts."""
    captioning: Resources = Resources(executor="inline")
    """Of each shard of the images that a captioner describes."""
    prediction: Resources = Resources(executor="inline")
    cpu_threads: int = Field(default=1, ge=1)
    """Threads of the detector, the extraction, the captioner and the predictions."""
    stage_to: Path | None = None
    """Folder on a node's local disk to which the region store is copied before it is read for training or predictions;
    variables are the node's: $TMPDIR. null: the store is read where it is."""

    @property
    def on_slurm(self) -> bool:
        parts = (self.pretraining, self.finetuning, *(getattr(self, name) for name in ALONE))
        return any(p.executor == "slurm" for p in parts)

    @model_validator(mode="after")
    def _one_process_is_enough(self) -> Self:
        for name in ALONE:
            if getattr(self, name).ranks != 1:
                raise ValueError(f"{name}: is work of one process; nodes and tasks_per_node must be 1")
        return self


class Tracking(Part):
    uri: str | None = None
    """Any MLflow tracking URI; None: sqlite in the results folder."""
    enabled: bool = True
    """False keeps the journals only."""
    parent: str | None = None
    """Sweep that this is a part of: one MLflow experiment, with one parent run over those of all its parts."""
    varied: dict[str, str] = {}
    """Of a part of a sweep: the keys that its rows set, with this part's values: parameters of its runs in MLflow."""
