"""How a training goes. Each concern is a part of its own with flat keys; methods put together what they need."""

from itertools import pairwise
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from vlp.config.base import Part, stated


class Samples(Part):
    """How many samples, and how a global batch is shared."""

    epochs: float = Field(gt=0)
    epoch_size: int | None = Field(default=None, ge=1, json_schema_extra=stated("local"))
    """Samples that an epoch counts as, so that the schedule counts samples seen: with half of a corpus every sample
    comes twice as often. None: as many as the train split has."""
    batch_size: int = Field(ge=1)
    """Global: over all ranks and accumulation steps."""
    accumulation: int = Field(default=1, ge=1, json_schema_extra=stated("released"))

    def shared_by(self, ranks: int) -> None:
        """Raises ValueError: so many ranks cannot share a batch. A method's own training may want more of them."""
        if self.batch_size % (ranks * self.accumulation):
            raise ValueError(
                f"batch_size {self.batch_size} is not a multiple of {ranks} ranks x {self.accumulation} accumulation"
            )


class Schedule(Part):
    """The learning rate over the steps."""

    learning_rate: float = Field(gt=0)
    """The highest."""
    warmup: float = Field(default=0.2, ge=0, le=1, json_schema_extra=stated(pretraining="paper 4.1"))
    """Share of the steps with a rising rate (paper 4.1: one fifth)."""
    schedule: Literal["linear", "cosine", "cosine_epochs", "milestones"] = Field(
        default="linear", json_schema_extra=stated(pretraining="paper 4.1", tasks="released")
    )
    """After the warm-up. linear: falls to 0; cosine: half a cosine down to `final_rate`; cosine_epochs: the same over
    the whole run, new at each epoch; milestones: times `milestone_factor` at each of `milestones`."""
    final_rate: float = Field(default=0.0, ge=0, le=1, json_schema_extra=stated("ours"))
    """Share of `learning_rate` that a cosine ends at."""
    milestones: list[float] = Field(default=[], json_schema_extra=stated("ours"))
    """Shares of the steps, rising."""
    milestone_factor: float = Field(default=0.1, gt=0, lt=1, json_schema_extra=stated("ours"))

    @model_validator(mode="after")
    def _schedule_fits(self) -> Self:
        inside = (0.0, *self.milestones, 1.0)
        if any(a >= b for a, b in pairwise(inside)):
            raise ValueError("milestones: shares of the run, rising, between 0 and 1")
        if (self.schedule == "milestones") != bool(self.milestones):
            raise ValueError("milestones: belong to schedule: milestones, which needs one at least")
        if self.final_rate and not self.schedule.startswith("cosine"):
            raise ValueError("final_rate: only a cosine ends at it; schedule: linear falls to 0")
        return self


class Optimiser(Part):
    """AdamW, and in what form it keeps its numbers."""

    weight_decay: float = Field(default=0.01, ge=0, json_schema_extra=stated(pretraining="released"))
    betas: tuple[float, float] = Field(default=(0.9, 0.999), json_schema_extra=stated("released"))
    eps: float = Field(default=1e-8, gt=0, json_schema_extra=stated("released"))
    gradient_clipping: float = Field(default=1.0, gt=0, json_schema_extra=stated(tasks="released"))
    precision: Literal["bf16", "fp16", "fp32"] = Field(default="fp32", json_schema_extra=stated("ours"))
    zero_stage: int = Field(default=2, ge=0, le=3, json_schema_extra=stated(pretraining="paper A.2.2", tasks="local"))
    dropout: float | None = Field(default=None, json_schema_extra=stated(pretraining="ours"))
    """Overrides the model's hidden dropout (fine-tuning of VQA uses 0.3)."""

    @property
    def keeps_beyond(self) -> bool:
        """The step module has a `Beyond` (a momentum copy, a queue). A method says so for its trainings, so that what
        does not go together with it is refused before anything is run."""
        return False

    @model_validator(mode="after")
    def _betas_are_shares(self) -> Self:
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError("betas: two numbers from 0 to below 1")
        return self

    @model_validator(mode="after")
    def _has_whole_parameters(self) -> Self:
        if self.keeps_beyond and self.zero_stage == 3:
            raise ValueError(
                "zero_stage: with 3 no rank has the whole parameters that a momentum copy follows; use 2 at most"
            )
        return self


