"""The detector that goes along in a model directory, so that the directory alone reads a raw image."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlp.errors import InputError
from vlp.files import read_json

if TYPE_CHECKING:
    from vlp.regions.detector import Detector

FOLDER, WEIGHTS = "detector", "detector.safetensors"
LIMIT_BYTES = 50 << 20
"""Larger weights stay where they are; the directory then holds their digest only."""


def carry(
    out: Path, store_facts: Mapping[str, Any], source: Path | None, limit: int = LIMIT_BYTES
) -> dict[str, Any] | None:
    """Copy the detector of the region store into the model directory `out` -> what `inputs.json` says of it.

    Args:
        store_facts: the store's file attributes; `weights_sha256` is the detector's digest.
        source: the detector's weights or their folder; not copied if it is another detector than the store's:
            regions may be made anew between pre-training and fine-tuning.
        limit: larger weights are not copied.

    Returns:
        None where no detector made the store (published feature files).
    """
    shutil.rmtree(out / FOLDER, ignore_errors=True)
    digest = store_facts.get("weights_sha256")
    if digest is None:
        return None
    record = {"name": store_facts.get("detector"), "sha256": digest, "carried": False}
    weights = weights_in(source) if source is not None else None
    if weights is None or weights.stat().st_size > limit or _digest(weights) != digest:
        return record
    (out / FOLDER).mkdir(parents=True)
    for suffix in (".safetensors", ".json"):
        shutil.copyfile(weights.with_suffix(suffix), (out / FOLDER / WEIGHTS).with_suffix(suffix))
    return record | {"carried": True}


def of(model_dir: Path) -> Path | None:
    """The folder of the detector that a model directory carries, or None."""
    return model_dir / FOLDER if (model_dir / FOLDER / WEIGHTS).is_file() else None


def check(detector: Path, store_facts: Mapping[str, Any]) -> None:
    """Raises InputError: the weights at `detector` are missing, or not those that made the region store."""
    weights = weights_in(detector)
    digest = store_facts.get("weights_sha256")
    if _digest(weights) != digest:
        made = f"made by the detector {digest}" if digest else "made by no detector of ours"
        raise InputError(weights, f"not the detector of the region store, which was {made}.", "Extract again.")


def weights_in(path: Path) -> Path:
    """The weights file: `path`, or the one in the folder `path`. Raises InputError: there is none."""
    weights = path / WEIGHTS if path.is_dir() else path
    if not weights.is_file():
        raise InputError(weights, "the detector's weights are missing.", "Name the folder that holds them.")
    return weights


def load(model_dir: Path, record: Mapping[str, Any], given: Path | None) -> Detector:
    """The detector of a model directory, from its folder `detector/` or from `given`.

    Args:
        record: `inputs.json` of the directory.

    Raises:
        InputError: no weights, or others than the model's regions were made with.
    """
    from vlp.regions.detector import load as load_weights

    wanted = record.get("detector") or {}
    path = given if given is not None else of(model_dir)
    if path is None:
        digest = f" (weights {wanted['sha256']})" if wanted else ""
        raise InputError(
            model_dir / FOLDER / WEIGHTS,
            f"the model directory does not carry its detector{digest}.",
            "Name the folder of the trained detector with --detector; of any other detector read regions: "
            "vlp regions extract --images FOLDER --detector NAME --out DIR, "
            "then --regions DIR/regions.h5 --image-id ID.",
        )
    weights = weights_in(path)
    detector, facts = load_weights(weights)
    remedy = "Name the detector that the model was trained with (--detector)."
    if wanted and facts["sha256"] != wanted["sha256"]:
        raise InputError(weights, f"its digest is {facts['sha256']}, the model's is {wanted['sha256']}.", remedy)
    regions = record["regions"]
    if detector.config.feature_size != regions["feature_size"]:
        problem = f"its features have {detector.config.feature_size} numbers, the model's {regions['feature_size']}."
        raise InputError(weights, problem, remedy)
    if detector.class_names != regions["class_names"]:
        raise InputError(weights, "its class names are not those of the model's tags.", remedy)
    return detector


def _digest(weights: Path) -> str | None:
    return read_json(weights.with_suffix(".json")).get("sha256")
