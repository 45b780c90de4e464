"""YAML in which nothing is dropped: a key that stands twice in one mapping is an error, at any depth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from vlp.errors import ConfigError

_MERGE = "tag:yaml.org,2002:merge"
_DAMAGED = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What PyYAML raises of values that are none of their kind: `2024-13-01`, `!!bool x`."""


def read(path: str | Path) -> Any:
    """What the file holds. Raises ConfigError: it cannot be read, is no YAML, or a key stands there twice."""
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: there is no such file. Check the path.") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(
            f"{path}, line {line}: not UTF-8 (byte {error.object[error.start]:#04x}). Save the file as UTF-8: "
            "iconv -f LATIN1 -t UTF-8 FILE."
        ) from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}). Name a YAML file.") from error
    return parse(text, str(path))


def parse(text: str, where: str) -> Any:
    """The value of one YAML text.

    Args:
        where: its file or option, for messages.

    Raises:
        ConfigError: no YAML, or a key stands twice in one mapping; line and key are named.
    """
    loader = yaml.SafeLoader("")
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _refuse_twice(loader, node, where, (), (), set())
        return loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = where if mark is None else f"{where}, line {mark.line + 1}"
        told = " ".join(filter(None, (error.context, error.problem)))
        raise ConfigError(f"{at}: not valid YAML ({told}). Mend the line.") from error
    except yaml.YAMLError as error:
        told = getattr(error, "reason", None) or str(error).replace("\n", " ")
        raise ConfigError(f"{where}: not valid YAML ({told}). Mend the file.") from error
    except RecursionError as error:
        raise ConfigError(f"{where}: nested too deeply, or within itself. Write it without `&` and `*`.") from error
    except _DAMAGED as error:
        raise ConfigError(f"{where}: not valid YAML ({error}). Mend the value.") from error
    finally:
        loader.dispose()


def _refuse_twice(
    loader: yaml.SafeLoader,
    node: yaml.Node,
    where: str,
    path: tuple[str, ...],
    within: tuple[yaml.Node, ...],
    done: set[int],
) -> None:
    """Args: within: the nodes around this one; done: those that `*` named before, which are whole."""
    if any(node is outer for outer in within):
        raise RecursionError
    if id(node) in done:
        return
    within = (*within, node)
    if isinstance(node, yaml.SequenceNode):
        for place, item in enumerate(node.value):
            _refuse_twice(loader, item, where, (*path, str(place)), within, done)
    lines: dict[Any, int] = {}
    for key_node, value_node in node.value if isinstance(node, yaml.MappingNode) else ():
        if not isinstance(key_node, yaml.ScalarNode):
            raise yaml.constructor.ConstructorError(None, None, "a key is no single word", key_node.start_mark)
        # As Python compares: `1`, `0x1` and `true` are one key of the mapping that comes of it.
        key = key_node.value if key_node.tag == _MERGE else loader.construct_object(key_node)
        line = key_node.start_mark.line + 1
        if key in lines:
            name = ".".join((*path, str(key_node.value)))
            raise ConfigError(
                f"{where}, line {line}: {name} stands there twice, first in line {lines[key]}. Join the two, or "
                "remove one."
            )
        lines[key] = line
        _refuse_twice(loader, value_node, where, (*path, str(key_node.value)), within, done)
    done.add(id(node))
