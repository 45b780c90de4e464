"""The experiment as frozen pydantic models: one place for each number."""

from vlp.config.experiment import Experiment, fine_tuning
from vlp.config.load import (
    build,
    current_sources,
    json_schema,
    load,
    merge,
    parse_override,
    read,
    read_yaml,
    resolve_extends,
)

__all__ = [
    "Experiment",
    "build",
    "current_sources",
    "fine_tuning",
    "json_schema",
    "load",
    "merge",
    "parse_override",
    "read",
    "read_yaml",
    "resolve_extends",
]
