from __future__ import annotations

import pytest

from tests.infer.lab import Lab, build
from vlp.infer import Predictor


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return build(tmp_path_factory.mktemp("lab"))


@pytest.fixture(scope="session")
def predictor(lab: Lab) -> Predictor:
    """Of stage 2."""
    return Predictor.from_pretrained(lab.model("stage2"))
