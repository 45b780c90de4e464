import itertools
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from tests.methods.mvptr.tiny import architecture
from vlp.config.training import Optimisation, Plan
from vlp.errors import VlpError
from vlp.methods.mvptr.model import Mvptr
from vlp.training import engine
from vlp.training.base import Group
from vlp.training.schedule import by_shape, learning_rate, optimiser, parameter_groups


def options(**changed: Any) -> Optimisation:
    return Optimisation.model_validate({"epochs": 1, "batch_size": 4, "learning_rate": 1.0, **changed})


def test_rises_for_one_fifth_then_falls_to_zero() -> None:
    rates = [learning_rate(options(), s, 100) for s in range(100)]
    assert rates[0] == pytest.approx(1 / 20)
    assert rates[19] == pytest.approx(1.0)
    assert max(rates) <= 1.0
    assert all(a > b for a, b in itertools.pairwise(rates[20:]))
    assert rates[-1] == pytest.approx(1 / 80)


def test_a_cosine_falls_from_the_end_of_the_warm_up() -> None:
    o = options(schedule="cosine", final_rate=0.1)
    assert [learning_rate(o, s, 100) for s in range(20)] == [learning_rate(options(), s, 100) for s in range(20)]
    found = [learning_rate(o, s, 100) for s in (20, 40, 60, 80, 100)]
    assert found == pytest.approx([0.1 + 0.9 * (1 + math.cos(math.pi * x / 4)) / 2 for x in range(5)])
    assert found[0] == 1.0 and found[-1] == pytest.approx(0.1)


def test_a_cosine_of_epochs_is_that_of_the_albef_family() -> None:
    """Rates of SIMLA's release: 30 epochs from 1e-4 to 1e-5, at epochs 10, 20 and 29."""
    o = options(schedule="cosine_epochs", epochs=30, learning_rate=1e-4, final_rate=0.1, warmup=0.01)
    assert learning_rate(o, 0, 3000) == pytest.approx(1e-4 / 30)
    for epoch, rate in ((1, 9.975e-5), (10, 7.75e-5), (20, 3.25e-5), (29, 1.025e-5)):
        found = [learning_rate(o, epoch * 100 + s, 3000) for s in (0, 57, 99)]
        assert found == pytest.approx([rate] * 3, rel=1e-3) and len(set(found)) == 1


def test_milestones_are_shares_of_the_run() -> None:
    o = options(schedule="milestones", milestones=[0.67, 0.89], warmup=0.1)
    found = [learning_rate(o, s, 100) for s in (9, 10, 66, 67, 88, 89, 99)]
    assert found == pytest.approx([1.0, 1.0, 1.0, 0.1, 0.1, 0.01, 0.01])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"schedule": "milestones"}, "milestones: .* needs one at least"),
        ({"milestones": [0.5]}, "milestones: belong to schedule: milestones"),
        ({"schedule": "milestones", "milestones": [0.9, 0.5]}, "milestones: .* rising"),
        ({"schedule": "milestones", "milestones": [1.0]}, "milestones: .* between 0 and 1"),
        ({"final_rate": 0.1}, "final_rate: only a cosine"),
        ({"betas": [0.9, 1.0]}, "betas: two numbers"),
        ({"schedule": "polynomial"}, "schedule"),
    ],
)
def test_settings_that_say_nothing_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        options(**settings)


def test_biases_norms_and_temperature_are_not_decayed() -> None:
    model = Mvptr(architecture())
    model.pooler.requires_grad_(False)
    decayed, plain = parameter_groups(model, options())
    names = {id(p): n for n, p in model.named_parameters()}
    plain_names = {names[id(p)] for p in plain["params"]}
    assert {n for n in names.values() if n.endswith("bias") and "pooler" not in n} <= plain_names
    assert "logit_scale" in plain_names
    assert "embedding_norm.weight" in plain_names
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.01, 0.0)
    assert not {n for n in names.values() if "pooler" in n} & {
        names[id(p)] for g in (decayed, plain) for p in g["params"]
    }


class Grouping(nn.Module):
    """A backbone at a tenth of the rate, a head with betas of its own and no decay."""

    def __init__(self, *changed: Group) -> None:
        super().__init__()
        self.backbone, self.head = nn.Linear(3, 3), nn.Linear(3, 2, bias=False)
        self._groups = [*by_shape(named("backbone", self.backbone), 0.1), *changed]

    def groups(self) -> list[Group]:
        return self._groups


def named(prefix: str, module: nn.Module) -> dict[str, torch.Tensor]:
    return {f"{prefix}.{name}": p for name, p in module.named_parameters()}


HEAD = Group(["head.weight"], decay=0.0, betas=(0.8, 0.9))


def test_a_step_module_names_its_groups() -> None:
    made = optimiser(Grouping(HEAD), options(eps=1e-6, betas=[0.9, 0.98], learning_rate=0.5))
    found = [(g["lr"], g["weight_decay"], g["betas"], g["eps"]) for g in made.param_groups]
    assert found == [(0.05, 0.01, (0.9, 0.98), 1e-6), (0.05, 0.0, (0.9, 0.98), 1e-6), (0.5, 0.0, (0.8, 0.9), 1e-6)]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ([], "in no group is head.weight"),
        ([HEAD, HEAD], "in several groups is head.weight"),
        ([HEAD, Group(["neck.bias"])], "there is no parameter neck.bias"),
    ],
)
def test_groups_hold_each_parameter_once(changed: list[Group], said: str) -> None:
    with pytest.raises(VlpError, match=said):
        optimiser(Grouping(*changed), options())


def test_a_frozen_parameter_is_in_no_group_of_the_optimiser() -> None:
    module = Grouping(HEAD)
    module.head.requires_grad_(False)
    assert len(parameter_groups(module, options())) == 2


def test_a_group_is_the_same_after_loading() -> None:
    """From a universal checkpoint ZeRO 3 gives every group the settings of the first."""
    made = optimiser(Grouping(HEAD), options())
    expected = [{k: v for k, v in g.items() if k != "params"} for g in made.param_groups]

    def read(*_: object, **__: object) -> None:
        for group in made.param_groups:
            group.update(lr=7.0, weight_decay=7.0, betas=(0.7, 0.7), eps=7.0)

    config = SimpleNamespace(load_universal_checkpoint=True)
    fake: Any = SimpleNamespace(optimizer=made, load_checkpoint=read, _config=config)
    engine.load(fake, engine.Path("none"), "state")
    assert [{k: v for k, v in g.items() if k != "params"} for g in made.param_groups] == expected


def test_what_a_method_does_not_need_is_no_key_of_its_plan() -> None:
    assert set(Optimisation.model_fields) - set(Plan.model_fields) == {
        "negative_warmup",
        "contrast_group",
        "embedding_cache",
        "negative_group",
    }


def test_temperature_is_clamped() -> None:
    model = Mvptr(architecture())
    with torch.no_grad():
        for value, scale in ((10.0, 100.0), (-3.0, 1.0), (0.0, 1.0)):
            nn.init.constant_(model.logit_scale, value)
            assert float(model.scale()) == pytest.approx(scale, rel=1e-5)
