"""What the log says of speed is what the batches held."""

from __future__ import annotations

import pytest
import torch

from tests.methods.mvptr.tiny import architecture, batch
from vlp.methods.mvptr import flops
from vlp.methods.mvptr.flops import Sizes
from vlp.methods.mvptr.model import Mvptr
from vlp.methods.mvptr.steps import PretrainingStep, VqaStep
from vlp.models.flops import training
from vlp.training import meter
from vlp.training.meter import Meter, line, peak_rate, shown


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in a list of one: set it."""
    now = [100.0]
    monkeypatch.setattr(meter.time, "monotonic", lambda: now[0])
    return now


def test_rates_of_known_batches(clock: list[float]) -> None:
    step = PretrainingStep(Mvptr(architecture()), ("vsc", "itm"))
    b = batch(3, pad=2)
    m = Meter(step, 2, 12, peak=1e6)
    m.saw([b, b])
    m.waited(0.5)
    clock[0] += 10
    rates, s = m.rates(), Sizes.of(b)
    valid = sum(int(x.sum()) for x in (b.text_mask_BL, b.tag_mask_BT, b.region_mask_BR))
    assert rates["samples_per_second"] == pytest.approx(12 / 10)
    assert rates["real_tokens_per_second"] == pytest.approx(2 * 2 * valid / 10)
    assert rates["padded_tokens_per_second"] == pytest.approx(2 * 2 * 3 * (10 + 7 + 6) / 10)
    assert rates["data_wait"] == pytest.approx(0.05)
    useful = sum(training(flops.pretraining(architecture(), s, ("vsc", "itm"), 6), flops.LEADING).values())
    assert rates["mfu"] == pytest.approx(2 * useful / 10 / 1e6)
    assert rates["memory_bytes"] > 1e6


def test_a_line_is_of_the_steps_since_the_last(clock: list[float]) -> None:
    """A loader that falls behind late in a long training shows at once; the whole is there for the costs."""
    m = Meter(torch.nn.Linear(1, 1), 1, 8, None)
    for seconds, waited in ((90, 0.0), (10, 5.0)):
        m.saw([batch(2)])
        m.waited(waited)
        clock[0] += seconds
        found = m.rates()
        assert found["data_wait"] == pytest.approx(waited / seconds)
        assert found["samples_per_second"] == pytest.approx(8 / seconds)
    assert m.whole() == pytest.approx({"data_wait": 0.05, "samples_per_second": 0.16})


def test_no_mfu_without_a_peak_or_without_known_work(clock: list[float]) -> None:
    for module, peak in ((PretrainingStep(Mvptr(architecture()), ("vsc",)), None), (torch.nn.Linear(1, 1), 1e9)):
        m = Meter(module, 1, 2, peak)
        m.saw([batch(2)])
        clock[0] += 1
        rates = m.rates()
        assert "mfu" not in rates and "MFU" not in shown(rates)


def test_a_task_counts_its_head() -> None:
    a = architecture(head="vqa", head_size=7)
    found = VqaStep(Mvptr(a)).forward_flops(Sizes.of(batch(3)), 3)
    assert found["head"] == flops.vocabulary_head(a, 3, 7)


def test_rates_are_short() -> None:
    values = {"real_tokens_per_second": 8123.0, "padded_tokens_per_second": 9050.0, "data_wait": 0.004, "mfu": 0.312}
    assert shown(values | {"memory_bytes": 1.24e9}) == "8.1k/9.1k tokens/s  wait 0.4%  MFU 31%  1.2 GB"


def test_rate_of_this_cpu_is_plausible() -> None:
    rate = peak_rate(torch.device("cpu"), "fp32")
    assert rate is not None and 1e8 < rate < 1e14
    assert peak_rate(torch.device("meta"), "fp32") is None


def test_a_line_says_all() -> None:
    speed = {"samples_per_second": 400.0, "real_tokens_per_second": 1e4, "padded_tokens_per_second": 2e4}
    values = {"loss": 7.25, "loss_vsc": 2.0, "loss_itm": 0.5, "learning_rate": 3e-5, "data_wait": 0.01, "mfu": 0.4}
    found = line(100, 1000, values | speed | {"memory_bytes": 2e9}, samples_per_second=200.0, batch_size=1024)
    assert found == (
        "step 100/1000  loss 7.250 vsc 2.000 itm 0.500  lr 3.00e-05  400 samples/s  10.0k/20.0k tokens/s  wait 1.0%  "
        "MFU 40%  2.0 GB  1:16:48 left"
    )
