"""What the commands that make region stores have in common: what they tell, what they note."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vlp.config.regions import WithRegions
    from vlp.regions.extract import Extraction
    from vlp.tracking.run import Run


def add_truth(chosen: WithRegions, store: Path, tables: Path, whole: bool = True) -> None:
    """Ground-truth tags of the train images go into the store where pre-training asks for them and it has none."""
    from vlp.regions.annotate import annotate_train
    from vlp.regions.store import RegionStore

    if chosen.ground_truth_tags and not RegionStore(store).has_truth:
        annotate_train(store, tables, store, whole)


def record(run: Run, value: dict[str, Any], quality: Path) -> None:
    for split, numbers in value["splits"].items():
        for key, number in numbers.items():
            if number is not None:
                run.metric(f"{split}/{key}", number)
    run.metric("skipped", len(value["skipped"]))
    run.artifact(quality)


def tell_skipped(skipped: Sequence[Mapping[str, str]]) -> None:
    import sys

    for row in skipped[:20]:
        print(f"skipped {row['image_id']}: {row['reason']} ({row['file']})", file=sys.stderr)
    if len(skipped) > 20:
        print(f"skipped {len(skipped) - 20} more", file=sys.stderr)


def tell_result(store: Path, result: Extraction, skipped: int) -> None:
    from vlp.progress import shown

    resumed = f", {result.resumed:,} of them finished before" if result.resumed else ""
    print(
        f"{store}: {result.images:,} images{resumed}, {result.regions:,} regions, {skipped} skipped, "
        f"{shown(result.images_per_second)} images/s"
    )
    tell_notes(result.notes)


def tell_notes(notes: Mapping[str, int]) -> None:
    """What the decoder warned of and decided."""
    for note, count in notes.items():
        print(f"{count:,} images: {note}")


def print_quality(value: dict[str, Any]) -> None:
    for split, numbers in value["splits"].items():
        shown = ((key, number) for key, number in numbers.items() if number is not None)
        print(f"{split:6} " + ", ".join(f"{key} {number:.3f}".removesuffix(".000") for key, number in shown))
    for key in ("without_detection", "whole_image", "skipped"):
        if value.get(key):
            print(f"{key}: {len(value[key])}")
    tell_notes(value.get("notes", {}))
