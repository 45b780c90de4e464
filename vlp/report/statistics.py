"""`statistics.json`: what the data, the phrases, the vocabulary and the regions hold (the paper's Tables 5 and 8)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlp.config import Experiment
from vlp.files import read_json

if TYPE_CHECKING:
    from vlp.regions.store import RegionStore


def read(experiment: Experiment) -> dict[str, Path]:
    """What is counted beside tables and regions, as far as the method has it."""
    found = {"phrases": experiment.place("phrases/phrases.parquet"), "vocabulary": experiment.place("vocabulary")}
    return {name: path for name, path in found.items() if path.exists()}


def collect(
    experiment: Experiment, tables: str | Path, quality: str | Path | None, regions: RegionStore | None = None
) -> dict[str, Any]:
    """Counts of the tables, phrases, vocabulary and regions; parts whose files are absent are None."""
    summary = Path(tables) / "summary.json"
    found = read_json(summary) if summary.exists() else {}
    told = {} if quality is None else read_json(quality)
    mined, vocabulary = experiment.place("phrases/phrases.parquet"), experiment.place("vocabulary/phrases.json")
    return {
        "experiment": experiment.name,
        "dataset": experiment.data.name,
        "seed": experiment.seed,
        "tables": found.get("counts"),
        "coverage": found.get("coverage", []),
        "skipped": [*found.get("skipped_counts", []), *_skipped_images(told)],
        "phrases": phrases(mined, vocabulary, tables) if mined.exists() and vocabulary.exists() else None,
        "regions": None if regions is None else region_counts(regions),
        "images": {
            name.replace("_", " "): len(value) if isinstance(value, list) else value
            for name, value in told.items()
            if isinstance(value, int | float | list)
        },
    }


def _skipped_images(quality: dict[str, Any]) -> list[dict[str, Any]]:
    """Images that gave no regions, counted by reason, as the tables' skipped records are."""
    reasons = Counter(str(row.get("reason", "")) for row in quality.get("skipped", []))
    return [{"table": "regions", "file": "images", "reason": r, "count": n} for r, n in sorted(reasons.items())]


def phrases(mined: str | Path, vocabulary: str | Path, tables: str | Path) -> dict[str, Any]:
    """Table 8 of the paper, over the train captions: valid phrases are those of the vocabulary."""
    from vlp.phrases import mine
    from vlp.phrases.tables import table8
    from vlp.phrases.vocabulary import PhraseVocabulary

    held = PhraseVocabulary.load(vocabulary)
    found = table8(tables, mine.read(mined), held)
    return {
        "train captions": found.texts,
        "train captions with a valid phrase": found.texts_with_phrase,
        "kinds mined": found.mined,
        "kinds in the vocabulary": len(held),
        "kinds by type": dict(sorted(Counter(record.kind for record in held.records).items())),
        "kinds in train captions": found.unique,
        "valid phrases": found.all,
        "per caption": round(found.per_text, 4),
        "per image": round(found.per_image, 4),
        "mean frequency": round(found.mean_frequency, 2),
        "median frequency": found.median_frequency,
        "word pieces": held.rows - len(held),
        "most frequent": [*found.attributes, *found.relations],
    }


def region_counts(regions: RegionStore) -> dict[str, Any]:
    images = len(regions.image_ids)
    return {
        "images": images,
        "regions": regions.rows,
        "regions per image": round(regions.rows / images, 3) if images else None,
        "feature size": regions.feature_size,
        "classes": len(regions.class_names),
        **{str(k): v for k, v in regions.facts.items() if isinstance(v, str | int | float)},
    }