class Checkpoints(Part):
    """When a training is saved and what is kept, and how often it is logged."""

    checkpoint_minutes: float = Field(default=10, gt=0, json_schema_extra=stated("local"))
    checkpoint_steps: int | None = Field(default=None, ge=1, json_schema_extra=stated("local"))
    """Also saved every so many steps."""
    keep_checkpoints: int = Field(default=2, ge=1, json_schema_extra=stated("local"))
    """The newest so many are kept."""
    keep_every: int | None = Field(default=None, ge=1, json_schema_extra=stated("local"))
    """Besides, one is saved and kept at every multiple of so many steps, until the training ends."""
    log_every: int = Field(default=10, ge=1, json_schema_extra=stated("local"))


class Guards(Part):
    """What ends a training that goes wrong, or brings it back."""

    skip_limit: int = Field(default=5, ge=0, json_schema_extra=stated("ours"))
    """Steps in a row that are left out because a loss or gradient is not finite; one more ends the training."""
    spike_factor: float | None = Field(default=None, gt=1, json_schema_extra=stated("ours"))
    """A loss above so many times the median of the last steps is a spike: the training goes back to its newest
    checkpoint and leaves out the batches up to the spike. None: spikes are let pass."""
    hang_minutes: float = Field(default=30, gt=0, json_schema_extra=stated("local"))
    """Without progress for so long a training is taken for hung: its stacks are written and it ends."""


class Contrast(Samples):
    """Of losses that compare the pairs of a batch with each other, and of negatives drawn by them."""

    negative_warmup: float = Field(default=0.0, ge=0, le=1, json_schema_extra=stated("paper 3.3.3"))
    """Share of the steps over which the draw of hard negatives goes from uniform to p(v2s), p(s2v): they are drawn
    from p to the power h, h rising from 0 to 1. 0: from p at once, as in the paper; ITM of a model this small and
    short-trained as the demo's does not get started on them (docs/log.md)."""
    contrast_group: int | None = Field(default=None, ge=1, json_schema_extra=stated("paper 3.3.1"))
    """VSC compares a pair with the others of its group: so many consecutive places of the global batch, however many
    ranks share it. None: all of one micro-batch of all ranks; without accumulation that is the global batch. The
    release's scripts have 128, the batch of one GPU."""

    embedding_cache: bool = Field(default=False, json_schema_extra=stated("ours"))
    """True: VSC contrasts the whole global batch over the accumulation steps too, exactly: a first pass without
    gradient computes the vectors of all micro-batches, a second one takes their gradients through the encoders. It
    costs one more forward pass of the unimodal encoders."""
    negative_group: int | None = Field(default=None, ge=1, json_schema_extra=stated("paper 3.3.3"))
    """Hard negatives of a pair are drawn from its group: so many consecutive places of the global batch, so that
    another number of ranks or accumulation steps draws the same. None: from its micro-batch on its rank."""

    def shared_by(self, ranks: int) -> None:
        super().shared_by(ranks)
        micro = self.batch_size // (ranks * self.accumulation)
        if self.negative_group is not None and micro % self.negative_group:
            raise ValueError(
                f"negative_group: {self.negative_group} does not divide the micro-batch of {micro} "
                f"({self.batch_size} / {ranks} ranks / {self.accumulation} accumulation)"
            )

    @model_validator(mode="after")
    def _groups_fit(self) -> Self:
        parts = 1 if self.embedding_cache else self.accumulation
        together, rest = divmod(self.batch_size, parts)
        if self.contrast_group is not None and (rest or together % self.contrast_group):
            raise ValueError(
                f"contrast_group: {self.contrast_group} does not divide batch_size {self.batch_size} / accumulation "
                f"{parts}; name a divisor, or null for the global batch"
            )
        return self


class Plan(Samples, Schedule, Optimiser, Checkpoints, Guards):
    """What the loop reads of every training."""

    @model_validator(mode="after")
    def _can_roll_back(self) -> Self:
        if self.spike_factor is not None and self.zero_stage == 3:
            raise ValueError("spike_factor: DeepSpeed can not go back to a checkpoint with zero_stage 3; use 2 at most")
        return self

    def decides(self) -> dict[str, Any]:
        """The settings that the result depends on. The others may change while a training goes on: how a batch is
        shared, when checkpoints are saved, what is logged."""
        return self.model_dump(exclude=set(_PRACTICAL))


class Optimisation(Plan, Contrast):
    """A training with contrasts and hard negatives: the same fields for pre-training and all fine-tuning."""


_PRACTICAL = (
    "accumulation",
    "checkpoint_minutes",
    "checkpoint_steps",
    "keep_checkpoints",
    "keep_every",
    "log_every",
    "skip_limit",
    "spike_factor",
    "hang_minutes",
)
