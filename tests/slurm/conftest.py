from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.slurm import lab


@pytest.fixture(scope="session")
def slurm() -> Iterator[str]:
    """A cluster of two nodes, its clients on the PATH; gives the partition's name."""
    if reason := lab.missing():
        pytest.skip(reason)
    with lab.cluster() as environment, pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        yield lab.PARTITION
