import itertools

import pytest
import torch
from torch import nn

from tests.methods.mvptr.tiny import architecture
from vlp.config.training import Optimisation
from vlp.methods.mvptr.model import Mvptr
from vlp.training.schedule import learning_rate, parameter_groups


def options(**changed: float) -> Optimisation:
    return Optimisation.model_validate({"epochs": 1, "batch_size": 4, "learning_rate": 1.0, **changed})


def test_rises_for_one_fifth_then_falls_to_zero() -> None:
    rates = [learning_rate(options(), s, 100) for s in range(100)]
    assert rates[0] == pytest.approx(1 / 20)
    assert rates[19] == pytest.approx(1.0)
    assert max(rates) <= 1.0
    assert all(a > b for a, b in itertools.pairwise(rates[20:]))
    assert rates[-1] == pytest.approx(1 / 80)


def test_biases_norms_and_temperature_are_not_decayed() -> None:
    model = Mvptr(architecture())
    model.pooler.requires_grad_(False)
    decayed, plain = parameter_groups(model, 0.01)
    names = {id(p): n for n, p in model.named_parameters()}
    plain_names = {names[id(p)] for p in plain["params"]}
    assert {n for n in names.values() if n.endswith("bias") and "pooler" not in n} <= plain_names
    assert "logit_scale" in plain_names
    assert "embedding_norm.weight" in plain_names
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.01, 0.0)
    assert not {n for n in names.values() if "pooler" in n} & {
        names[id(p)] for g in (decayed, plain) for p in g["params"]
    }


def test_temperature_is_clamped() -> None:
    model = Mvptr(architecture())
    with torch.no_grad():
        for value, scale in ((10.0, 100.0), (-3.0, 1.0), (0.0, 1.0)):
            nn.init.constant_(model.logit_scale, value)
            assert float(model.scale()) == pytest.approx(scale, rel=1e-5)
