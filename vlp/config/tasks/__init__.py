"""The one table of tasks: a file here is a task. Every room reads it, none lists the tasks itself.

A file holds the class that an experiment sets (`Task` and its own fields) and `FACTS`. A package elsewhere offers such
a module by an entry point of the group `vlp.tasks`. Its samples come from `vlp/tasks`, its numbers from `vlp/metrics`.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from pydantic import create_model

from vlp.config.base import Part
from vlp.config.tasks.base import Facts, Task
from vlp.errors import ConfigError

GROUP = "vlp.tasks"
"""Entry points by which an installed package offers a task."""


@cache
def known() -> dict[str, Facts]:
    """Name -> task, in the order in which they are listed."""
    own = [importlib.import_module(f"{__name__}.{m.name}") for m in pkgutil.iter_modules(__path__) if m.name != "base"]
    modules = [*own, *(point.load() for point in entry_points(group=GROUP))]
    found: list[Facts] = sorted((module.FACTS for module in modules), key=lambda facts: (facts.place, facts.name))
    return {facts.name: facts for facts in found}


def facts(name: str) -> Facts:
    """Raises ConfigError: there is no such task."""
    if name not in known():
        raise ConfigError(f"--task {name}: there is no such task; there are {', '.join(known())}")
    return known()[name]


def tasks_with(*mixed: type[Part], home: str = __name__, **own: type[Task]) -> Any:
    """The `tasks` of a method's experiments: one field a task.

    Args:
        mixed: classes whose fields every task has too that is not in `own`.
        home: module to which the classes are given by their names, so that their objects can be pickled for jobs.
        own: name -> the method's class of the task; it extends that of the table.
    """
    kinds: dict[str, Any] = {name: own.get(name, facts.config) for name, facts in known().items()}
    for name, kind in kinds.items():
        if mixed and name not in own:
            kinds[name] = create_model(kind.__name__, __base__=(*mixed, kind), __module__=home)
            setattr(sys.modules[home], kind.__name__, kinds[name])
    fields: dict[str, Any] = {name: (kind | None, None) for name, kind in kinds.items()}
    return create_model("Tasks", __base__=Part, __module__=home, **fields)


if TYPE_CHECKING:

    class Tasks(Part):
        def __getattr__(self, name: str) -> Any: ...

else:
    Tasks = tasks_with()

__all__ = ["Facts", "Task", "Tasks", "facts", "known", "tasks_with"]
