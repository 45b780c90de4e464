"""Where values come from: what is stated, what is assumed, and that a statement dies with the value it was for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from vlp.cli import config as cli
from vlp.config import build, json_schema, load, read
from vlp.config.provenance import ASSUMED, KINDS, Origin, by_group, count, origins
from vlp.errors import ConfigError

CONFIGS = Path(__file__).parents[2] / "configs"
PAPER: dict[str, tuple[Any, str]] = {
    "lengths.words": (35, "paper 4.1"),
    "lengths.phrases": (5, "paper 4.1"),
    "lengths.regions": (50, "paper 4.1"),
    "lengths.tags": (20, "paper 4.1"),
    "masking.words": (0.15, "paper 3.2.1"),
    "masking.phrases": (0.15, "paper 3.2.1"),
    "masking.tags": (0.25, "paper 3.2.1"),
    "model.hidden_size": (768, "paper A.2.1"),
    "model.num_heads": (12, "paper A.2.1"),
    "model.intermediate_size": (3072, "paper A.2.1"),
    "model.text_layers": (6, "paper 4.1"),
    "model.visual_layers": (6, "paper 4.1"),
    "model.multimodal_layers": (6, "paper 4.1"),
    "model.dropout": (0.1, "paper A.2.2"),
    "model.attention_dropout": (0.1, "paper A.2.2"),
    "model.grounding_layer": (3, "paper 3.3.2"),
    "phrases.min_sentences": (50, "paper 3.1.1"),
    "regions.detector.score_threshold": (0.2, "paper A.1"),
    "pretraining.stage1.warmup": (0.2, "paper 4.1"),
    "pretraining.stage2.zero_stage": (2, "paper A.2.2"),
    "tasks.retrieval.captions_reranked": (128, "paper 4.2.1"),
    "tasks.retrieval.images_reranked": (64, "paper 4.2.1"),
}
"""The paper's own numbers, written down from it once more."""


def plain(**more: Any) -> dict[str, Any]:
    """An experiment that sets hardly anything."""
    stage = {"epochs": 1, "batch_size": 4, "learning_rate": 1e-3, "losses": ["vsc"]}
    return {
        "name": "plain",
        "data": {"name": "d", "root": ".", "captions": {"format": "karpathy"}},
        "regions": {"source": "vinvl_tsv", "tsv": "."},
        "pretraining": {"stage1": stage, "stage2": stage},
        "tasks": {"retrieval": {"optimisation": {"epochs": 1, "batch_size": 4, "learning_rate": 1e-3}}},
        **more,
    }


def found(value: dict[str, Any], given: bool = True) -> dict[str, Origin]:
    return {o.key: o for o in origins(build(value, "plain"), value if given else None)}


def test_the_papers_numbers_are_the_defaults_and_name_their_section() -> None:
    here = found(plain())
    for key, (value, source) in PAPER.items():
        assert (here[key].value, here[key].source, here[key].given) == (value, source, False)


def test_another_value_is_assumed_unless_its_source_is_stated() -> None:
    changed = {"model": {"hidden_size": 24, "dropout": 0.3}, "sources": {"model.dropout": "paper A.3.2"}}
    here = found(plain(**changed))
    assert (here["model.hidden_size"].source, here["model.dropout"].source) == (ASSUMED, "paper A.3.2")
    assert here["model.hidden_size"].sourced == (768, "paper A.2.1")
    assert here["model.dropout"].sourced is None and here["model.dropout"].kind == "paper"
    assert here["pretraining.stage1.epochs"].source == ASSUMED  # it has no default
    assert here["model.init_from"].source == ASSUMED  # its default has no source


def test_a_default_has_its_source_only_where_the_source_speaks_of() -> None:
    """The paper gives warm-up for pre-training, not for the tasks, which share the model."""
    here = found(plain())
    assert here["pretraining.stage2.warmup"].source == "paper 4.1"
    assert here["tasks.retrieval.optimisation.warmup"].source == ASSUMED
    assert here["tasks.retrieval.optimisation.gradient_clipping"].source == "released"
    tasks = {**plain()["tasks"]["retrieval"], "lengths": {"words": 35}}
    assert found(plain(tasks={"retrieval": tasks}))["tasks.retrieval.lengths.words"].source == ASSUMED


def test_what_belongs_to_the_run_alone_is_local_whatever_its_value() -> None:
    here = found(plain(seed=7, launch={"cpu_threads": 3}))
    for key in ("seed", "name", "launch.cpu_threads", "launch.pretraining.nodes", "data.name"):
        assert here[key].source == "local"


