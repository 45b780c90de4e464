"""What every model sets."""

from typing import TYPE_CHECKING, Any

from pydantic import Field

from vlp.config.base import DEFAULT_METHOD, Part, stated


class Model(Part):
    """A method has fields of its own beside this one."""

    method: str = Field(default=DEFAULT_METHOD, json_schema_extra=stated("local"))
    """A folder of `vlp/methods`, or a package elsewhere: `package.module`."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...
