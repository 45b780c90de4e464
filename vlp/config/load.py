"""Read an experiment file: `extends:`, typed overrides, errors with the key's path, the exported JSON schema."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from vlp import strict_yaml
from vlp.config import methods, stored
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
    if isinstance(merged.get("sources"), Mapping) and base.get("sources"):
        restated = over.get("sources") or {}
        merged["sources"] = {
            key: where
            for key, where in merged["sources"].items()
            if key in restated or _at(merged, str(key)) == _at(base, str(key))
        }
    return merged


def _at(value: Any, key: str) -> Any:
    """The value at a key path, None if it is not set."""
    for name in key.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def read_yaml(path: str | Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The mapping in `path`, laid over those it `extends:` (a path or a list, relative to the file).

    Raises:
        ConfigError: a file is missing or no such mapping, or a key stands twice in it.
    """
    path = Path(path)
    if path.resolve() in seen:
        raise ConfigError(f"{path}: extends itself through {' -> '.join(map(str, seen))}")
    value = strict_yaml.read(path)
    value = {} if value is None else value
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: a mapping is wanted at the top")
    parents = value.pop("extends", None) or []
    parents = [parents] if isinstance(parents, str) else parents
    if not isinstance(parents, list) or not all(isinstance(parent, str) for parent in parents):
        raise ConfigError(f"{path}: extends: a path, or a list of paths, is wanted (given: {parents!r})")
    base: dict[str, Any] = {}
    for parent in parents:
        base = lay(base, read_yaml(path.parent / parent, (*seen, path.resolve())))
    return lay(base, value)


def parse_override(text: str) -> dict[str, Any]:
    """`model.hidden_size=128` -> nested mapping; the value is read as YAML, so it has its real type."""
    key, separator, value = text.partition("=")
    if not separator or not key.strip():
        raise ConfigError(f"--set {text}: wanted KEY.PATH=VALUE")
    nested: Any = strict_yaml.parse(value, f"--set {text}")
    for part in reversed(key.strip().split(".")):
        nested = {part: nested}
    return nested


def build(value: Mapping[str, Any], where: str) -> Experiment:
    """Validate with the class of its method; every error is one line `where: key.path: problem`."""
    schema = _schema(value)
    try:
        return _placeable(schema.model_validate(value), where)
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
    return overridden(read_yaml(path), overrides)


def overridden(value: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """`value` with every `KEY.PATH=VALUE` laid over it in order.

    Raises:
        ConfigError: one is none, or two set one key.
    """
    seen: dict[str, str] = {}
    found = dict(value)
    for override in overrides:
        found = lay(found, parse_override(override))
        key = override.partition("=")[0].strip()
        if key in seen:
            raise ConfigError(f"--set {override}: {key} is set twice, first by --set {seen[key]}. Remove one.")
        seen[key] = override
    return found


def load(path: str | Path, overrides: Iterable[str] = ()) -> Experiment:
    """The `experiment.yaml` of a results folder is of the folder that it lies in, unless an override says where."""
    value, home = placed(path, lambda value: overridden(value, overrides))
    return build(value, str(path)).lying_in(home)


def placed(path: str | Path, over: Callable[[Mapping[str, Any]], dict[str, Any]]) -> tuple[dict[str, Any], Path | None]:
    """What the file and `over` set, not validated; and the folder that its experiment was moved to, or None."""
    value = read_yaml(path)
    home = stored.home(path, value)
    found = over(value if home is None else stored.moved(value, home))
    same = all(found.get(key) == value.get(key) for key in ("results", "name"))
    return found, home if same else None


def json_schema(method: str = DEFAULT_METHOD) -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of an experiment of a method after `extends:` is resolved."""
    schema = methods.schema(method).model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _schema(value: Mapping[str, Any]) -> type[Experiment]:
    """The class of the method that the experiment names. Raises ConfigError: there is no such method."""
    model = value.get("model")
    name = model.get("method") if isinstance(model, Mapping) else None
    return methods.schema(name if isinstance(name, str) else DEFAULT_METHOD)


def _placeable(experiment: Experiment, where: str) -> Experiment:
    """Raises ConfigError: its folder cannot be one."""
    folder = experiment.results / experiment.name
    if "\0" in str(folder):
        raise ConfigError(f"{where}: results: {str(folder)!r} is no path. Name a folder.")
    try:
        blocked = next((p for p in (folder, *folder.parents) if p.exists() and not p.is_dir()), None)
    except OSError as error:
        raise ConfigError(f"{where}: results: {folder}: {error.strerror}. Name another folder.") from error
    if blocked is not None:
        raise ConfigError(f"{where}: results: {blocked} is a file. Name a folder, or remove it.")
    return experiment


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
