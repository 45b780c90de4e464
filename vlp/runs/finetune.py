"""Fine-tuning of any task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from vlp.batching.inputs import Inputs, Paths
from vlp.batching.order import DROPOUT, demand_batch, generator
from vlp.config import Experiment
from vlp.models import directory
from vlp.regions import carried
from vlp.runs.finish import Seen, finish
from vlp.tasks import make
from vlp.tasks.base import TrainSamples, check_unseen
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
    samples = TrainSamples(job)
    demand_batch(len(samples.rows), o.batch_size, f"tasks.{task}.optimisation")
    scratch = variant == "scratch"
    torch.manual_seed(int(generator(experiment.seed, DROPOUT, 2**31 + 1).integers(2**62)))
    model = job.side.new(None if scratch else init)
    if not scratch:
        check_unseen(job, init)
    start = "scratch" if scratch else directory.digest(init)
    settings = job.config.of_training | {"optimisation": o.decides()}
    fingerprint = inputs.fingerprint(task, variant, settings, experiment.seed, start)
    selection = Selection(lambda: job.score(job.selection_predictions(model)), job.config.evaluations)
    images = inputs.identity(samples.images)
    result = train(job.side.step(model), model, samples, o, run_dir, experiment.seed, fingerprint, selection)
    seen = Seen(task, images, None if scratch else init)
    said = job.describe() | job.side.describe(model)
    finish(model, out, run_dir, inputs, {"init": start}, said, carried.of(init), seen)
    return result
