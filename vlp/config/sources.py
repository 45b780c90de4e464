"""What a file's `sources:` may say: which keys a schema has, and the form of a source."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping

from pydantic.fields import FieldInfo

from vlp.config.base import Part

_STATEMENT = re.compile(r"paper \S.*|released( .+)?|ours( .+)?|assumed")


def check_sources(schema: type[Part], sources: Mapping[str, str]) -> None:
    """Raises ValueError: a key path is none of the schema's, names a group, or the source has another form."""
    for key, where in sources.items():
        field = field_at(schema, key)
        if part_of(field) is not None:
            raise ValueError(f"{key}: is a group; name the keys in it")
        if not _STATEMENT.fullmatch(where):
            raise ValueError(f"{key}: {where!r} is no source; write `paper SECTION`, `released`, `ours` or `assumed`")


def field_at(schema: type[Part], key: str) -> FieldInfo:
    """The field of a key path (`model.hidden_size`). Raises ValueError naming the key that is not there."""
    part: type[Part] | None = schema
    names = key.split(".")
    for i, name in enumerate(names):
        fields = part.model_fields if part is not None else {}
        if name not in fields:
            close = difflib.get_close_matches(name, fields, n=1)
            hint = f"; did you mean {'.'.join([*names[:i], close[0]])}?" if close else ""
            raise ValueError(f"{key}: no such key{hint}")
        part = part_of(fields[name])
        if i == len(names) - 1:
            return fields[name]
    raise AssertionError


def part_of(field: FieldInfo) -> type[Part] | None:
    """The model below a field, None if it holds a plain value."""
    kinds = (field.annotation, *getattr(field.annotation, "__args__", ()))
    return next((k for k in kinds if isinstance(k, type) and issubclass(k, Part)), None)
