"""Numbers that are not finite, spikes, too little memory: each is caught, told, and leaves the state as it was."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from tests.training.kills import SETTINGS, Trainings, as_rank
from tests.training.tiny_run import experiment, masked_pairs, paths
from vlp.batching.batch import Batch
from vlp.batching.inputs import Inputs
from vlp.errors import VlpError
from vlp.methods.mvptr.start import new_model
from vlp.methods.mvptr.steps import PretrainingStep
from vlp.runs.pretrain import CaptionPairs
from vlp.tracking.journal import read
from vlp.training.checkpoint import TAG
from vlp.training.guards import LEAST, NotFinite, Spikes, out_of_memory
from vlp.training.loop import train


class Injecting(CaptionPairs):
    """Puts an inf into a region of some batches; notes which samples each global batch was made of."""

    bad: dict[int, int] = {}
    """Number of the global batch -> the micro-batch whose first sample is spoilt."""

    def batch(self, indices, draw) -> Batch:
        made: Any = super().batch(indices, draw)
        if self.bad.get(draw.step) == draw.part:
            made.regions_BRF[0, 0, 0] = torch.inf
        return made


def spoilt(folder: Path, inputs: Path, settings: dict) -> None:
    """A rank of a training in which steps 4 (of rank 1's part) and 6 are spoilt: step index counts from 0."""
    bad = settings.pop("bad")
    e = experiment(**settings)
    read_from, o = Inputs(e, paths(inputs)), e.pretraining.stage1
    assert o is not None
    source = Injecting(masked_pairs(read_from, o))
    source.bad = bad
    model = new_model(read_from)
    train(PretrainingStep(model, o.losses), model, source, o, folder / "run", 5, "f")


def state(folder: Path, step: int) -> list[torch.Tensor]:
    """Every tensor of the optimiser's states and of the weights in a checkpoint."""
    found: list[torch.Tensor] = []

    def collect(x: object) -> None:
        if isinstance(x, torch.Tensor):
            found.append(x)
        elif isinstance(x, dict):
            for key in sorted(x, key=str):
                collect(x[key])
        elif isinstance(x, list | tuple):
            for item in x:
                collect(item)

    for path in sorted((folder / "run" / "checkpoints" / f"step-{step:09}" / TAG).glob("*.pt")):
        held = torch.load(path, weights_only=False)
        collect(held["module"] if "module" in held else held["optimizer_state_dict"]["base_optimizer_state"])
        collect(held.get("optimizer_state_dict", {}).get("single_partition_of_fp32_groups", []))
    assert sum(x.numel() for x in found) > 10_000
    return found


@pytest.mark.slow
@pytest.mark.parametrize("ranks, precision", [(2, "fp32"), (1, "bf16")])
def test_an_inf_changes_no_bit_and_names_its_batch(
    ranks: int, precision: str, tiny_inputs: Path, tmp_path: Path
) -> None:
    settings = SETTINGS | {"keep_checkpoints": 20, "precision": precision, "bad": {4: ranks - 1}}
    Trainings(tiny_inputs).finish(tmp_path, ranks, target=spoilt, **settings)
    before, after, later = (state(tmp_path, s) for s in (4, 5, 6))
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(after, later, strict=True))
    events = read(tmp_path / "run" / "journal.jsonl")
    assert [(e["step"], e["value"]) for e in events if e.get("key") == "skipped_steps"] == [(5, 1)]
    said = (tmp_path / "rank-0.log").read_text()
    assert "step 4: the loss is not finite" in said and "run/not-finite/step-000000004" in said
    for rank in range(ranks):
        dump = torch.load(tmp_path / "run" / "not-finite" / "step-000000004" / f"rank-{rank}.pt", weights_only=True)
        (micro,) = dump["micro_batches"]
        assert len(micro["ids"]) == 8 // ranks and all(i.startswith("t/") for i in micro["ids"])
        assert bool(micro["batch"]["regions_BRF"].isinf().any()) == (rank == ranks - 1)
    assert math.isnan(dump["losses"]["loss"]) or math.isinf(dump["losses"]["loss"])


def test_too_many_in_a_row_end_the_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    guard = NotFinite(tmp_path, limit=1, rank=0)
    values = {"loss": math.nan, "loss_vsc": math.nan, "loss_mlm": 2.0}
    guard.skipped(3, values, [], [])
    guard.applied()
    guard.skipped(5, {"loss": 1.0, "loss_vsc": 1.0}, [], [])
    with pytest.raises(VlpError, match=r"step 6: the loss is not finite \(vsc nan, mlm 2\).*number 2 in a row"):
        guard.skipped(6, values, [], [])
    never = NotFinite(tmp_path, limit=0, rank=0)
    with pytest.raises(VlpError, match="No step of this run was applied: look at the model that it starts from"):
        never.skipped(1, values, [], [])
    assert guard.total == 3 and "step 5: a gradient is not finite" in capsys.readouterr().out


