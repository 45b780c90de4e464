"""What turns texts into scene graphs, by name: a spaCy model with our rules, or SPICE itself (`spice:PATH`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from vlp.phrases.graph import SceneGraph

SPICE = "spice:"


class Parser(Protocol):
    def pipe(self, texts: Iterable[str]) -> Iterator[SceneGraph]:
        """One graph for each text, in order."""
        ...


def open_parser(name: str) -> Parser:
    """Raises ConfigError: no such spaCy model, no such jar, or no Java that SPICE runs on."""
    if name.startswith(SPICE):
        from vlp.phrases.spice import SpiceParser

        return SpiceParser(Path(name.removeprefix(SPICE)))
    from vlp.phrases.parser import SceneGraphParser

    return SceneGraphParser(name)


def texts_at_once(name: str) -> int:
    """Texts of one task of a process: SPICE starts anew for each."""
    if name.startswith(SPICE):
        from vlp.phrases.spice import BATCH

        return BATCH
    from vlp.phrases.parser import BATCH

    return 4 * BATCH


def version(name: str) -> str:
    """Package and version of the spaCy model, or the jar's digest, without loading it. Raises ConfigError."""
    if name.startswith(SPICE):
        from vlp.phrases.spice import jar_digest

        return f"spice {jar_digest(Path(name.removeprefix(SPICE)))[:16]}"
    from vlp.phrases.parser import model_name

    return model_name(name)


def rules_version(name: str) -> str:
    """`version`, and for ours the digest of the rules: what a text's tuples depend on."""
    if name.startswith(SPICE):
        return version(name)
    from vlp.phrases.parser import rules_digest

    return f"{version(name)} {rules_digest()[:16]}"
