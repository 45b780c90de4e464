"""Where training runs, and where runs are recorded."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from vlp.config.base import Part


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
    memory_gb: int | None = None
    minutes: int = Field(default=60 * 24, ge=1)
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    signal_delay_seconds: int = 120
    """So long before the end of its time a job is told; it saves and goes back into the queue."""
    array: Path | None = None
    """Jobs of equal resources that are sent within a few seconds go to SLURM as one array, through this folder; shards
    and predictions do so in any case."""
    extra: dict[str, Any] = {}


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
        alone = (self.extraction, self.phrases, self.captioning, self.prediction)
        parts = (self.pretraining, self.finetuning, *alone)
        return any(p.executor == "slurm" for p in parts)


class Tracking(Part):
    uri: str | None = None
    """Any MLflow tracking URI; None: sqlite in the results folder."""
    enabled: bool = True
    """False keeps the journals only."""
    parent: str | None = None
    """Sweep that this is a part of: one MLflow experiment, with one parent run over those of all its parts."""
    varied: dict[str, str] = {}
    """Of a part of a sweep: the keys that its rows set, with this part's values: parameters of its runs in MLflow."""
