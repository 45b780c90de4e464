"""State beside the parameters: what a teacher and a queue are after each step, whoever shares the batch, is killed or
gets a batch that is not finite."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.training.kills import Trainings, as_rank
from tests.training.student import BATCH, ROWS, STEPS, Source, Student, leave, left, plan, student, trained
from vlp.batching.order import Layout, grouped_indices
from vlp.config.training import Plan
from vlp.errors import ConfigError, InputError, VlpError
from vlp.training.beyond import Momentum, Queue, Several
from vlp.training.checkpoint import BEYOND, beyond, newest
from vlp.training.checks import check

CHECKPOINTS = Path("run") / "checkpoints"


def alone(folder: Path, source: Source | None = None, **settings: Any) -> Student:
    """One rank, in this process."""
    folder.mkdir(exist_ok=True)
    with as_rank(0, 1, folder / f"rendezvous-{len(list(folder.iterdir()))}"):
        training = trained(folder, source or Source(), plan(**settings))
        leave(training, folder / "state-0.safetensors")
        assert isinstance(training.module, Student)
        return training.module


def alike(one: dict[str, Tensor], other: dict[str, Tensor], tolerance: float) -> None:
    assert one.keys() == other.keys()
    for name, x in one.items():
        if x.is_floating_point():
            torch.testing.assert_close(other[name], x, rtol=tolerance, atol=tolerance, msg=name)
        else:
            assert torch.equal(x, other[name]), name


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """What one rank has in the end, undisturbed."""
    folder = tmp_path_factory.mktemp("whole")
    alone(folder)
    return left(folder)


@pytest.mark.slow
def test_the_queue_holds_the_last_samples_in_the_order_of_their_places(whole: dict[str, Tensor]) -> None:
    done = [int(i) for step in range(STEPS) for i in grouped_indices(Source.lengths, BATCH, 5, step)]
    written = STEPS * BATCH
    assert (int(whole["queue.pointer"]), int(whole["queue.filled"])) == (written % ROWS, ROWS)
    assert whole["queue.sample"].roll(-(written % ROWS)).tolist() == done[-ROWS:]


@pytest.mark.slow
def test_two_ranks_hold_what_one_does_in_two_steps(whole: dict[str, Tensor], tmp_path: Path) -> None:
    alone(tmp_path / "one", accumulation=2)
    Trainings(tmp_path).finish(tmp_path / "two", 2, student)
    alike(left(tmp_path / "one"), left(tmp_path / "two"), 1e-6)
    alike(whole, left(tmp_path / "two"), 1e-6)
    alike(left(tmp_path / "two", 0), left(tmp_path / "two", 1), 0.0)


@pytest.mark.slow
def test_a_stop_changes_no_bit(whole: dict[str, Tensor], tmp_path: Path) -> None:
    for source in (Source(until=3), Source()):
        alone(tmp_path, source)
    alike(whole, left(tmp_path), 0.0)


@pytest.mark.slow
def test_one_two_one_ranks_keep_it(whole: dict[str, Tensor], tmp_path: Path) -> None:
    """The groups of the optimiser too: read from a universal checkpoint, each has its own settings."""
    alone(tmp_path, Source(until=2))
    Trainings(tmp_path).finish(tmp_path, 2, student, until=5)
    said = (tmp_path / "rank-0.log").read_text()
    assert "saved by 1 ranks, read by 2" in said
    alone(tmp_path)
    alike(whole, left(tmp_path), 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "zero_stage"), [("fp32", 0), ("fp32", 1), ("fp32", 2), ("bf16", 0), ("bf16", 2)])
def test_after_a_batch_that_is_not_finite_it_is_one_step_behind(
    precision: str, zero_stage: int, tmp_path: Path
) -> None:
    after = alone(tmp_path, Source(bad=3), precision=precision, zero_stage=zero_stage).beyond.after
    assert [applied for applied, _ in after] == [True] * 3 + [False] + [True] * (STEPS - 4)
    alike(after[2][1], after[3][1], 0.0)
    assert all(x.isfinite().all() for _, state in after for x in state.values())
    assert int(after[-1][1]["queue.pointer"]) == (STEPS - 1) * BATCH % ROWS
    moved = [k for k in after[3][1] if k.startswith("teacher") and not torch.equal(after[3][1][k], after[4][1][k])]
    assert len(moved) == 4


@pytest.mark.slow
def test_a_teacher_moves_in_half_precision(tmp_path: Path) -> None:
    """In bf16 itself 0.995 of a number and 0.005 of one nearby are the number again."""
    step = alone(tmp_path, precision="bf16")
    teacher = step.beyond["teacher"]
    assert {p.dtype for p in step.parameters()} == {torch.bfloat16} == {p.dtype for p in teacher.module.parameters()}
    start, reached = Student().beyond.state(), step.beyond.state()
    for name, reference in step.beyond.double.items():
        torch.testing.assert_close(reached[name].double(), reference, rtol=1e-5, atol=1e-6)
        assert not torch.equal(reached[name], start[name])
    for name, p in teacher.module.named_parameters():
        assert torch.equal(p, reached[f"teacher.{name}"].bfloat16()) and not p.requires_grad


@pytest.mark.slow
def test_a_spike_takes_it_back_too(tmp_path: Path) -> None:
    settings = {"epochs": 5, "spike_factor": 3.0, "checkpoint_steps": 10}
    step = alone(tmp_path, Source(spike=22), **settings)
    alike(step.beyond.after[19][1], step.beyond.restored, 0.0)
    assert len(step.beyond.after) == 23 + 5


def test_the_engine_sees_none_of_it() -> None:
    step = Student()
    held = {x.data_ptr() for x in step.beyond.state().values()}
    held |= {p.data_ptr() for p in step.beyond["teacher"].module.parameters()}
    assert not held & {p.data_ptr() for p in (*step.parameters(), *step.buffers())}
    assert set(step.state_dict()) == {n for n, _ in step.named_parameters()}
    assert {n.split(".")[0] for n in step.state_dict()} == {"encoder", "head"}


@pytest.mark.slow
def test_one_that_is_damaged_or_gone_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    alone(tmp_path, Source(until=3), keep_checkpoints=3)
    first, second, third = sorted((tmp_path / CHECKPOINTS).glob("step-*"))
    content = bytearray((third / BEYOND).read_bytes())
    content[-1] ^= 1
    (third / BEYOND).write_bytes(content)
    (second / BEYOND).unlink()
    found = newest(tmp_path / CHECKPOINTS, "f")
    said = capsys.readouterr().out
    assert found is not None and found.path == first
    assert all(f"{path}: damaged ({BEYOND}); it is not used" in said for path in (second, third))
    (first / BEYOND).unlink()
    with pytest.raises(InputError, match=r"lacks beyond.safetensors, the state beside the parameters"):
        beyond(found)


class Teaching(Plan):
    @property
    def keeps_beyond(self) -> bool:
        return True


def test_zero_3_is_refused() -> None:
    with pytest.raises(ValueError, match="zero_stage: with 3 no rank has the whole parameters"):
        Teaching.model_validate(plan().model_dump() | {"zero_stage": 3})
    assert Teaching.model_validate(plan().model_dump()).zero_stage == 2
    with pytest.raises(ConfigError, match=r"zero_stage: with 3 .*beyond"):
        check(Layout(BATCH, 1, 1), plan(zero_stage=3), Student(), BATCH)


def test_persistent_buffers_are_refused() -> None:
    step = Student()
    step.register_buffer("mean", torch.zeros(3), persistent=False)
    check(Layout(BATCH, 1, 1), plan(), step, BATCH)
    step.encoder.append(nn.BatchNorm1d(3))
    with pytest.raises(VlpError, match=r"encoder.3.num_batches_tracked, encoder.3.running_mean, .*persistent=False"):
        check(Layout(BATCH, 1, 1), plan(), step, BATCH)


def test_parameters_without_dimensions_are_refused() -> None:
    step = Student()
    step.register_parameter("temperature", nn.Parameter(torch.tensor(0.07)))
    with pytest.raises(VlpError, match=r"Student has parameters without dimensions: temperature\. .*torch.zeros\(1\)"):
        check(Layout(BATCH, 1, 1), plan(), step, BATCH)


def test_more_rows_than_the_queue_has() -> None:
    queue = Queue(x=torch.zeros(3, dtype=torch.uint8))
    for rows in (range(1, 3), range(3, 8), range(8, 10)):
        queue.offer(x=torch.tensor(list(rows), dtype=torch.uint8))
        queue.advance(nn.Identity(), applied=True)
    assert queue["x"].tolist() == [7, 8, 9]
    assert (queue.pointer, queue.filled) == (9 % 3, 3)
    queue.offer(x=torch.ones(1, dtype=torch.uint8))
    queue.advance(nn.Identity(), applied=False)
    queue.advance(nn.Identity(), applied=True)
    assert queue["x"].tolist() == [7, 8, 9]


def test_only_rows_that_a_checkpoint_keeps_exactly() -> None:
    with pytest.raises(ValueError, match=r"x: 3 rows of torch.bfloat16"):
        Queue(x=torch.zeros(3, dtype=torch.bfloat16))
    with pytest.raises(ValueError, match="y: 2 rows"):
        Queue(x=torch.zeros(3), y=torch.zeros(2))


def test_state_of_another_training_is_named() -> None:
    module = nn.Linear(2, 2)
    made = Several(teacher=Momentum(module, "", 0.9), queue=Queue(x=torch.zeros(3)))
    state = {**made.state(), "queue.x": torch.zeros(4), "other": torch.zeros(1)}
    del state["teacher.bias"]
    with pytest.raises(InputError, match=r"missing: teacher.bias; unexpected: other; of another kind: queue.x"):
        made.restore(state)
