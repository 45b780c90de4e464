from pathlib import Path

import pytest

from tests.tracking.conftest import Make
from vlp.errors import InputError
from vlp.tracking import lineage, track


def test_from_a_file_to_the_raw_data_and_a_changed_byte_is_found(make: Make, tmp_path: Path) -> None:
    experiment = make()
    folder = experiment.folder
    raw, store, table = tmp_path / "raw.txt", folder / "regions" / "regions.h5", folder / "results.csv"
    raw.write_text("raw")
    for rule, source, made in (("regions", raw, store), ("results", store.parent, table), ("other", raw, folder / "o")):
        with track(experiment, rule, {"in": source}, {"out": made}):
            made.parent.mkdir(parents=True, exist_ok=True)
            made.write_text(rule)
    found = lineage.trace(lineage.steps(folder), folder, table)
    assert [step.rule for step in found] == ["results", "regions"]
    assert list(lineage.changed(folder, found)) == []
    assert lineage.trace(lineage.steps(folder), folder, folder / "unknown") == []
    store.write_text("changed")
    assert sorted(problem.split(" ")[1] for _, problem in lineage.changed(folder, found)) == [
        "regions",
        "regions/regions.h5",
    ]
    raw.unlink()
    assert any("is gone" in problem for _, problem in lineage.changed(folder, found))


def test_a_file_outside_every_experiment_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no experiment's folder"):
        lineage.home(tmp_path / "a.csv")
