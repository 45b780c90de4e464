"""The formulas against counted matrix products of the modules, and the estimate against the paper's scale."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tests.batching.draws import draw
from tests.methods.mvptr.tiny import architecture, batch
from vlp.config import load
from vlp.config.tasks import Tasks
from vlp.methods.mvptr import cost, flops
from vlp.methods.mvptr.batch import Batch, Targets
from vlp.methods.mvptr.flops import Sizes
from vlp.methods.mvptr.model import Mvptr
from vlp.methods.mvptr.reader import add_negative_noise
from vlp.methods.mvptr.steps import PretrainingStep
from vlp.models import products
from vlp.models.flops import training
from vlp.training import estimate

CONFIGS = Path(__file__).parents[3] / "configs"
PATHS = ["data.root=.", "regions.tsv=."]
STAGE2 = ("mcr_visual", "mcr_text", "vsc", "mlm", "itm", "wpg")


def counted(module: torch.nn.Module, *arguments: object) -> float:
    """FLOPs of a forward pass, as torch counts them on the way."""
    # The fused kernel of a CPU and oneDNN's product are unknown to the counter.
    torchs = mock.patch.object(products, "one_dnn_wins", lambda: False)
    with torchs, sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        module(*arguments)
    return float(counter.get_total_flops())


def full(size: int) -> Batch:
    """A batch without padding: what is counted is then what is useful."""
    b = batch(size)
    for name in ("text_mask_BL", "tag_mask_BT", "region_mask_BR"):
        setattr(b, name, torch.ones_like(getattr(b, name)))
    return b


@pytest.mark.parametrize("cls_only", [False, True])
def test_encoder_is_what_torch_counts(cls_only: bool) -> None:
    a = architecture(layers=3)
    m = Mvptr(a).eval()
    x, mask = torch.randn(4, 7, a.hidden_size), torch.ones(4, 7, dtype=torch.bool)
    expected = counted(m.text_encoder, x, mask, cls_only)
    assert flops.encoder(a, 3, np.full(4, 7.0), cls_only) == expected


def test_padding_is_not_useful() -> None:
    narrow, wide = Sizes.of(batch(3)), Sizes.of(batch(3, pad=2))
    np.testing.assert_array_equal(narrow.text_B, wide.text_B)
    padded = Sizes.of(batch(3, pad=2), padded=True)
    assert (padded.text_B == 10).all() and (padded.regions_B == 6).all()
    assert padded.positions > wide.positions == narrow.positions


def test_pretraining_step_forward_is_what_torch_counts() -> None:
    a = architecture()
    b = add_negative_noise(full(4), draw(4))
    rows = torch.arange(3)
    b.words = b.tags = Targets(rows, torch.ones_like(rows), rows + 6, rows)
    b.phrases = Targets(rows, torch.ones_like(rows), rows, rows)
    s = Sizes.of(b)
    step = PretrainingStep(Mvptr(a), STAGE2).train()
    expected = sum(flops.pretraining(a, s, STAGE2, len(b)).values())
    assert counted(step, b) == pytest.approx(expected, rel=0.02)


def test_training_is_three_forwards_but_for_the_regions() -> None:
    assert training({"text": 2.0, flops.PROJECTION: 2.0}, flops.LEADING) == {"text": 6.0, flops.PROJECTION: 4.0}


def test_negatives_of_equal_lengths_cost_what_the_pairs_do() -> None:
    a, s = architecture(), Sizes.uniform(5, 1, 3, 4, (0, 0, 0))
    assert flops.negatives(a, s) == pytest.approx(flops.multimodal(a, s))
    assert flops.negatives(a, s, True) == pytest.approx(flops.multimodal(a, s, True))


def test_negatives_cost_the_mean_over_all_exchanges() -> None:
    a, g = architecture(), np.random.default_rng(0)
    text, regions, none = g.integers(3, 9, 6).astype(float), g.integers(1, 9, 6).astype(float), np.zeros(6)
    exchanged = [flops.encoder(a, 2, np.array([t + r])) for t in text for r in regions]
    assert flops.negatives(a, Sizes(text, none, regions, none, 0, 0, 0)) == pytest.approx(6 * np.mean(exchanged))


@pytest.mark.parametrize("changed", [{}, {"contrast_projection": True, "region_layer_norm": True}])
def test_parameters_are_the_modules(changed: dict[str, bool]) -> None:
    a = architecture().model_copy(update=changed)
    assert sum(flops.parameters(a).values()) == sum(p.numel() for p in Mvptr(a).parameters())


def test_paper_scale() -> None:
    """29.8 and 77.3 GFLOP a padded pair, as computed by hand from 12 layers of 768 (lengths 40, 70, 90)."""
    e = load(CONFIGS / "paper.yaml", PATHS)
    stage1, stage2 = cost.stages(e, estimate.Machines.parse("8xH200"), {})[:2]
    assert stage1.samples is not None and stage2.samples is not None
    assert stage1.padded / stage1.samples == pytest.approx(29.8e9, rel=0.03)
    assert stage2.padded / stage2.samples == pytest.approx(77.3e9, rel=0.03)
    assert stage1.steps == round(15 * 9_370_000 / 1024) and stage2.steps == round(30 * 9_370_000 / 1024)
    assert 1.3 < stage2.padded / stage2.useful < 1.8
    assert sum(stage2.shares[name] for name in flops.CONCEPT_LOSSES) <= 0.034
    assert sum(stage2.shares.values()) == pytest.approx(1)


def test_more_gpus_take_fewer_hours_and_less_memory_each() -> None:
    e = load(CONFIGS / "paper.yaml", PATHS)
    one, eight = (cost.stages(e, estimate.Machines.parse(g), {})[1] for g in ("H200", "8xH200"))
    assert one.hours_useful is not None and eight.hours_useful is not None
    assert one.hours_useful == pytest.approx(8 * eight.hours_useful)
    assert one.memory > 2 * eight.memory


def test_a_task_is_trained_once_for_each_variant_and_seed() -> None:
    e = load(CONFIGS / "paper.yaml", PATHS)
    assert [estimate.trainings(e, name) for name in ("stage1", "vqa", "referring")] == [1, 2 * 3, 1]
    alone = e.model_copy(update={"tasks": Tasks.model_validate({"vqa": e.tasks.vqa})})
    models, once = (cost.disk(x, None)["models"] for x in (e, alone))
    assert models is not None and once is not None and models / once == pytest.approx((2 + 4 * 6) / (2 + 6))


def test_unknown_numbers_stay_unknown() -> None:
    e = load(CONFIGS / "coco.yaml", [*PATHS, "pretraining.stage1.epoch_size=null"])
    machines = estimate.Machines.parse("1xh200")
    assert cost.stages(e, machines, {})[0].hours_useful is None
    assert cost.stages(e, machines, {"captions": 1000})[0].samples == 15_000
    assert cost.disk(e, None)["region store"] is None
    assert cost.disk(e, 1000)["region store"] == 1000 * 38 * (2048 * 2 + 32)
