"""Fine-tuning of any task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from vlp.batching.inputs import Inputs, Paths
from vlp.batching.order import DROPOUT, generator
from vlp.config import Experiment
from vlp.methods.mvptr.model import Head, Mvptr, set_dropout
from vlp.models import directory
from vlp.regions import carried
from vlp.runs.pretrain import Seen, finish, new_model
from vlp.tasks import make
from vlp.tasks.base import TrainSamples, check_fits, check_unseen
from vlp.training.loop import Selection, train


def finetune(
    experiment: Experiment, task: str, variant: str, paths: Paths, init: Path, out: Path, run_dir: Path
) -> dict[str, Any]:
    """Fine-tune on train, select on val, write the model directory `out`.

    Args:
        variant: full; blind (images exchanged between samples); scratch (`init` is not used).
        init: the pre-trained model directory; its detector goes along, also with `scratch`.
    """
    inputs = Inputs(experiment, paths)
    job = make(task, inputs, variant)
    o = job.config.optimisation
    torch.manual_seed(int(generator(experiment.seed, DROPOUT, 2**31 + 1).integers(2**62)))
    model = with_head(new_model(inputs), job.head, job.head_size) if variant == "scratch" else None
    if model is None:
        model = directory.load(init, job.head, job.head_size)
        check_fits(model, inputs, init)
        check_unseen(job, init)
    job.prepare(model)
    set_dropout(model, model.architecture.dropout if o.dropout is None else o.dropout)
    start = "scratch" if variant == "scratch" else directory.digest(init)
    settings = job.config.of_training | {"optimisation": o.decides()}
    fingerprint = inputs.fingerprint(task, variant, settings, experiment.seed, start)
    selection = Selection(lambda: job.score(job.selection_predictions(model)), job.config.evaluations)
    samples = TrainSamples(job)
    images = inputs.identity(samples.images)
    result = train(job.step(model), model, samples, o, run_dir, experiment.seed, fingerprint, selection)
    seen = Seen(task, images, None if variant == "scratch" else init)
    finish(model, out, run_dir, inputs, {"init": start}, job.describe(model), carried.of(init), seen)
    return result


def with_head(model: Mvptr, head: Head | None, head_size: int) -> Mvptr:
    """The same weights in a model with a fresh task head."""
    if head is None:
        return model
    other = Mvptr(model.architecture.model_copy(update={"head": head, "head_size": head_size}))
    other.load_state_dict(model.state_dict(), strict=False)
    return other