@pytest.mark.parametrize("name", ["demo", "smoke"])
def test_every_value_is_listed_once_and_has_a_known_kind(name: str) -> None:
    experiment = load(CONFIGS / f"{name}.yaml")
    listed = origins(experiment)

    def leaves(value: Any, path: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            return {path: value}
        return {k: v for key, below in value.items() for k, v in leaves(below, f"{path}.{key}").items()}

    dumped = leaves({k: v for k, v in experiment.model_dump().items() if k != "sources"}, "")
    for o in listed:
        if not isinstance(o.value, dict):
            assert dumped.pop(f".{o.key}") == o.value
    assert all(
        v is None or any(part in k for part in (".files.", ".rename.", ".not_hashed.")) for k, v in dumped.items()
    )
    assert all(o.kind in KINDS for o in listed) and len({o.key for o in listed}) == len(listed)
    assert sum(count(listed).values()) == len(listed) == sum(len(g) for g in by_group(listed).values())


def test_set_in_the_file_or_default() -> None:
    value = plain(lengths={"words": 35})
    assert found(value)["lengths.words"].given and not found(value)["lengths.tags"].given
    # Written out, an experiment sets everything: what differs from the default counts as set.
    assert not found(value, given=False)["lengths.words"].given
    assert found(plain(lengths={"words": 30}), given=False)["lengths.words"].given


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ({"model.hiden_size": "ours"}, r"sources: model\.hiden_size: no such key; did you mean model\.hidden_size\?"),
        ({"model.hidden_size.x": "ours"}, r"sources: model\.hidden_size\.x: no such key"),
        ({"lengths": "paper 4.1"}, "sources: lengths: is a group; name the keys in it"),
        ({"lengths.words": "paper"}, r"sources: lengths\.words: 'paper' is no source; write `paper SECTION`"),
        ({"lengths.words": "a friend"}, "is no source"),
    ],
)
def test_wrong_sources_name_their_key(sources: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(plain(sources=sources), "plain")


def test_sources_of_a_part_that_is_not_set_are_no_error() -> None:
    assert load(CONFIGS / "demo.yaml", ["tasks.vqa=null"]).tasks.vqa is None


def test_a_statement_dies_with_the_value_it_was_for(tmp_path: Path) -> None:
    parent = tmp_path / "parent.yaml"
    stated = {"masking.tags": "paper 3.2.1", "model.dropout": "paper A.3.2", "model.hidden_size": "ours"}
    parent.write_text(yaml.safe_dump(plain(model={"dropout": 0.3, "hidden_size": 24}, sources=stated)))
    child = tmp_path / "child.yaml"
    child.write_text("extends: parent.yaml\nmodel: {dropout: 0.2, hidden_size: 24}\n")
    assert load(child).sources == {"masking.tags": "paper 3.2.1", "model.hidden_size": "ours"}
    child.write_text("extends: parent.yaml\nmodel: {dropout: 0.2}\nsources: {model.dropout: ours}\n")
    assert load(child).sources["model.dropout"] == "ours"
    assert "masking.tags" not in load(parent, ["masking.tags=0.5"]).sources


def test_a_written_out_experiment_keeps_its_sources_and_fits_the_schema() -> None:
    import jsonschema

    experiment = load(CONFIGS / "demo.yaml")
    value = experiment.model_dump(mode="json")
    jsonschema.validate(value, json_schema())
    again = build(value, "test")
    assert again == experiment and again.sources["pretraining.stage1.losses"] == "paper 3.4"
    assert [o.source for o in origins(again)] == [o.source for o in origins(experiment)]


def test_every_source_of_the_shipped_files_is_of_a_value_they_set() -> None:
    for path in CONFIGS.glob("*.yaml"):
        value = read(
            path, ["data.root=.", "regions.tsv=."] if path.stem in ("flickr_mini", "coco_mini", "paper", "coco") else []
        )
        here = {o.key: o for o in origins(build(value, str(path)), value)}
        for key, source in (value.get("sources") or {}).items():
            assert here[key].given and here[key].source == source


def test_the_command_prints_all_or_the_assumed() -> None:
    def run(*more: str) -> str:
        ran = CliRunner().invoke(
            cli.app, ["origins", "--config", f"{CONFIGS}/demo.yaml", *more], catch_exceptions=False
        )
        assert ran.exit_code == 0
        return ran.output

    whole, part = run(), run("--assumed")
    assert "masking.tags" in whole and "masking.tags" not in part
    line = next(line for line in part.splitlines() if "model.hidden_size" in line)
    assert line.split() == ["model.hidden_size", "128", "assumed", "file", "768", "(paper", "A.2.1)"]
    assert part.splitlines()[-1] == whole.splitlines()[-1]
