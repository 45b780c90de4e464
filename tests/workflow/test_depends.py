"""What a rule of the data says it depends on decides the key by which runs of a sweep share their data: for every key
of the config, in workflows of different kinds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from tests.training.tiny_run import ROOT
from vlp.config import Experiment, build, read
from vlp.sweep.plan import key

pytestmark = pytest.mark.slow

DATA = {"data.smk", "regions.smk", "phrases.smk", "texts.smk"}
"""Rule files whose rules a sweep shares as data."""
STAGE = {"epochs": 1, "batch_size": 4, "learning_rate": 1e-3}
OTHER = {
    "name": "other",
    "data": {"name": "d", "generator": {}, "captions": {"format": "karpathy"}},
    "model": {"method": "tests.report.other"},
    "pretraining": {"only": STAGE},
    "tasks": {"retrieval": {"optimisation": STAGE}},
}
CHANGED: dict[str, tuple[str | None, list[str]]] = {
    "one store": ("smoke", []),
    "shards that stay": ("smoke", ["regions.extraction={shards: 2, keep_shards: true}", "phrases.shards=2"]),
    "shards that are merged": ("smoke", ["regions.extraction={shards: 2}"]),
    "published features": ("coco", ["data.root=raw", "regions.tsv=tsv"]),
    "a captioner": ("smoke", ["data.captioner={model: m}"]),
    "no regions, no phrases": (None, []),
}
SAY = """
import json, sys
from pathlib import Path
from types import SimpleNamespace
from snakemake.api import SnakemakeApi
from snakemake.settings.types import ConfigSettings, OutputSettings, ResourceSettings
file, snakefile, name = sys.argv[1:]
with SnakemakeApi(OutputSettings()) as api:
    settings = ConfigSettings(configfiles=[Path(file)])
    whole = api.workflow(ResourceSettings(cores=1), config_settings=settings, snakefile=Path(snakefile))
    whole.dag()
    said = {}
    for rule in whole._workflow.rules:
        part = rule.params.get("part")
        if part is not None:
            wildcards = SimpleNamespace(captioned=name, items=lambda: ())
            said[rule.name] = [Path(rule.snakefile).name, part(wildcards) if callable(part) else part]
print("SAID" + json.dumps(said))
"""


def declared(value: dict[str, Any], folder: Path) -> dict[str, list[str]]:
    """Rule of the data -> the parts of the config that its `params` hold."""
    (folder / "experiment.yaml").write_text(yaml.safe_dump(value | {"results": str(folder / "results")}))
    command = [sys.executable, "-c", SAY, str(folder / "experiment.yaml"), str(ROOT / "workflow" / "Snakefile")]
    ran = subprocess.run(
        [*command, value["data"]["name"]],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "SAID" in ran.stdout, ran.stderr
    said = json.loads(ran.stdout.rpartition("SAID")[2])
    rules = {rule: json.loads(part) for rule, (file, part) in said.items() if file in DATA}
    # What a captioner's rules hold are parts of one data set.
    return {rule: ["data"] if rule.startswith("caption") else list(parts) for rule, parts in rules.items()}


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(value, dict) and value:
        for name, below in value.items():
            yield from leaves(below, (*path, name))
    else:
        yield path


def other(value: Any) -> Any:
    """Another value; of the same type, where there is one."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    return [*value, "x"] if isinstance(value, list) else {"x": "y"} if isinstance(value, dict) else f"{value}x"


def changed(part: Any, path: tuple[str, ...]) -> Any:
    """`part` with another value at `path`; what would not be valid is not asked."""
    if not path:
        return other(part)
    if isinstance(part, BaseModel):
        return part.model_copy(update={path[0]: changed(getattr(part, path[0]), path[1:])})
    return {**part, path[0]: changed(part[path[0]], path[1:])}


def at(value: Any, path: str) -> Any:
    for name in path.split("."):
        value = value[name]
    return value


def dump(e: Experiment) -> dict[str, Any]:
    return e.model_dump(mode="json", warnings=False)


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@pytest.mark.parametrize("kind", CHANGED)
def test_what_a_rule_of_the_data_depends_on_changes_the_key_of_the_data(kind: str, tmp_path: Path) -> None:
    base, overrides = CHANGED[kind]
    value = OTHER if base is None else read(ROOT / "configs" / f"{base}.yaml", overrides)
    e, rules = build(value, kind), declared(value, tmp_path)
    assert {"tables", "leaks", "vocabulary"} <= set(rules)
    assert ("regions" in rules) == (base is not None)
    before, shared = dump(e), key("data", e)
    keys = list(leaves(before))
    assert len(keys) > 50
    decide: set[str] = set()
    for path in keys:
        now = changed(e, path)
        after = dump(now)
        needing = [r for r, parts in rules.items() if any(at(before, p) != at(after, p) for p in parts)]
        same = key("data", now) == shared
        assert not (needing and same), f"{'.'.join(path)} decides {needing}, and the runs that differ in it share them"
        decide |= {".".join(path)} if needing else set()
    assert decide
    if base is not None:
        assert "pretraining.tag_source" in decide
