"""What a bundle's files hold, against the same computed from others of its files. No check looks outside."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from vlp.bundle import contents, pages
from vlp.bundle.contents import PUBLISHED, STORE, Manifest
from vlp.config import Experiment
from vlp.data.tables import SCHEMAS, read_table, rows
from vlp.errors import InputError
from vlp.files import read_json, to_json
from vlp.metrics.evaluation import evaluators as measured_by
from vlp.regions.store import RegionStore
from vlp.report import collect, results
from vlp.report import costs as spent
from vlp.report.results import SPLITS, Row
from vlp.tracking import journal as journals
from vlp.tracking import lineage

Found = tuple[int, list[str]]
"""How many cells were compared, and those that differ."""
LAST_DIGIT = 1.5e-6
"""Of numbers written with six decimals: sums in another order round the last one either way."""


def recorded_digests(experiment: Experiment, known: Manifest) -> Found:
    """Every digest in the journals, against the files of the bundle and the list of those left out."""
    steps = lineage.steps(experiment.folder)
    count = sum(known.digest(file.path) is not None for step in steps for file in (*step.inputs, *step.outputs))
    return count, list(contents.unlike(known, steps))


def evaluators(experiment: Experiment, known: Manifest) -> Found:
    """The public evaluations that the numbers follow, where their versions differ."""
    here = measured_by(experiment.tasks_set)
    said = {task: known.evaluators.get(task, "an earlier version, which the bundle does not name") for task in here}
    return len(here), [
        f"{task}: its numbers were made by {said[task]!r}, here by {now!r}: rows of this task differ for that reason"
        for task, now in here.items()
        if said[task] != now
    ]


def published_numbers(experiment: Experiment, known: Manifest) -> Found:
    """The paper's numbers that were packed, against those of this installation."""
    packed, here = read_json(experiment.folder / PUBLISHED), contents.published_cells(experiment)
    return _leaves(_by_cell(packed), _by_cell(here))


def table_counts(experiment: Experiment, known: Manifest) -> Found:
    """Of `tables/summary.json`: rows of each table and split, and the coverage of the corpus."""
    from vlp.data.coverage import coverage, share_of

    tables = experiment.place("tables")
    summary = read_json(tables / "summary.json")
    splits = {name: read_table(tables, name)["split"].to_pylist() for name in SCHEMAS}
    counts = {name: {s: splits[name].count(s) for s in found} for name, found in summary["counts"].items()}
    count, wrong = _leaves({"counts": summary["counts"]}, {"counts": counts})
    captions, parts = read_table(tables, "captions"), summary.get("coverage", [])
    keys = ("part", "texts", "images", "read", "expected_texts", "expected_images")
    said = [{k: part[k] for k in keys} for part in parts if part["read"]]
    again = [{k: part[k] for k in keys} for part in coverage(captions, experiment.data.corpus, {}) if part["read"]]
    shares = {p["part"]: share_of(p["texts"], p["read"], p["listed"], p["expected_texts"]) for p in parts}
    for one, other in ((said, again), ({p["part"]: p["share"] for p in parts}, shares)):
        more, differ = _leaves({"coverage": one}, {"coverage": other})
        count, wrong = count + more, wrong + differ
    return count, wrong


def detector_quality(experiment: Experiment, known: Manifest) -> Found:
    """Recall and precision on val and test, from the regions' boxes and the annotated objects."""
    from vlp.regions.quality import by_split

    if experiment.region_store is None:
        return 0, []
    quality, tables = read_json(experiment.place("regions/quality.json")), experiment.place("tables")
    said = {split: v for split, v in collect.split_quality(quality).items() if split in SPLITS}
    if not said:
        return 0, []
    images = {row["image_id"]: row["split"] for split in SPLITS for row in rows(tables, "images", split)}
    return _leaves(said, by_split(experiment.folder / STORE, images, rows(tables, "objects")))


def region_bounds(experiment: Experiment, known: Manifest) -> Found:
    """bounds.csv, from the regions' boxes and the phrases' boxes."""
    from vlp.report.bounds import upper_bounds

    path = experiment.folder / "bounds.csv"
    if not path.exists():
        return 0, []
    store = RegionStore(experiment.folder / STORE)
    return compare(results.read(path), upper_bounds(experiment, store, experiment.place("tables")))


def result_rows(experiment: Experiment, known: Manifest) -> Found:
    """results.csv, from the predictions. The rows computed now are kept for the report."""
    folder, reads = experiment.folder, experiment.region_store is not None
    bounds, leaks = folder / "bounds.csv", experiment.place("leaks")
    found = collect.collect(
        experiment,
        predictions=folder / "predictions",
        quality=experiment.place("regions/quality.json") if reads else None,
        models=folder / "models",
        tables=experiment.place("tables"),
        regions=RegionStore(folder / STORE) if reads else None,
        detector=experiment.place("detector/detector.safetensors") if reads else None,
        leaks=leaks if leaks.exists() else None,
        bounds=results.read(bounds) if bounds.exists() else (),
        weights=lambda path: known.digest(path.relative_to(folder).as_posix()) or "",
    )
    results.write(_again(experiment), found)
    return compare(results.read(folder / "results.csv"), found)


def statistics(experiment: Experiment, known: Manifest) -> Found:
    """statistics.json, from tables, phrases and vocabulary; of the region store the counts that were packed."""
    from vlp.report.statistics import collect

    quality = None if experiment.region_store is None else experiment.place("regions/quality.json")
    again = {**collect(experiment, experiment.place("tables"), quality), "regions": dict(known.regions) or None}
    return _leaves(read_json(experiment.folder / "statistics.json"), json.loads(to_json(again)))


