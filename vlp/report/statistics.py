"""`statistics.json`: what the data, the phrases, the vocabulary and the regions hold (the paper's Tables 5 and 8)."""

from __future__ import annotations

import statistics as stats
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlp.config import Experiment
from vlp.files import read_json

if TYPE_CHECKING:
    from vlp.regions.store import RegionStore


def collect(
    experiment: Experiment, tables: str | Path, quality: str | Path, regions: RegionStore | None = None
) -> dict[str, Any]:
    """Counts of the tables, phrases, vocabulary and regions; parts whose files are absent are None."""
    summary = Path(tables) / "summary.json"
    found = read_json(summary) if summary.exists() else {}
    mined, vocabulary = experiment.place("phrases/phrases.parquet"), experiment.place("vocabulary/phrases.json")
    return {
        "experiment": experiment.name,
        "dataset": experiment.data.name,
        "seed": experiment.seed,
        "tables": found.get("counts"),
        "coverage": found.get("coverage", []),
        "skipped": [*found.get("skipped_counts", []), *_skipped_images(read_json(quality))],
        "phrases": phrases(mined, vocabulary, tables) if mined.exists() and vocabulary.exists() else None,
        "regions": None if regions is None else region_counts(regions),
        "images": {
            name.replace("_", " "): len(value) if isinstance(value, list) else value
            for name, value in read_json(quality).items()
            if isinstance(value, int | float | list)
        },
    }


def _skipped_images(quality: dict[str, Any]) -> list[dict[str, Any]]:
    """Images that gave no regions, counted by reason, as the tables' skipped records are."""
    reasons = Counter(str(row.get("reason", "")) for row in quality.get("skipped", []))
    return [{"table": "regions", "file": "images", "reason": r, "count": n} for r, n in sorted(reasons.items())]


def phrases(mined: str | Path, vocabulary: str | Path, tables: str | Path) -> dict[str, Any]:
    """Table 8 of the paper, over the train captions: valid phrases are those of the vocabulary."""
    import pyarrow.parquet as pq

    from vlp.data.tables import rows

    held = read_json(vocabulary)
    valid = {tuple(record["parts"]) for record in held["records"]}
    of_text = {
        row["text"]: [tuple(phrase["parts"]) for phrase in row["tuples"]]
        for row in pq.read_table(mined, columns=["text", "tuples"]).to_pylist()
    }
    captions, total, captions_with, all_kinds = 0, 0, 0, set()
    of_image: dict[str, set[tuple[str, ...]]] = {}
    for row in rows(tables, "captions", "train", ["image_id", "text"]):
        every = set(of_text.get(row["text"], []))
        here = every & valid
        captions += 1
        captions_with += bool(here)
        total += len(here)
        all_kinds |= every
        of_image.setdefault(row["image_id"], set()).update(here)
    counts = sorted((record["count"] for record in held["records"] if record["count"]), reverse=True)
    return {
        "train captions": captions,
        "train captions with a valid phrase": captions_with,
        "kinds mined": len(all_kinds),
        "kinds in the vocabulary": len(valid),
        "kinds by type": dict(sorted(Counter(record["kind"] for record in held["records"]).items())),
        "valid phrases": total,
        "per caption": round(total / captions, 4) if captions else None,
        "per image": round(stats.mean(map(len, of_image.values())), 4) if of_image else None,
        "mean frequency": round(stats.mean(counts), 2) if counts else None,
        "median frequency": stats.median(counts) if counts else None,
        "word pieces": held["rows"] - len(valid),
        "most frequent": [" ".join(r["parts"]) for r in sorted(held["records"], key=_by_count)[:12]],
    }


def _by_count(record: dict[str, Any]) -> tuple[int, list[str]]:
    return -(record["count"] or 0), record["parts"]


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
