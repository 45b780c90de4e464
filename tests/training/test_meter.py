"""What the log says of speed is what the batches held."""

from __future__ import annotations

import pytest
import torch

from tests.models.tiny import architecture, batch
from vlp.models.mvptr import Mvptr
from vlp.training import flops, meter
from vlp.training.flops import Sizes
from vlp.training.meter import Meter, peak_rate, shown
from vlp.training.steps import PretrainingStep, VqaStep


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in a list of one: set it."""
    now = [100.0]
    monkeypatch.setattr(meter.time, "monotonic", lambda: now[0])
    return now


def test_rates_of_known_batches(clock: list[float]) -> None:
    step = PretrainingStep(Mvptr(architecture()), ("vsc", "itm"))
    b = batch(3, pad=2)
    m = Meter(step, 2, peak=1e6)
    m.saw([b, b])
    m.waited(0.5)
    clock[0] += 10
    rates, s = m.rates(), Sizes.of(b)
    valid = sum(int(x.sum()) for x in (b.text_mask_BL, b.tag_mask_BT, b.region_mask_BR))
    assert rates["real_tokens_per_second"] == pytest.approx(2 * 2 * valid / 10)
    assert rates["padded_tokens_per_second"] == pytest.approx(2 * 2 * 3 * (10 + 7 + 6) / 10)
    assert rates["data_wait"] == pytest.approx(0.05)
    useful = sum(flops.training(flops.pretraining(architecture(), s, ("vsc", "itm"), 6)).values())
    assert rates["mfu"] == pytest.approx(2 * useful / 10 / 1e6)
    assert rates["memory_bytes"] > 1e6


def test_no_mfu_without_a_peak_or_without_known_work(clock: list[float]) -> None:
    for module, peak in ((PretrainingStep(Mvptr(architecture()), ("vsc",)), None), (torch.nn.Linear(1, 1), 1e9)):
        m = Meter(module, 1, peak)
        m.saw([batch(2)])
        clock[0] += 1
        assert "mfu" not in m.rates() and "MFU" not in shown(m.rates())


def test_a_task_counts_its_head() -> None:
    a = architecture(head="vqa", head_size=7)
    found = VqaStep(Mvptr(a)).forward_flops(Sizes.of(batch(3)), 3)
    assert found["head"] == flops.vocabulary_head(a, 3, 7)


def test_line_is_short() -> None:
    values = {"real_tokens_per_second": 8123.0, "padded_tokens_per_second": 9050.0, "data_wait": 0.004, "mfu": 0.312}
    assert shown(values | {"memory_bytes": 1.24e9}) == "8.1k/9.1k tokens/s  wait 0.4%  MFU 31%  1.2 GB"


def test_rate_of_this_cpu_is_plausible() -> None:
    rate = peak_rate(torch.device("cpu"), "fp32")
    assert rate is not None and 1e8 < rate < 1e14
    assert peak_rate(torch.device("meta"), "fp32") is None