def test_a_gradient_that_is_not_finite_is_left_out_too() -> None:
    """ZeRO 0 in fp32 steps with torch's own optimiser, which checks nothing by itself."""
    from vlp.training.engine import CheckedAdamW

    weight = torch.nn.Parameter(torch.ones(3))
    o = CheckedAdamW([weight], lr=0.1)
    weight.grad = torch.ones(3)
    o.step()
    kept, moments = weight.detach().clone(), {k: v.clone() for k, v in o.state[weight].items()}
    assert not o.overflow and not torch.equal(kept, torch.ones(3))
    weight.grad = torch.tensor([1.0, torch.inf, 1.0])
    o.step()
    assert o.overflow and torch.equal(weight, kept)
    assert all(torch.equal(o.state[weight][k], v) for k, v in moments.items())


def test_a_spike_is_measured_by_the_median_of_the_last_steps() -> None:
    rule = Spikes(2.0)
    assert not any(rule.seen(x) for x in [5.0] * (LEAST - 1)) and not rule.seen(100.0)
    assert rule.seen(10.1) and not rule.seen(9.9) and rule.seen(50.0)
    assert not rule.seen(math.nan)  # that is the other guard's
    assert not any(Spikes(None).seen(x) for x in [1.0] * LEAST + [1e9])


class Exploding(PretrainingStep):
    """Its loss is a thousand times too large in one forward pass, as a spike would be."""

    at, done = 25, 0

    def forward(self, batch, cached=None):
        losses = super().forward(batch, cached)
        self.done += 1
        if self.done - 1 == self.at:
            losses = {n: x._replace(total=1000 * x.total) for n, x in losses.items()}
        return losses


class Noting(CaptionPairs):
    asked: list[int]

    def batch(self, indices, draw) -> Batch:
        self.asked.append(draw.step)
        return super().batch(indices, draw)


@pytest.mark.slow
def test_a_spike_goes_back_and_leaves_out_its_batches(
    tiny_inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    e = experiment(epochs=6, spike_factor=3.0, checkpoint_steps=10)
    inputs, o = Inputs(e, paths(tiny_inputs)), e.pretraining.stage1
    assert o is not None
    source = Noting(masked_pairs(inputs, o))
    source.asked = []
    model = new_model(inputs)
    with as_rank(0, 1, tmp_path / "rendezvous"):
        result = train(Exploding(model, o.losses), model, source, o, tmp_path / "run", 5, "f")
    assert result["steps"] == 30 and "step 25: the loss" in capsys.readouterr().out
    done = [e["step"] for e in read(tmp_path / "run" / "journal.jsonl") if e.get("key") == "loss"]
    assert done == [*range(1, 26), *range(21, 31)]  # back to the checkpoint of step 20
    assert source.asked == [*range(27), *range(26, 36)]  # 26 was made ahead; after it, 20..25 do not come again
    assert not dist.is_initialized()


def test_too_little_memory_names_the_remedy() -> None:
    found = out_of_memory(torch.OutOfMemoryError("CUDA out of memory."), micro=128, accumulation=2, zero_stage=2)
    assert found is not None
    assert "accumulation: 4 (micro-batches of 64 in place of 128), or zero_stage: 3" in str(found)
    cpu = RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory")
    assert out_of_memory(cpu, 1, 8, 3) is not None and "more ranks" in str(out_of_memory(cpu, 1, 8, 3))
    assert out_of_memory(RuntimeError("mat1 and mat2"), 8, 1, 2) is None


@pytest.mark.slow
def test_training_passes_the_remedy_on(tiny_inputs: Path, tmp_path: Path) -> None:
    e = experiment(epochs=1)
    inputs, o = Inputs(e, paths(tiny_inputs)), e.pretraining.stage1
    assert o is not None

    class Greedy(PretrainingStep):
        def forward(self, batch, cached=None):
            raise torch.OutOfMemoryError("CUDA out of memory.")

    model = new_model(inputs)
    source = CaptionPairs(masked_pairs(inputs, o))
    with (
        as_rank(0, 1, tmp_path / "rendezvous"),
        pytest.raises(VlpError, match=r"out of memory with micro-batches of 8 samples. Set accumulation: 2"),
    ):
        train(Greedy(model, o.losses), model, source, o, tmp_path / "run", 5, "f")


def test_zero_3_can_not_go_back() -> None:
    """DeepSpeed can not read a checkpoint into a running engine of stage 3."""
    with pytest.raises(VlpError, match=r"spike_factor: .*zero_stage 3"):
        experiment(spike_factor=3.0, zero_stage=3)
