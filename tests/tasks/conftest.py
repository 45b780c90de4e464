from __future__ import annotations

from pathlib import Path

import pytest

from tests.tasks import lab as making
from vlp.training.inputs import Paths


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    return making.write(tmp_path_factory.mktemp("lab"))


@pytest.fixture(scope="session")
def start(lab: Paths, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory to fine-tune."""
    return making.pretrained(lab, tmp_path_factory.mktemp("start") / "model")
