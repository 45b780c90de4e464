"""A workflow's `--configfile` and `--config`, read again without the losses of Snakemake's own reading."""

import re
from pathlib import Path

import pytest
import yaml

from tests.config.test_provenance import plain
from vlp.config import build
from vlp.config.given import read_all, refuse_twice, refuse_unspeakable
from vlp.errors import ConfigError


def test_every_file_extends_its_own_and_wins_over_those_before_it(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    stated = {"masking.tags": "paper 3.2.1", "model.dropout": "paper A.3.2"}
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(plain(model={"dropout": 0.3}, sources=stated)))
    (tmp_path / "first.yaml").write_text("extends: base.yaml\nseed: 1\n")
    (tmp_path / "far/base.yaml").write_text("model: {dropout: 0.2, hidden_size: 24}\n")
    (tmp_path / "far/second.yaml").write_text("extends: base.yaml\nmodel: {attention_dropout: 0.4}\n")
    found = build(read_all([tmp_path / "first.yaml", tmp_path / "far/second.yaml"], {"seed": "5"})[0], "x")
    assert (found.seed, found.model.dropout, found.model.attention_dropout) == (5, 0.2, 0.4)
    assert found.sources == {"masking.tags": "paper 3.2.1"}  # dropout has another value than the paper's


def test_a_key_that_stands_twice_in_a_config_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("seed: 1\nmodel:\n  dropout: 0.3\nmodel:\n  hidden_size: 24\n")
    with pytest.raises(ConfigError, match=r"a\.yaml, line 4: model stands there twice, first in line 2"):
        read_all([file], {})


def test_a_key_that_stands_twice_on_the_command_line_or_in_a_profile_is_named(tmp_path: Path) -> None:
    refuse_twice(["--config", "launch={a: 1, b: 1}", "seed=1", "--set-threads", "x=1", "x=2"], {})
    with pytest.raises(ConfigError, match="--config model, line 1: dropout stands there twice"):
        refuse_twice(["--config", "model={dropout: 0.2, dropout: 0.3}"], {})
    (tmp_path / "config.yaml").write_text("cores: 1\nconfig:\n  launch: {extraction: 1}\n  launch: {phrases: 2}\n")
    named = rf"{tmp_path}/config\.yaml, line 4: config\.launch stands there twice"
    for arguments in (
        ["--profile", str(tmp_path), "-n"],
        [f"--profile={tmp_path}"],
        ["--workflow-profile", str(tmp_path)],
    ):
        with pytest.raises(ConfigError, match=named):
            refuse_twice(arguments, {})
    with pytest.raises(ConfigError, match=named):
        refuse_twice([], {"SNAKEMAKE_PROFILE": str(tmp_path)})


@pytest.mark.parametrize("name", ["a b", "a\tb", "a'b", "a$b", "a&b", "a;b", "(a)", "{a}", "a*", "a|b", "a\\b"])
def test_a_path_that_a_rule_cannot_name_to_a_shell_is_refused(name: str, tmp_path: Path) -> None:
    """Such a path broke every rule, with an empty log and a stray file."""
    told = re.escape(f"results: {str(tmp_path / name / 'plain')!r} has ")
    with pytest.raises(ConfigError, match=told):
        refuse_unspeakable(build(plain(results=str(tmp_path / name), name="plain"), "x"), "/bin/vlp")
    with pytest.raises(ConfigError, match=r"reuse\.stage1: "):
        refuse_unspeakable(build(plain(reuse={"stage1": name}), "x"), "/bin/vlp")
    with pytest.raises(ConfigError, match="the environment: "):
        refuse_unspeakable(build(plain(), "x"), f"/{name}/vlp")


def test_other_paths_are_taken(tmp_path: Path) -> None:
    refuse_unspeakable(build(plain(results=str(tmp_path / "100%-#1,ä_b+c=d@e?:f")), "x"), "/bin/vlp")
