"""The report: one self-contained page from results.csv and what the experiment's folder holds beside it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from markupsafe import Markup

from vlp.config import Experiment, provenance
from vlp.config.tasks import known
from vlp.files import read_json
from vlp.methods import facts
from vlp.report import alignment, figures, ledger, paper, published, results, seeds
from vlp.report import costs as spent
from vlp.report.results import Row
from vlp.tracking import journal as journals
from vlp.tracking import lineage

TASKS = {name: facts.title for name, facts in known().items()} | {"detection": "The regions' detector"}
EXPLAINED = {name: facts.explained for name, facts in known().items()} | {
    "detection": "Right class and IoU of at least 0.5, on images the detector was not trained on."
}
HEADLINES = (
    *((name, metric, title) for name, facts in known().items() for metric, title in facts.headlines),
    ("detection", "recall", "Detector recall"),
)


@dataclass(frozen=True)
class Line:
    row: Row
    bar: Markup | None
    """None: not a share."""
    each: list[Row]
    """Of a mean over seeds: the row of each."""


@dataclass(frozen=True)
class Section:
    task: str
    title: str
    groups: list[tuple[str, list[Line]]]
    """Model and split, and its lines."""


@dataclass(frozen=True)
class Chart:
    title: str
    figure: Markup
    names: tuple[str, ...]
    """Of its lines, where there are several."""


def render(experiment: Experiment, path: Path, costs: Path, statistics: Path, pictures: bool = True) -> str:
    """The page.

    Args:
        path: results.csv; every number shown as a result is a row of it.
        pictures: False: no image is opened, and none is shown.

    Raises:
        InputError: one of the three files is missing or damaged.
    """
    import jinja2

    rows = results.read(path)
    here = Path(__file__).parent
    page = jinja2.Environment(
        loader=jinja2.FileSystemLoader(here), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    ).get_template("template.html")
    counted = read_json(statistics)
    split = "test" if any(row.split == "test" for row in rows) else "val"
    folder, values, method = experiment.folder, provenance.origins(experiment), experiment.model.method
    rows_of_ledger = ledger.of(method)
    events = {p.stem: journals.read(p) for p in sorted((folder / "journals").glob("*.jsonl"))}
    return page.render(
        experiment=experiment,
        facts=facts.of(method),
        split=split,
        starts=[e for each in events.values() for e in each if e["event"] == "run_start"],
        headlines=headlines(rows, split, experiment.zero_shot),
        sections=sections(rows),
        explained=EXPLAINED,
        published=published.tables(method),
        paper_tables=paper.tables(
            method, rows, (counted["regions"] or {}).get("detector"), experiment.report.tolerances.model_dump()
        ),
        grades=paper.GRADES,
        comparable=any(row.published is not None for row in rows),
        anchor=anchor,
        origin=lambda row: origin(row, experiment.seed),
        seeds=seeds.said(rows),
        chains=chains(folder, rows, experiment.seed),
        numbered={anchor(row): number for number, row in enumerate(rows, start=1)},
        charts=charts(experiment),
        aligned=alignment.charts(experiment),
        costs=spent.read(costs),
        stages=tuple(experiment.stages),
        statistics=counted,
        gallery=gallery(experiment, split, pictures),
        probed=probed(experiment, pictures),
        shows=_shows(experiment),
        ledger=ledger.by_group(rows_of_ledger),
        unverified=sum(row.reading == "ours" for row in rows_of_ledger),
        in_use=ledger.in_use,
        plain=ledger.plain,
        origins=values,
        kinds=provenance.KINDS,
        assumed=provenance.by_group([o for o in values if o.kind == provenance.ASSUMED]),
        counts=provenance.count(values),
        artefacts=artefacts(events),
        config=yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False),
        number=number,
        figure=figure,
        size=size,
        duration=duration,
    )


def anchor(row: Row) -> str:
    """Id of a row's place in the page."""
    return "row-" + re.sub(r"[^a-z0-9]+", "-", "-".join((*row.key, str(row.seed))).lower()).strip("-")


def origin(row: Row, own: int) -> str:
    """Id of the place in the page that tells what a row was made of; `own`: the experiment's seed."""
    return "of-" + re.sub(r"[^a-z0-9]+", "-", results.source(row, own).lower()).strip("-")


