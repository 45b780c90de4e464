"""The toy's chain, run once; its stage as ranks that a test may stop, kill, or give a batch with a NaN."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch import Tensor

from tests.methods.toy.method import METHOD
from vlp.batching.draw import Draw
from vlp.batching.inputs import Inputs, Paths
from vlp.config import load
from vlp.errors import Preempted
from vlp.runs.pretrain import CaptionPairs
from vlp.training.base import Beyond
from vlp.training.loop import train

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
CONFIG = HERE / "toy.yaml"
BIN = Path(sys.executable).parent
STATE = "state.safetensors"
PAIRS, BATCH, STEPS = 300, 32, 8


def command(*arguments: object, check: bool = True) -> str:
    """What a command of this environment prints, run where a user would; both streams."""
    name, *rest = map(str, arguments)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([str(BIN / name), *rest], cwd=ROOT, capture_output=True, text=True, env=environment)
    assert not check or done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return done.stdout + done.stderr


def snakemake(results: Path, *arguments: str) -> str:
    """The toy's chain, its results in `results`."""
    override = results.parent / "override.yaml"
    override.write_text(f"results: {results}\n")
    profile = ("--profile", "workflow/profiles/default", "--cores", "2")
    return command("snakemake", *profile, *arguments, "--configfile", CONFIG, override)


class Samples(CaptionPairs):
    """At a step it tells its training to stop, is killed once there is a checkpoint, or gives a NaN."""

    checkpoints: Path
    until = kill = bad = -1

    def batch(self, indices: np.ndarray, draw: Draw) -> Any:
        made: Any = super().batch(indices, draw)
        if draw.step == self.until:
            os.kill(os.getpid(), signal.SIGTERM)
        if draw.step == self.kill:
            while not list(self.checkpoints.glob("step-*")):
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)
        if draw.step == self.bad and draw.places.start == 0:
            made.pixels_B3SS = made.pixels_B3SS.float()
            made.pixels_B3SS[0, 0, 0, 0] = torch.nan
        return made


def rank(folder: Path, chain: Path, settings: dict[str, Any]) -> None:
    """Trains the stage on the inputs of `chain`; at its end rank 0 leaves all tensors in `STATE`."""
    own = {key: settings.pop(key) for key in ("until", "kill", "bad") if key in settings}
    usual = {"epochs": STEPS * BATCH / PAIRS, "batch_size": BATCH, "log_every": 1, "keep_checkpoints": STEPS}
    said = [f"pretraining.only.{k}={v}" for k, v in (settings | usual).items()]
    e = load(CONFIG, [f"results={chain.parent}", *said])
    inputs = Inputs(e, Paths(chain / "tables", chain / "corpus" / "corpus.h5", None, chain / "vocabulary"))
    model, o = METHOD.new_model(inputs), e.pretraining.only
    work = METHOD.stage("only", model, inputs)
    beyond: Any = work.step.beyond
    double = followed(beyond, model, o.momentum)
    source = Samples(work.reader)
    source.checkpoints = folder / "run" / "checkpoints"
    vars(source).update(own)
    try:
        train(work.step, model, source, o, folder / "run", 5, "f")
    except Preempted:
        assert "until" in own
        return
    if dist.get_rank() == 0:
        weights = {f"weights.{n}": p.detach().float().clone() for n, p in model.named_parameters()}
        save_file({**weights, **beyond.state(), **double}, folder / STATE)


def followed(beyond: Beyond, model: torch.nn.Module, momentum: float) -> dict[str, Tensor]:
    """A momentum copy in double precision that moves beside the teacher."""
    double = {f"double.{n}": p.detach().double() for n, p in model.named_parameters()}
    advance = beyond.advance

    def both(module: Any, applied: bool) -> None:
        advance(module, applied)
        for name, p in module.model.named_parameters() if applied else ():
            double[f"double.{name}"].mul_(momentum).add_(p.detach().double(), alpha=1 - momentum)

    beyond.advance = both  # type: ignore[method-assign]
    return double
