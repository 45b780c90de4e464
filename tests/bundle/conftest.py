"""A finished experiment, made up, and its bundle."""

from pathlib import Path

import pytest

from tests.report import fabricate
from vlp.bundle import pack
from vlp.config import Experiment, load
from vlp.data.tables import rows
from vlp.files import read_json, write_json
from vlp.regions.quality import by_split
from vlp.tracking import track


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """A made-up experiment whose quality.json and predictions are those of its regions, with journals."""
    made = fabricate.experiment(tmp_path_factory.mktemp("made"))
    folder = made.folder
    splits = {row["image_id"]: row["split"] for row in rows(folder / "tables", "images")}
    quality = read_json(folder / "regions" / "quality.json")
    quality["splits"] = by_split(folder / "regions" / "regions.h5", splits, rows(folder / "tables", "objects"))
    write_json(folder / "regions" / "quality.json", quality)
    for path in sorted((folder / "predictions").glob("*.parquet")):
        task, variant, _ = path.stem.split(".")
        name = "stage2" if variant == "pretrained" else f"{task}.{variant}"
        inputs = {"model": folder / "models" / name, "regions": folder / "regions" / "regions.h5"}
        with track(made, f"predict-{path.stem}", inputs, {"predictions": path}):
            pass
    config, _ = fabricate.finish(made, tmp_path_factory.mktemp("finished"))
    return load(config)


@pytest.fixture(scope="module")
def bundle(finished: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "made.tar"
    pack.pack(finished, path)
    return path