def chains(folder: Path, rows: Iterable[Row], own: int) -> dict[str, list[lineage.Step]]:
    """`origin` -> the steps behind that file, the nearest first."""
    known, files = lineage.steps(folder), {origin(row, own): results.source(row, own) for row in rows}
    return {name: lineage.trace(known, folder / file) for name, file in sorted(files.items())}


def headlines(rows: Iterable[Row], split: str, zero_shot: Collection[str]) -> list[tuple[str, Row, Markup]]:
    """The main numbers: title, row, bar; tasks of `zero_shot` before and after fine-tuning."""
    kept = sorted(seeds.fold(rows), key=lambda row: row.stage != "pre-trained")
    found = []
    for task, metric, title in HEADLINES:
        for row in kept:
            same = (row.task, row.metric, row.split, row.variant) == (task, metric, split, "full")
            if same and published.is_main(row.protocol):
                stage = f", {row.stage}" if task in zero_shot else ""
                found.append((title + stage, row, _bar(row)))
    return found


def sections(rows: Iterable[Row]) -> list[Section]:
    """The results by task, then by model and split, the main model and the test split first."""
    rows = list(rows)
    each: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        each.setdefault(row.key, []).append(row)
    found = []
    for task, title in TASKS.items():
        groups: dict[str, list[Line]] = {}
        for row in sorted((row for row in seeds.fold(rows) if row.task == task), key=_place):
            name = f"{_name(row)}, {row.split} split"
            of = each[row.key] if row.seeds > 1 else []
            groups.setdefault(name, []).append(Line(row, None if _not_a_share(row) else _bar(row), of))
        if groups:
            found.append(Section(task, title, list(groups.items())))
    return found


