"""What all parts of an experiment's config share."""

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """A frozen part of the config; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
