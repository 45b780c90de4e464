"""The divergence ledger: the page equals its data, switches are keys of the schema, tests are there."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from vlp.cli import report as cli
from vlp.config import build, load, merge, read
from vlp.config.methods import schema
from vlp.config.sources import field_at, part_of
from vlp.errors import ConfigError
from vlp.report import ledger
from vlp.report.ledger import Row, Switch

ROOT = Path(__file__).parents[3]
ROWS = ledger.of("mvptr")
Experiment = schema("mvptr")
SWITCHES = [pytest.param(row, s, id=f"{row.point}-{s.key}") for row in ROWS for s in row.switches]


def base_size() -> dict[str, Any]:
    """The demo with the model's and the lengths' defaults and the batch size of the paper, on GPUs."""
    value = read(ROOT / "configs" / "demo.yaml")
    plain = {k: v for k, v in value.items() if k not in ("model", "lengths", "sources")}
    batch = {"batch_size": 1024}
    stages = {"pretraining": {"stage1": batch, "stage2": batch}, "tasks": {"retrieval": {"optimisation": batch}}}
    return merge(plain, {"regions": {"tsv": "."}, "launch": {"pretraining": {"gpus_per_node": 2}}, **stages})


@cache
def functions(file: Path) -> frozenset[str]:
    return frozenset(node.name for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef))


def test_the_page_equals_the_data() -> None:
    made = ledger.markdown("mvptr")
    stands = (ROOT / "docs" / "divergences.md").read_text(encoding="utf-8")
    assert stands == made, "run: vlp report ledger --out docs/divergences.md"


def test_the_command_writes_the_page(tmp_path: Path) -> None:
    out = tmp_path / "page.md"
    ran = CliRunner().invoke(cli.app, ["ledger", "--out", str(out)], catch_exceptions=False)
    assert ran.exit_code == 0 and out.read_text(encoding="utf-8") == ledger.markdown("mvptr")
    other = tmp_path / "other.md"
    named = ["ledger", "--method", "tests.report.other", "--out", str(other)]
    ran = CliRunner().invoke(cli.app, named, catch_exceptions=False)
    assert ran.exit_code == 0 and other.read_text(encoding="utf-8") == ledger.markdown("tests.report.other")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.point)
def test_every_row_has_tests_and_they_are_there(row: Row) -> None:
    assert row.tests
    for node in row.tests:
        file, _, name = node.partition("::")
        assert name.startswith("test_") and Path(file).name.startswith("test_"), node
        assert name in functions(ROOT / file), node


@pytest.mark.parametrize(("row", "switch"), SWITCHES)
def test_a_switch_is_a_key_and_takes_the_value_of_each_reading(row: Row, switch: Switch) -> None:
    field = field_at(Experiment, switch.key)
    assert switch.values
    for wanted in switch.values.values():
        nested: Any = wanted
        for name in reversed(switch.key.split(".")):
            nested = {name: nested}
        value: Any = build(merge(base_size(), nested), row.point)
        for name in switch.key.split("."):
            value = getattr(value, name)
        if isinstance(wanted, dict):
            assert value.model_dump() == wanted
        else:
            assert value == wanted and type(value) in (type(wanted), float)
    if row.reading in switch.values and not field.is_required():
        default = field.get_default(call_default_factory=True, validated_data={})
        assert default == switch.values[row.reading], "the default is another reading than the row says"


def test_a_wrong_value_of_a_switch_would_be_noticed() -> None:
    with pytest.raises(ConfigError, match=r"model\.grounding_layer"):
        build(merge(base_size(), {"model": {"grounding_layer": 7}}), "x")
    with pytest.raises(ValueError, match="no such key"):
        field_at(Experiment, "model.layer_of_wpg")


def test_epochs_have_no_default() -> None:
    for key in ("pretraining.stage1.epochs", "tasks.retrieval.optimisation.epochs"):
        assert field_at(Experiment, key).is_required() and part_of(field_at(Experiment, key)) is None


def test_all_three_readings_are_told_apart() -> None:
    assert {row.reading for row in ROWS} == set(ledger.READINGS)
    assert all(row.paper != row.here or row.reading != "ours" for row in ROWS)


def test_values_in_use_are_those_of_the_experiment() -> None:
    row = next(row for row in ROWS if row.point == "Hardness of the draw")
    demo = load(ROOT / "configs" / "demo.yaml", ["tasks.retrieval=null"])
    assert ledger.in_use(row, demo) == [("pretraining.stage2.negative_warmup", "1.0")]
