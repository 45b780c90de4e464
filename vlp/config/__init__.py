"""The experiment as frozen pydantic models: one place for each number."""

from vlp.config.experiment import Experiment, fine_tuning
from vlp.config.load import (
    build,
    json_schema,
    load,
    merge,
    parse_override,
    read,
    read_yaml,
)

__all__ = [
    "Experiment",
    "build",
    "fine_tuning",
    "json_schema",
    "load",
    "merge",
    "parse_override",
    "read",
    "read_yaml",
]
