from pathlib import Path

import pytest

from tests.report import fabricate
from vlp.config import Experiment


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    return fabricate.experiment(tmp_path_factory.mktemp("results"))


@pytest.fixture
def folder(made: Experiment) -> Path:
    return made.folder
