"""What a workflow was called with, read again: Snakemake's own reading drops the first of two equal keys."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vlp import strict_yaml
from vlp.config.experiment import Experiment
from vlp.config.load import lay, placed, read_yaml
from vlp.errors import ConfigError

PROFILE = "SNAKEMAKE_PROFILE"
_UNSPEAKABLE = re.compile(r"""[\s'"\\`$&;()<>|{}*\[\]]""")
_PAIR = re.compile(r"([A-Za-z_][\w-]*)=(\s*[\[{].*)", re.DOTALL)


def read_all(files: Sequence[str | Path], over: Mapping[str, Any]) -> tuple[dict[str, Any], Path | None]:
    """The files of `--configfile` laid over each other in order, each over what it extends, and `--config` over all;
    not validated. And the folder that the experiment was moved to, None: it was not.

    Raises:
        ConfigError: a file is no mapping in YAML, or a key stands twice in it.
    """

    def rest(value: Mapping[str, Any]) -> dict[str, Any]:
        for file in files[1:]:
            value = lay(value, read_yaml(file))
        return lay(value, over)

    return placed(files[0], rest)


def refuse_twice(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> None:
    """Args: arguments: of Snakemake's command line.

    Raises:
        ConfigError: a key stands twice in a mapping of `--config` or in a profile; it is named.
    """
    for argument in arguments:
        if pair := _PAIR.fullmatch(argument):
            strict_yaml.parse(pair[2], f"--config {pair[1]}")
    for file in _profiles(arguments, environment):
        strict_yaml.read(file)


def refuse_unspeakable(experiment: Experiment, program: str) -> None:
    """The rules' commands name these paths to a shell as they are.

    Args:
        program: path of the `vlp` command.

    Raises:
        ConfigError: one has a space or another character in it that would break the command, or that Snakemake reads.
    """
    paths = {"results": experiment.folder, "start_from": experiment.start_from, "reuse.data": experiment.reuse.data}
    paths |= {f"reuse.{stage}": experiment.reuse.of(stage) for stage in experiment.stages}
    for key, path in {**paths, "the environment": program}.items():
        if path is not None and (found := _UNSPEAKABLE.search(str(path))):
            raise ConfigError(
                f"{key}: {str(path)!r} has {found[0]!r} in it, which the commands of the workflow cannot take. Name a "
                "path without it, or a link to it."
            )


def _profiles(arguments: Sequence[str], environment: Mapping[str, str]) -> Iterator[Path]:
    named = environment.get(PROFILE, "").split(",")
    within = False
    for argument in arguments:
        option, _, value = argument.partition("=")
        if argument.startswith("-"):
            within = option in ("--profile", "--workflow-profile")
            named += [value] if within and value else []
        elif within:
            named.append(argument)
    for place in map(Path, filter(None, named)):
        if place.is_file():
            yield place
        elif place.is_dir():
            yield from sorted(p for p in place.glob("*.yaml") if p.name.startswith(("config.", "profile.")))
