"""The chain that all tests of the toy read."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from tests.methods.toy.lab import snakemake


class Chain(NamedTuple):
    folder: Path
    said: str
    """By Snakemake."""


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    results = tmp_path_factory.mktemp("toy") / "results"
    said = snakemake(results)
    return Chain(results / "toy", said)
