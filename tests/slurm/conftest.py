from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.slurm import lab


@pytest.fixture(scope="session")
def cluster() -> Iterator[lab.Cluster]:
    """A cluster of two nodes without accounting, its clients on the PATH."""
    if reason := lab.missing():
        pytest.skip(reason)
    with lab.cluster() as found, pytest.MonkeyPatch.context() as patch:
        for name, value in found.environment.items():
            patch.setenv(name, value)
        yield found


@pytest.fixture
def slurm(cluster: lab.Cluster) -> Iterator[lab.Cluster]:
    """The cluster with an empty queue."""
    yield cluster
    cluster.clean()
