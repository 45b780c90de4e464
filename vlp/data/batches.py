"""Whether the tables have as many samples as the config's batches hold: known before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from vlp.config import Experiment
from vlp.config.tasks import known
from vlp.errors import InputError


def check_batches(experiment: Experiment, counts: Mapping[str, Mapping[str, int]]) -> None:
    """What is left of the samples later (images without regions, a task's own data set) is compared when it trains.

    Args:
        counts: table -> split -> rows.

    Raises:
        InputError: a batch of a stage or a task is larger than its table's train split; both numbers are named.
    """
    for where, size, table, splits in _batches(experiment):
        rows = sum(counts.get(table, {}).get(split, 0) for split in splits)
        if size > rows:
            problem = f"batch_size is {size}, and the table {table} has {rows} rows to train on."
            raise InputError(where, problem, f"Lower it to {rows} or less, or add data.")


def _batches(experiment: Experiment) -> Iterator[tuple[str, int, str, tuple[str, ...]]]:
    """Key, batch, table and splits of each training of the experiment's own."""
    for name, stage in experiment.trained_stages.items():
        yield f"pretraining.{name}", stage.batch_size, "captions", ("train",)
    for name, task in experiment.tasks_set.items():
        if task.variants:  # else only the pre-trained model is asked
            splits = ("train", "val") if getattr(task, "train_on_val", False) else ("train",)
            yield f"tasks.{name}.optimisation", task.optimisation.batch_size, known()[name].table, splits
