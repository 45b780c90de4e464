"""What the runs of a sweep share: equal work has one place, other work another."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.training.tiny_run import ROOT
from vlp.config.sweep import load, resolved
from vlp.errors import ConfigError, InputError
from vlp.sweep import plan as plans
from vlp.sweep.plan import Plan

KINDS = ("data", "stage1", "stage2", "run")

SMOKE = ROOT / "configs" / "smoke.yaml"
TABLE4 = ROOT / "configs" / "sweeps" / "table4.yaml"


def table4(folder: Path, *overrides: str, **changes: object) -> Plan:
    sweep = load(TABLE4, {"base": SMOKE, "seeds": [1, 2]} | changes)
    return plans.make(sweep, [f"results={folder}", *overrides])


def sizes(plan: Plan) -> dict[str, int]:
    return {kind: len(plan.of(kind)) for kind in KINDS}


def test_table_4_has_the_papers_rows_and_leaves_each_part_out_alone(tmp_path: Path) -> None:
    plan = table4(tmp_path)
    assert len(plan.runs) == 12 and all(set(of) == {1, 2} for of in plan.runs.values())
    runs = {n.name: n.experiment for n in plan.of("run")}
    of = {row: runs[seeds[1]] for row, seeds in plan.runs.items()}
    full = of["full"].pretraining
    assert full.stage1 is not None
    for row, loss in (("- WPG", "wpg"), ("- MCR-s", "mcr_text"), ("- MCR-v", "mcr_visual"), ("- VSC", "vsc")):
        p = of[row].pretraining
        assert p.stage1 is not None
        assert [x for x in full.stage2.losses if x != loss] == p.stage2.losses
        assert [x for x in full.stage1.losses if x != loss] == p.stage1.losses
        assert of[row].model == of["full"].model
    assert not of["- tags"].model.use_tags and not of["- phrases"].model.use_phrases
    merged = next(e for row, e in of.items() if "merged" in row)
    base = of["full"].model
    assert merged.model.multimodal_layers == base.text_layers + base.multimodal_layers
    assert (
        merged.pretraining.stage1 is None and merged.pretraining.stage2.losses == of["- VSC"].pretraining.stage2.losses
    )


def test_what_is_equal_is_made_once(tmp_path: Path) -> None:
    """Nine settings x two seeds; WPG is no loss of stage 1, so its row shares it with `full`, and so on."""
    plan = table4(tmp_path)
    assert sizes(plan) == {"data": 1, "stage1": 12, "stage2": 18, "run": 18}
    runs = plan.runs
    assert runs["- tags"] == runs["3: w,c,r, MCR-s VSC WPG MLM ITM"]
    assert runs["- phrases"] == runs["5: w,r,t, MCR-v VSC MLM ITM"]
    assert runs["- MCR-v"] == runs["2: w,c,r,t, MCR-s VSC WPG MLM ITM"]
    by_name = {n.name: n.experiment for n in plan.nodes}
    first, other = by_name[runs["full"][1]], by_name[runs["- WPG"][1]]
    assert first.place("models/stage1") == other.place("models/stage1")
    assert first.place("models/stage2") != other.place("models/stage2")
    assert {e.reuse.data for name, e in by_name.items() if not name.startswith("data")} == {
        plan.of("data")[0].experiment.folder
    }


def test_names_do_not_depend_on_what_else_is_in_the_sweep(tmp_path: Path) -> None:
    """So rows and seeds can be added: what is there stays where it is."""
    small, large = table4(tmp_path, seeds=[1]), table4(tmp_path, seeds=[2, 3, 1])
    assert {n.name for n in small.nodes} <= {n.name for n in large.nodes}
    assert table4(tmp_path, "launch.pretraining.minutes=5").runs == table4(tmp_path).runs


@pytest.mark.parametrize(
    "override, kinds",
    [
        ("tasks.vqa.optimisation.epochs=2", {"run"}),
        ("pretraining.stage2.epochs=2", {"stage2", "run"}),
        ("pretraining.stage1.epochs=2", {"stage1", "stage2", "run"}),
        ("launch.pretraining.tasks_per_node=1", {"stage1", "stage2", "run"}),
        ("phrases.min_sentences=4", {"data", "stage1", "stage2", "run"}),
        ("pretraining.tag_source=ground_truth", {"data", "stage1", "stage2", "run"}),
        ("launch.cpu_threads=2", {"data", "stage1", "stage2", "run"}),
    ],
)
def test_a_change_reaches_what_comes_after_it(tmp_path: Path, override: str, kinds: set[str]) -> None:
    before, after = chain(table4(tmp_path)), chain(table4(tmp_path, override))
    assert {kind for kind in KINDS if before[kind] != after[kind]} == kinds


def chain(plan: Plan) -> dict[str, str]:
    """Kind -> the part that the first run of the full model needs."""
    return {n.kind: n.name for n in plan.nodes if "full, seed 1" in n.users}


def test_the_plan_is_read_as_it_was_written(tmp_path: Path) -> None:
    plan = table4(tmp_path)
    again = plans.read(plan.write())
    assert again.runs == plan.runs
    assert [(n.kind, n.name, n.experiment) for n in again.nodes] == [(n.kind, n.name, n.experiment) for n in plan.nodes]
    path = plan.folder / "plan.yaml"
    path.write_text(path.read_text()[:2000])
    with pytest.raises(InputError, match=r"plan.yaml: not a plan"):
        plans.read(path)


def test_a_plan_that_was_moved_is_of_the_folder_that_it_lies_in(tmp_path: Path) -> None:
    plan = table4(tmp_path)
    written, moved = plan.write(), tmp_path / "elsewhere" / "moved"
    for node in plan.nodes:
        (moved / node.name).mkdir(parents=True)
    written.rename(moved / "plan.yaml")
    again = plans.read(moved / "plan.yaml")
    assert [n.experiment.folder for n in again.nodes] == [moved / n.name for n in plan.nodes]
    assert str(plan.folder) not in "".join(n.experiment.reuse.model_dump_json() for n in again.nodes)


def sweep_file(folder: Path, **value: object) -> Path:
    path = folder / "sweep.yaml"
    whole = {"name": "s", "base": str(SMOKE), "seeds": [1], "control": "a", "rows": {"a": {}}} | value
    path.write_text(yaml.safe_dump(whole, sort_keys=False))
    return path


def test_a_grid_makes_every_combination_a_row(tmp_path: Path) -> None:
    grid = {"pretraining.stage2.learning_rate": [0.001, 0.002], "masking.words": [0.1, 0.2, 0.3]}
    rows = resolved(load(sweep_file(tmp_path, grid=grid)), ["seed=3"])
    assert len(rows) == 7
    assert rows["learning_rate=0.002,words=0.3"]["masking"]["words"] == 0.3
    assert rows["learning_rate=0.002,words=0.3"]["pretraining"]["stage2"]["learning_rate"] == 0.002
    assert rows["a"]["seed"] == 3


def test_a_row_of_another_file_is_no_row_of_the_base(tmp_path: Path) -> None:
    """The method of that file, its stages; what all rows share is laid over it too."""
    stage = {"epochs": 1, "batch_size": 4, "learning_rate": 1e-3}
    data = {"name": "d", "generator": {}, "captions": {"format": "karpathy"}}
    other = {"name": "o", "data": data, "model": {"method": "tests.report.other"}, "pretraining": {"only": stage}}
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(other | {"tasks": {"retrieval": {"optimisation": stage}}}))
    rows = {"a": {}, "b": {"extends": "other.yaml", "pretraining": {"only": {"epochs": 2}}}}
    sweep = load(sweep_file(tmp_path, rows=rows, common={"tasks": {"vqa": None}}))
    plan = plans.make(sweep, [f"results={tmp_path}"])
    assert (plan.kinds[0], plan.kinds[-1], set(plan.kinds[1:-1])) == ("data", "run", {"stage1", "stage2", "only"})
    own, other = ({n.name: n for n in plan.nodes}[plan.runs[row][1]].experiment for row in ("a", "b"))
    assert (own.model.method, other.model.method) == ("mvptr", "tests.report.other")
    assert other.pretraining.only.epochs == 2 and list(other.reuse.stages) == ["only"]
    assert own.tasks.vqa is None and other.tasks.vqa is None
    assert own.tracking.varied["model.method"] == "mvptr"
    assert plans.read(plan.write()).runs == plan.runs


@pytest.mark.parametrize(
    "value, told",
    [
        ({"control": "b"}, "control: 'b' is no row; rows are a"),
        ({"seeds": []}, "seeds"),
        ({"seeds": [1, 1]}, "a seed stands there twice"),
        ({"rowz": {}}, "rowz"),
        ({"published": {"b": {"RSUM": 1.0}}}, "published: b: no such row"),
    ],
)
def test_a_wrong_sweep_file_is_told(tmp_path: Path, value: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        load(sweep_file(tmp_path, **value))


def test_a_wrong_row_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"row bad: model.hiden_size: unknown key; did you mean hidden_size"):
        plans.make(load(sweep_file(tmp_path, rows={"a": {}, "bad": {"model": {"hiden_size": 1}}})), [])
    with pytest.raises(ConfigError, match=r"row a: .*model.layers is no number of the base"):
        plans.make(load(sweep_file(tmp_path, rows={"a": {"model": {"text_layers": "= model.layers"}}})), [])
    with pytest.raises(ConfigError, match="there is no such file"):
        load(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match=r"grid: the row seed=1 stands there twice"):
        load(sweep_file(tmp_path, grid={"seed": [1, 2, 1]}))
    with pytest.raises(ConfigError, match=r"rows\.a\.extends: the path of one file"):
        load(sweep_file(tmp_path, rows={"a": {"extends": 5}}))
    twice = sweep_file(tmp_path)
    twice.write_text(twice.read_text() + "seeds: [5]\n")
    with pytest.raises(ConfigError, match=r"line \d+: seeds stands there twice"):
        load(twice)


def test_each_part_knows_the_values_of_the_keys_that_the_rows_vary(tmp_path: Path) -> None:
    plan = table4(tmp_path)
    of = {node.name: node.experiment.tracking.varied for node in plan.nodes}
    keys = {"row", "model.use_tags", "model.use_phrases", "pretraining.stage1.losses", "pretraining.stage2.losses"}
    assert all(keys <= set(values) for values in of.values())
    full, tagless = (of[next(iter(plan.runs[row].values()))] for row in ("full", "- tags"))
    assert (full["row"], full["model.use_tags"], tagless["model.use_tags"]) == ("full", "True", "False")
    (data,) = (node for node in plan.nodes if node.kind == "data")
    assert of[data.name]["model.use_tags"] == "any"
    assert all(of[n.name]["pretraining.stage2.losses"] == "any" for n in plan.of("stage1"))