def _place(row: Row) -> tuple[Any, ...]:
    variant = {"full": 0, "scratch": 1}.get(row.variant, 2)
    metric = [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", row.metric)]
    return row.split != "test", row.stage == "pre-trained", variant, row.protocol, metric


def _name(row: Row) -> str:
    if row.task == "detection":
        return "Detector"
    if row.stage == "regions":
        return "The best choice among the regions"
    if row.stage == "pre-trained":
        return "Pre-trained, not fine-tuned"
    return {"full": "Pre-trained, fine-tuned", "scratch": "Fine-tuned from scratch"}.get(row.variant, row.variant)


def _not_a_share(row: Row) -> bool:
    not_shares = row.metric.endswith("RSUM") or row.protocol == "left out"
    return not_shares or "lost by pruning" in row.protocol


def _bar(row: Row) -> Markup:
    return figures.bar(row.value, row.ci_low, row.ci_high, row.chance, row.blind)


def charts(experiment: Experiment) -> list[tuple[str, list[Chart]]]:
    """The losses of each stage; of each task those of all its variants and the score on val; from the runs."""
    runs: dict[str, dict[str, dict[str, list[tuple[float, float]]]]] = {}
    for path in sorted((experiment.folder / "runs").glob("*/journal.jsonl")):
        task, _, variant = path.parent.name.partition(".")
        for key, points in _points(path).items():
            runs.setdefault(task, {}).setdefault(key, {})[variant] = points
    titles, curves = {name: experiment.stage(name).title for name in experiment.stages}, _curves(experiment)
    order = [*titles, *TASKS]
    found = []
    for name in sorted(runs, key=lambda n: (order.index(n) if n in order else len(order), n)):
        series = runs[name]
        losses = sorted(key for key in series if key.startswith("loss_")) or [key for key in series if key == "loss"]
        keys = [*(["loss"] if len(losses) > 1 and "loss" in series else []), *losses]
        keys += [key for key in ("val_score",) if key in series]
        drawn = []
        for key in keys:
            variants = {v: series[key][v] for v in ("", "full", "blind", "scratch") if v in series[key]}
            title = "loss" if name in TASKS and losses == [key] else _title(key, curves)
            drawn.append(Chart(title, figures.curves(variants), tuple(v for v in variants if v)))
        if drawn:
            found.append((titles.get(name) or TASKS.get(name, name), drawn))
    return found


def _points(path: Path) -> dict[str, list[tuple[float, float]]]:
    """Key -> points by step; a step that was logged twice counts with its last value."""
    series: dict[str, dict[float, float]] = {}
    for event in journals.read(path):
        if event["event"] == "metric" and event.get("step") is not None:
            series.setdefault(event["key"], {})[event["step"]] = journals.number(event)
    return {key: sorted(values.items()) for key, values in series.items()}


def _curves(experiment: Experiment) -> dict[str, str]:
    return {"loss": "sum of the losses", "val_score": "score on val", **facts.of(experiment.model.method).curves}


def _title(key: str, known: Mapping[str, str]) -> str:
    name = key.removeprefix("loss_")
    return known.get(name, name.upper())


def examples_of(experiment: Experiment) -> dict[str, Path]:
    """What examples and figures are drawn from, as far as it is there."""
    found = {"figures": experiment.folder / "figures.json", "predictions": experiment.folder / "predictions"}
    return {name: path for name, path in (found | {"tables": experiment.place("tables")}).items() if path.exists()}


def gallery(experiment: Experiment, split: str, pictures: bool = True) -> dict[str, list[Any]]:
    """Examples of what the models found; empty where there is nothing to show. `phrases`: before fine-tuning."""
    from vlp.report import gallery as examples

    predictions, tables = experiment.folder / "predictions", experiment.place("tables")
    shown: dict[str, list[Any]] = {"phrases": [], "grounding": [], "t2i": [], "i2t": []}
    if not (tables / "images.parquet").exists():
        return shown
    images = examples.Images(tables, experiment.data_root if pictures else None)
    for name, variant in (("phrases", "pretrained"), ("grounding", "full")):
        path = predictions / f"grounding.{variant}.{split}.parquet"
        if path.exists():
            shown[name] = examples.grounded(path, tables, images)
    path = predictions / f"retrieval.full.{split}.parquet"
    if path.exists():
        shown["t2i"] = examples.retrieved(path, tables, images, "t2i")
        shown["i2t"] = examples.retrieved(path, tables, images, "i2t", right=2, wrong=2)
    return shown


def probed(experiment: Experiment, pictures: bool = True) -> dict[str, Any]:
    """What `figures.json` holds (`Facts.figures`), drawn; empty where it is absent, or has no such part."""
    from vlp.report import gallery as examples

    path, tables = experiment.folder / "figures.json", experiment.place("tables")
    said = facts.of(experiment.model.method)
    found = read_json(path) if path.exists() else {}
    found = {name: part for name, part in found.items() if name in said.figures}
    shown: dict[str, Any] = {"attention": [], "grounding": [], "embedding": (), "tags": []}
    if found and (tables / "images.parquet").exists():
        images = examples.Images(tables, experiment.data_root if pictures else None)
        if said.attention is not None:
            shown["attention"] = examples.attended(found.get("attention", []), said.attention, tables, images)
        shown["grounding"] = examples.extracted(found.get("grounding", []), tables, images)
    points = found.get("embedding", [])
    if points and all("tag" in point for point in points):  # else by an earlier version, which had other points
        shown["embedding"] = (figures.scatter(points), figures.scatter(points, figures.NARROW))
        shown["tags"] = list(dict.fromkeys(point["tag"] for point in points))
    return shown


def _shows(experiment: Experiment) -> dict[str, bool]:
    """Sections of examples that this experiment can fill."""
    told, tasks = facts.of(experiment.model.method).figures, experiment.tasks_set
    return {
        "phrases": "grounding" in told or "grounding" in tasks,
        "retrieved": "retrieval" in tasks,
        "attention": bool({"attention", "embedding"} & told.keys()),
    }


def artefacts(events: Mapping[str, list[journals.Event]]) -> list[dict[str, Any]]:
    """What each rule made, with digests, from the journals."""
    found = []
    for each in events.values():
        start = next((e for e in reversed(each) if e["event"] == "run_start"), None)
        outputs = {e["name"]: e for e in each if e["event"] == "output"}
        if start:
            found += [{"rule": start["rule"], **output} for output in outputs.values()]
    return found


def number(value: float | None, digits: int = 2) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


def figure(value: float) -> str:
    """A published number, as the paper prints it: no zeros that are not there."""
    return f"{value:,.4f}".rstrip("0").rstrip(".")


def size(value: float | None) -> str:
    if value is None:
        return ""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            return f"{value:,.0f} {unit}" if unit == "B" else f"{value:,.1f} {unit}"
        value /= 1024
    raise AssertionError


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"
