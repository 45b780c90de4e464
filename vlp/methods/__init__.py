"""A method is a folder here (`mvptr`), or a package elsewhere that a config names: `model: {method: package.module}`.

Nothing is imported by its mere being there. `get(name)` imports `<folder>/method.py` and gives its `METHOD`; the
schema of its experiments is `Experiment` in `<folder>/config.py`, which imports no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vlp.config.methods import part_of

if TYPE_CHECKING:
    from vlp.methods.base import Method


def get(name: str) -> Method:
    """The method that a config or a model directory names.

    Raises:
        ConfigError: there is none of this name.
    """
    found = part_of(name, "method")
    assert found is not None, "package_of found it"
    return found.METHOD
