"""Read an experiment file: `extends:`, typed overrides, errors with the key's path, the exported JSON schema."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from vlp.config import methods
from vlp.config.base import DEFAULT_METHOD
from vlp.config.experiment import Experiment
from vlp.errors import ConfigError


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` wins; mappings are merged key by key, lists and scalars are replaced."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def lay(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`merge`, but what `base` says in `sources:` of a value that `over` changes is no longer true and is left out."""
    merged = merge(base, over)
    if "sources" in base:
        restated = over.get("sources") or {}
        merged["sources"] = {
            key: where
            for key, where in (merged["sources"] or {}).items()
            if key in restated or _at(merged, key) == _at(base, key)
        }
    return merged


def current_sources(value: Mapping[str, Any], files: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """`value` with only those `sources:` that one of the `files` it was merged from states of the value it now has.

    Snakemake merges its config files and `--config` itself, so `lay` does not see one file change another's values.
    """
    if not value.get("sources"):
        return dict(value)
    read = list(files)
    kept = {
        key: where
        for key, where in value["sources"].items()
        if any((f.get("sources") or {}).get(key) == where and _at(f, key) == _at(value, key) for f in read)
    }
    return {**value, "sources": kept}


def _at(value: Any, key: str) -> Any:
    """The value at a key path, None if it is not set."""
    for name in key.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def read_yaml(path: str | Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The mapping in `path`, laid over those it `extends:` (a path or a list, relative to the file)."""
    path = Path(path)
    if path.resolve() in seen:
        raise ConfigError(f"{path}: extends itself through {' -> '.join(map(str, seen))}")
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: there is no such experiment file") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: a mapping is wanted at the top")
    return resolve_extends(value, path.parent, (*seen, path.resolve()))


def resolve_extends(value: Mapping[str, Any], folder: Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    parents = value.get("extends", [])
    base: dict[str, Any] = {}
    for parent in [parents] if isinstance(parents, str) else parents:
        base = lay(base, read_yaml(folder / parent, seen))
    return lay(base, {k: v for k, v in value.items() if k != "extends"})


def parse_override(text: str) -> dict[str, Any]:
    """`model.hidden_size=128` -> nested mapping; the value is read as YAML, so it has its real type."""
    key, separator, value = text.partition("=")
    if not separator or not key.strip():
        raise ConfigError(f"--set {text}: wanted KEY.PATH=VALUE")
    nested: Any = yaml.safe_load(value)
    for part in reversed(key.strip().split(".")):
        nested = {part: nested}
    return nested


def build(value: Mapping[str, Any], where: str) -> Experiment:
    """Validate with the class of its method; every error is one line `where: key.path: problem`."""
    schema = _schema(value)
    try:
        return schema.model_validate(value)
    except ValidationError as error:
        lines = []
        for e in error.errors():
            path = ".".join(str(p) for p in e["loc"])
            problem = e["msg"].removeprefix("Value error, ")
            if e["type"] == "extra_forbidden":
                problem = "unknown key" + _suggestion(schema, e["loc"])
            given = "" if e["type"] in ("missing", "extra_forbidden", "value_error") else f" (given: {e['input']!r})"
            lines.append(f"{where}: {path + ': ' if path else ''}{problem}{given}")
        raise ConfigError("\n".join(lines)) from error


def read(path: str | Path, overrides: Iterable[str] = ()) -> dict[str, Any]:
    """What the file, those it extends and the overrides set; not validated."""
    value = read_yaml(path)
    for override in overrides:
        value = lay(value, parse_override(override))
    return value


def load(path: str | Path, overrides: Iterable[str] = ()) -> Experiment:
    return build(read(path, overrides), str(path))


def json_schema(method: str = DEFAULT_METHOD) -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of an experiment of a method after `extends:` is resolved."""
    schema = methods.schema(method).model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _schema(value: Mapping[str, Any]) -> type[Experiment]:
    """The class of the method that the experiment names. Raises ConfigError: there is no such method."""
    model = value.get("model")
    name = model.get("method") if isinstance(model, Mapping) else None
    return methods.schema(name if isinstance(name, str) else DEFAULT_METHOD)


def _suggestion(schema: type[Experiment], location: tuple[int | str, ...]) -> str:
    import difflib

    part: Any = schema
    for key in location[:-1]:
        field = getattr(part, "model_fields", {}).get(key)
        if field is None:
            return ""
        kinds = [field.annotation, *getattr(field.annotation, "__args__", ())]
        part = next((k for k in kinds if hasattr(k, "model_fields")), None)
    close = difflib.get_close_matches(str(location[-1]), list(getattr(part, "model_fields", {})), n=1)
    return f"; did you mean {close[0]}?" if close else ""