def costs(experiment: Experiment, known: Manifest) -> Found:
    """costs.csv, from the journals; but for rules that ran again after it was written."""
    folder = experiment.folder
    found = {path: journals.start(journals.read(path)) for path in (folder / "journals").glob("*.jsonl")}
    seen = _seen(folder / "journals" / "results.jsonl")
    later = {start["rule"] for path, start in found.items() if start is not None and not seen(path, start)}
    said = {row["rule"]: row for row in spent.read(folder / "costs.csv") if row["rule"] not in later}
    return _leaves(said, {row["rule"]: row for row in spent.collect(folder) if row["rule"] in said})


def report_tables(experiment: Experiment, known: Manifest) -> Found:
    """Every table of report.html, from the rows that were computed again."""
    from vlp.report.html import render

    folder = experiment.folder
    page = (folder / "report.html").read_text(encoding="utf-8")
    _turn_back(folder / "journals", "report")
    return pages.differences(
        page,
        render(experiment, _again(experiment), folder / "costs.csv", folder / "statistics.json", pictures=False),
    )


CHECKS: dict[str, Callable[[Experiment, Manifest], Found]] = {
    "digests in the journals": recorded_digests,
    "evaluators": evaluators,
    "published numbers": published_numbers,
    "tables/summary.json": table_counts,
    "regions/quality.json": detector_quality,
    "bounds.csv": region_bounds,
    "results.csv": result_rows,
    "statistics.json": statistics,
    "costs.csv": costs,
    "report.html": report_tables,
}
"""In this order: the report is made of the rows that `results.csv` should have, and turns the journals back."""


def compare(said: Iterable[Row], again: Iterable[Row]) -> Found:
    """Row by row, cell by cell, as results.csv writes them."""
    return _leaves(_cells(said), _cells(again))


def _cells(found: Iterable[Row]) -> dict[str, dict[str, str]]:
    return {
        f"{' / '.join(row.key)}, seed {row.seed}": dict(zip(results.COLUMNS, results.texts(row), strict=True))
        for row in found
    }


def _by_cell(found: list[dict[str, Any]]) -> dict[str, Any]:
    place = ("table", "row", "task", "dataset", "split", "stage", "metric")
    return {" / ".join(str(cell[k]) for k in place): {k: cell[k] for k in ("n", "value")} for cell in found}


def _leaves(said: Any, again: Any) -> Found:
    one, other = dict(_flat(said)), dict(_flat(again))
    wrong = [f"{place}: {_shown(value)}, computed again nothing" for place, value in one.items() if place not in other]
    wrong += [f"{place}: nothing, computed again {_shown(value)}" for place, value in other.items() if place not in one]
    both = [place for place in one if place in other]
    wrong += [
        f"{place}: {_shown(one[place])}, computed again {_shown(other[place])}"
        for place in both
        if not _same(one[place], other[place])
    ]
    return len(one), wrong


def _flat(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """(path, leaf) of everything in nested mappings and lists."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flat(item, f"{place}: {key}" if place else str(key))
    elif isinstance(value, list):
        for number, item in enumerate(value, start=1):
            yield from _flat(item, f"{place}: {number}" if place else str(number))
    else:
        yield place, value


def _same(one: Any, other: Any) -> bool:
    if one == other:
        return True
    try:
        return abs(float(one) - float(other)) <= LAST_DIGIT
    except (TypeError, ValueError):
        return False


def _shown(value: Any) -> str:
    return repr(value)[:80]


def _again(experiment: Experiment) -> Path:
    return experiment.results / "again.csv"


def _told(path: Path) -> tuple[float, dict[str, Any] | None]:
    """When the last attempt of a journal's run began; and what it tells of the journals then, by their names: run and
    bytes. None: it is of a version that told of none.

    Raises:
        InputError: it does not say.
    """
    parts = journals.attempts(journals.read(path))
    if not parts:
        raise InputError(path, "does not say when its run began.", "Make the experiment again and bundle it.")
    told = [event["seen"] for event in parts[-1] if event["event"] == "journals"]
    return parts[-1][0]["time"], told[-1] if told else None


def _seen(path: Path) -> Callable[[Path, journals.Event], bool]:
    """Whether the run of a journal was there when another one read it; by the time of day where that is all there is,
    though a clock may have been set back."""
    moment, told = _told(path)

    def seen(other: Path, start: journals.Event) -> bool:
        if told is None:
            return start["time"] < moment
        return other != path and told.get(other.stem, {}).get("run") == start["run"]

    return seen


def _turn_back(folder: Path, rule: str) -> None:
    """Leave of the journals what was in them when the rule read them, and of its own how its run began."""
    own = folder / f"{rule}.jsonl"
    moment, told = _told(own)
    for path in folder.glob("*.jsonl"):
        events = journals.read(path)
        if told is None:
            kept = [event for event in events if event["time"] <= moment]
        elif path == own:
            kept = events[: max(n for n, event in enumerate(events) if event["event"] == "run_start") + 1]
        else:
            began, then = journals.start(events), told.get(path.stem)
            there = began is not None and then is not None and then["run"] == began["run"]
            path.write_bytes(path.read_bytes()[: int(then["bytes"])] if there and then else b"")
            kept = journals.read(path)
        path.write_text("".join(to_json(event) + "\n" for event in kept), encoding="utf-8")
        if not kept:
            path.unlink()
