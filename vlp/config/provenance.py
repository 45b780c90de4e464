"""Where each value of an experiment comes from: the paper, the release, our judgement, or nowhere (`assumed`).

A field of the schema names the source of its default, a file's `sources:` those of the values it sets.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic.fields import FieldInfo

from vlp.config.base import Part
from vlp.config.sources import part_of

if TYPE_CHECKING:
    from vlp.config.experiment import Experiment

ASSUMED, LOCAL = "assumed", "local"
KINDS = {
    "paper": "as the paper states",
    "released": "as in the released code",
    "ours": "of a part, or a reading, that is our own",
    LOCAL: "of this run alone: names, data, machine",
    ASSUMED: "no source states it",
}
_ABSENT = object()


@dataclass(frozen=True)
class Origin:
    """One value of an experiment."""

    key: str
    value: Any
    source: str
    """`paper 4.1`, `released`, `ours`, `local` or `assumed`; what follows the first word is the place."""
    given: bool
    """Set in a file (where the file is not at hand: it differs from the default)."""
    sourced: tuple[Any, str] | None = None
    """Of an assumed value: what a source has in its place, and which (`768`, `paper A.2.1`)."""

    @property
    def kind(self) -> str:
        return self.source.split()[0]

    @property
    def group(self) -> str:
        """What the value is printed under: `model`, `pretraining.STAGE`, `tasks.vqa`."""
        parts = self.key.split(".")[:-1]
        return ".".join(parts[: 2 if parts and parts[0] in ("pretraining", "tasks") else 1]) or "experiment"


def origins(experiment: Experiment, given: Mapping[str, Any] | None = None) -> list[Origin]:
    """Every value of the experiment, in the schema's order. A part that is not set has no values.

    A value has the source that `experiment.sources` states for it; else, if it is the schema's default, that of the
    field; else it is `assumed`. What is `local`, and what lies in a group that is `ours`, is so whatever its value.

    Args:
        given: the mapping read from the file; None: unknown (an experiment that was written out holds every value).
    """
    return list(_origins(experiment, experiment, given, (), None))


def count(found: Sequence[Origin]) -> dict[str, int]:
    """Number of values of each kind, in the order of `KINDS`."""
    counts = Counter(o.kind for o in found)
    return {kind: counts[kind] for kind in KINDS}


def by_group(found: Sequence[Origin]) -> dict[str, list[Origin]]:
    groups: dict[str, list[Origin]] = {}
    for o in found:
        groups.setdefault(o.group, []).append(o)
    return groups


def _origins(
    experiment: Experiment, part: Part, given: Any, path: tuple[str, ...], inherited: str | None
) -> Iterator[Origin]:
    for name, field in type(part).model_fields.items():
        value, here = getattr(part, name), (*path, name)
        below = given if given is None else _get(given, name)
        stated = _stated(field, here[0])
        if isinstance(value, Part):
            yield from _origins(experiment, value, below, here, stated or inherited)
        elif value is not None or part_of(field) is None or stated == ASSUMED:
            key = ".".join(here)
            default = field.get_default(call_default_factory=True, validated_data={})
            same = not field.is_required() and value == default
            source = experiment.sources.get(key) or _source(stated, inherited, same)
            is_given = not same if given is None else below is not _ABSENT
            known = source == ASSUMED and not same and stated not in (None, ASSUMED)
            yield Origin(key, value, source, is_given, (default, str(stated)) if known else None)


def _source(stated: str | None, inherited: str | None, is_default: bool) -> str:
    if stated is None:
        return inherited or ASSUMED
    return stated if is_default or stated == LOCAL else ASSUMED


def _stated(field: FieldInfo, top: str) -> str | None:
    """What the schema says of a field; `top` is the part of the experiment it is used in."""
    extra = field.json_schema_extra
    where = extra.get("source") if isinstance(extra, dict) else None
    if isinstance(where, dict):
        where = where.get(top)
    return where if isinstance(where, str) else None


def _get(given: Any, name: str) -> Any:
    return given.get(name, _ABSENT) if isinstance(given, Mapping) else _ABSENT
