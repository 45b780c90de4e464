"""Which detector goes along in a model directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.infer.lab import Lab
from vlp.errors import InputError
from vlp.regions import carried
from vlp.regions.store import RegionStore

pytestmark = pytest.mark.slow


def test_only_the_stores_own_detector_goes_along(lab: Lab, tmp_path: Path) -> None:
    facts = RegionStore(lab.paths.store).facts
    assert carried.carry(tmp_path, facts, lab.detector) == {
        "name": facts["detector"],
        "sha256": facts["weights_sha256"],
        "carried": True,
    }
    assert carried.of(tmp_path) == tmp_path / "detector"
    other = facts | {"weights_sha256": "0" * 64}
    record = carried.carry(tmp_path, other, lab.detector)
    assert record is not None and not record["carried"] and carried.of(tmp_path) is None


def test_large_weights_stay_behind(lab: Lab, tmp_path: Path) -> None:
    facts = RegionStore(lab.paths.store).facts
    record = carried.carry(tmp_path, facts, lab.detector, limit=1000)
    assert record is not None and record["sha256"] == facts["weights_sha256"] and not record["carried"]
    assert not (tmp_path / "detector").exists()


def test_published_features_have_no_detector(tmp_path: Path) -> None:
    assert carried.carry(tmp_path, {"detector": "VinVL"}, None) is None


def test_a_wrong_detector_is_refused_before_training(lab: Lab) -> None:
    facts = RegionStore(lab.paths.store).facts
    carried.check(lab.detector, facts)
    with pytest.raises(InputError, match="not the detector of the region store, which was made by the detector 00"):
        carried.check(lab.detector, facts | {"weights_sha256": "0" * 64})
