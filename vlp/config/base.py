"""What all parts of an experiment's config share."""

from typing import Any

from pydantic import BaseModel, ConfigDict

DEFAULT_METHOD = "mvptr"
NAME = r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$"
"""Of what becomes a folder or a part of an id: no path, no option, nothing that a shell would read."""
"""Of experiments that name none, as all before there were others."""
DEVICE = r"^(cpu|cuda(:\d+)?)$"
"""Pattern of a device's name."""


class Part(BaseModel):
    """A frozen part of the config; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


def stated(where: str | None = None, **of: str) -> dict[str, Any]:
    """`json_schema_extra` of a field: where its default comes from (`paper 4.1`, `released`, `ours`, `local`).

    On a group it holds for all values below that name no source of their own. `of` tells parts of the experiment
    apart that share a model: `stated(pretraining="paper 4.1")` says nothing of the tasks. See `provenance.py`.
    """
    return {"source": of or where}
