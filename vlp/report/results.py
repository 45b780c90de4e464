"""`results.csv`: one tidy row per number."""

from __future__ import annotations

import csv
import io
import itertools
import math
import statistics as stats
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlp.config import Experiment, fine_tuning
from vlp.errors import InputError
from vlp.files import read_json, sha256, write_text
from vlp.report import published
from vlp.report.seen import DETECTION, UNKNOWN, Marks

if TYPE_CHECKING:
    from vlp.metrics.measure import Measure
    from vlp.regions.store import RegionStore

SPLITS = ("val", "test")


@dataclass(frozen=True)
class Row:
    """One number. Shares are in percent. The fields up to `metric` and `seed` are the row's key."""

    method: str
    variant: str
    stage: str
    task: str
    dataset: str
    split: str
    protocol: str
    metric: str
    value: float
    ci_low: float | None
    ci_high: float | None
    chance: float | None
    blind: float | None
    published: float | None
    n: int
    seed: int
    checkpoint_sha256: str
    data_sha256: str
    seen_by_model: str = UNKNOWN
    seen_by_detector: str = UNKNOWN
    """Whether the row's images were trained on; the words are told in `vlp/report/seen.py`."""
    seeds: int = 1
    """Fine-tunings that differ in the seed alone: each has its row."""
    mean: float | None = None
    sd: float | None = None
    """Of `value` over these seeds; the sample's standard deviation, None for one seed."""

    @property
    def key(self) -> tuple[str, ...]:
        return (self.method, self.variant, self.stage, self.task, self.dataset, self.split, self.protocol, self.metric)


COLUMNS = tuple(field.name for field in fields(Row))
_NUMBERS = ("value", "ci_low", "ci_high", "chance", "blind", "published", "mean", "sd")


def write(path: str | Path, rows: Iterable[Row]) -> None:
    """Sorted by key, six decimals, LF line ends: the same rows give the same bytes.

    Raises:
        ValueError: two rows have the same key and seed.
    """
    ordered = sorted(rows, key=lambda row: (row.key, row.seed))
    for row, following in itertools.pairwise(ordered):
        if (row.key, row.seed) == (following.key, following.seed):
            raise ValueError(f"two results for {' / '.join(row.key)}, seed {row.seed}")
    out = io.StringIO(newline="")
    table = csv.writer(out, lineterminator="\n")
    table.writerow(COLUMNS)
    for row in ordered:
        table.writerow(texts(row))
    write_text(path, out.getvalue())


def read(path: str | Path) -> list[Row]:
    """Raises InputError: the file is missing, has other columns, or a row is damaged."""
    path, remedy = Path(path), "Make it again: vlp report results."
    if not path.exists():
        raise InputError(path, "the results are missing.", remedy)
    with path.open(encoding="utf-8", newline="") as file:
        table = csv.DictReader(file)
        if tuple(table.fieldnames or ()) != COLUMNS:
            raise InputError(path, f"the columns are not {', '.join(COLUMNS)}.", remedy)
        rows = []
        for number, line in enumerate(table, start=2):
            try:
                values: dict[str, Any] = dict(line)
                values |= {name: float(line[name]) if line[name] else None for name in _NUMBERS}
                values |= {"value": float(line["value"])} | {name: int(line[name]) for name in ("n", "seed", "seeds")}
                rows.append(Row(**values))
            except (TypeError, ValueError) as error:
                raise InputError(path, f"not a result ({error}).", remedy, row=number) from error
    return rows


def weights_sha256(path: Path) -> str:
    """Digest of a weights file; empty: there is none."""
    return sha256(path) if path.exists() else ""


def source(row: Row, own: int) -> str:
    """The file in the experiment's folder that a row was computed from; `own`: the experiment's seed."""
    from vlp.report import server

    if row.task == "detection":
        return "regions/quality.json"
    if row.task == "data":
        return "tables/summary.json"
    if row.stage == "regions":
        return "bounds.csv"
    if row.protocol == server.PROTOCOL:
        return server.FILE
    variant = "pretrained" if row.stage == "pre-trained" else row.variant
    return f"predictions/{fine_tuning(row.task, variant, row.seed, own)}.{row.split}.parquet"


def collect(
    experiment: Experiment,
    predictions: str | Path,
    quality: str | Path,
    models: str | Path,
    tables: str | Path,
    regions: RegionStore | None = None,
    detector: str | Path | None = None,
    leaks: str | Path | None = None,
    bounds: Sequence[Row] = (),
    weights: Callable[[Path], str] | None = None,
) -> list[Row]:
    """All rows of an experiment.

    Args:
        predictions, models, tables: folders of the experiment.
        quality: the regions' quality.json.
        detector: the trained detector's weights, for the detection rows' digest.
        leaks: folder of `vlp data leaks`; None: whether images were seen is unknown.
        bounds: rows of `vlp regions bound`, to stand among the others; of these only the detector saw images.
        weights: digest of a weights file; None: the files are there and are read.

    Raises:
        InputError: a task and variant that the config asks for has no predictions, or a file is damaged.
    """
    rows: list[Row] = []
    marks = Marks(experiment, Path(tables), Path(leaks) if leaks else None)
    weights = weights or weights_sha256
    for task, settings in experiment.tasks_set.items():
        unturned = ["pretrained"] if task == "grounding" else []
        names = [fine_tuning(task, v, s, experiment.seed) for v in settings.variants for s in experiment.seeds_of(task)]
        for split in _splits(Path(predictions), [*names, *(f"{task}.{v}" for v in unturned)]):
            for seed in experiment.seeds_of(task):
                variants = [*settings.variants, *(unturned if seed == experiment.seed else [])]
                rows += _task_rows(
                    experiment,
                    task,
                    variants,
                    split,
                    seed,
                    Path(predictions),
                    Path(models),
                    Path(tables),
                    regions,
                    marks,
                    weights,
                )
    rows += _detection_rows(experiment, quality, Path(tables), weights(Path(detector)) if detector else "", marks)
    rows += _server_rows(experiment)
    rows += _coverage_rows(experiment, Path(tables))
    rows += [replace(row, seen_by_model="no", seen_by_detector=marks.detector(row.task, row.split)) for row in bounds]
    return with_spread(rows)


def with_spread(rows: Iterable[Row]) -> list[Row]:
    """The rows with number, mean and standard deviation of those that differ in the seed alone."""
    values: dict[tuple[str, ...], list[float]] = {}
    rows = list(rows)
    for row in rows:
        values.setdefault(row.key, []).append(row.value)
    spread = {
        key: {"seeds": len(v), "mean": stats.fmean(v), "sd": stats.stdev(v) if len(v) > 1 else None}
        for key, v in values.items()
    }
    return [replace(row, **spread[row.key]) for row in rows]


def _server_rows(experiment: Experiment) -> Iterator[Row]:
    """What evaluation servers answered (`vlp results record`); the data are the predictions that were sent."""
    from vlp.metrics.measure import Measure
    from vlp.report import server

    for said in server.recorded(experiment.folder):
        task, dataset, split, variant = said["task"], said["dataset"], said["split"], said["variant"]
        for metric, value in said["numbers"].items():
            row = _row(
                experiment,
                Measure(server.PROTOCOL, metric, value, None, None, None, said["n"]),
                variant=variant,
                stage="fine-tuned",
                task=task,
                split=split,
                blind=None,
                checkpoint=said["checkpoint_sha256"],
                data=said["predictions_sha256"],
            )
            there = published.find(task, dataset, split, row.stage, row.protocol, metric, None, experiment.model.method)
            yield replace(row, seed=said["seed"], dataset=dataset, published=there if variant == "full" else None)


def _coverage_rows(experiment: Experiment, tables: Path) -> Iterator[Row]:
    """How much of each part of the pre-training corpus there is, in percent of the texts published or listed."""
    from vlp.data.tables import table_path
    from vlp.metrics.measure import Measure

    summary = tables / "summary.json"
    for part in read_json(summary).get("coverage", []) if summary.exists() else []:
        if part["share"] is None:
            continue
        protocol = "of the published texts" if part["expected_texts"] else "of the texts in the files"
        count = part["texts"] if part["expected_texts"] else part["read"]
        row = _row(
            experiment,
            Measure(protocol, "coverage", part["share"], None, None, None, count),
            variant="full",
            stage="corpus",
            task="data",
            split="train" if part["expected_texts"] else "all",
            blind=None,
            checkpoint="",
            data=sha256(table_path(tables, "captions")),
        )
        yield replace(row, dataset=part["part"])


def _splits(predictions: Path, names: Sequence[str]) -> list[str]:
    """Splits that these models of a task were asked for."""
    found = []
    for split in SPLITS:
        here = [name for name in names if (predictions / f"{name}.{split}.parquet").exists()]
        if here and set(here) != set(names):
            lacking = min(set(names) - set(here))
            path = predictions / f"{lacking}.{split}.parquet"
            raise InputError(path, "the predictions are missing.", "Predict: vlp task predict.")
        found += [split] if here else []
    if not found:
        path = predictions / f"{names[0]}.test.parquet"
        raise InputError(path, "the predictions are missing.", "Predict: vlp task predict.")
    return found


def _task_rows(
    experiment: Experiment,
    task: str,
    variants: Sequence[str],
    split: str,
    seed: int,
    predictions: Path,
    models: Path,
    tables: Path,
    regions: RegionStore | None,
    marks: Marks,
    weights: Callable[[Path], str],
) -> Iterator[Row]:
    from vlp.config.tasks import known
    from vlp.data.tables import table_path
    from vlp.metrics.evaluation import evaluate

    names = {variant: fine_tuning(task, variant, seed, experiment.seed) for variant in variants}
    measures = {
        variant: evaluate(task, predictions / f"{name}.{split}.parquet", tables, regions)
        for variant, name in names.items()
    }
    blind = {(m.protocol, m.metric): m.value for m in measures.pop("blind", [])}
    data = sha256(table_path(tables, known()[task].table))  # images.parquet is left out: it holds paths of this machine
    for variant, found in measures.items():
        pretrained = variant == "pretrained"
        start = experiment.pretrained_model
        own = start.parent == experiment.folder / "models"
        folder = (models / start.name if own else start) if pretrained else models / names[variant]
        checkpoint = weights(folder / "model.safetensors")
        seen = marks.model(folder, task, split), marks.detector(task, split)
        for measure in found:
            exchanged = blind.get((measure.protocol, measure.metric)) if variant == "full" else None
            yield _row(
                experiment,
                measure,
                variant="full" if pretrained else variant,
                stage="pre-trained" if pretrained else "fine-tuned",
                task=task,
                split=split,
                blind=measure.blind if exchanged is None else exchanged,
                checkpoint=checkpoint,
                data=data,
                seen=seen,
                seed=seed,
            )


def _detection_rows(
    experiment: Experiment, quality: str | Path, tables: Path, checkpoint: str, marks: Marks
) -> Iterator[Row]:
    """Recall and precision of the detector on each split but train: shares in [0, 1] there, percent here."""
    from vlp.data.tables import table_path
    from vlp.metrics.measure import Measure

    data = sha256(table_path(tables, "objects"))
    for split, found in split_quality(read_json(quality)).items():
        if split not in SPLITS:
            continue
        seen = marks.detector(DETECTION, split)
        for metric, over in (("recall", "objects"), ("precision", "detections"), ("recall_any_class", "objects")):
            value = found.get(metric)
            if value is None or not math.isfinite(value):
                continue
            name = metric.replace("_", " ")
            measure = Measure("IoU >= 0.5", name, 100 * value, None, None, None, int(found.get(over, 0)))
            yield _row(
                experiment,
                measure,
                variant="full",
                stage="detector",
                task=DETECTION,
                split=split,
                blind=None,
                checkpoint=checkpoint,
                data=data,
                seen=(seen, seen),
            )


def split_quality(quality: Any) -> dict[str, dict[str, float]]:
    """Split -> figures, wherever quality.json holds them; empty for imported regions, which have only counts."""
    if not isinstance(quality, dict):
        return {}
    here = {k: v for k, v in quality.items() if k in ("train", *SPLITS) and isinstance(v, dict) and "recall" in v}
    for value in quality.values():
        here = here or split_quality(value)
    return here


def _row(
    experiment: Experiment,
    measure: Measure,
    *,
    variant: str,
    stage: str,
    task: str,
    split: str,
    blind: float | None,
    checkpoint: str,
    data: str,
    seen: tuple[str, str] = (UNKNOWN, UNKNOWN),
    seed: int | None = None,
) -> Row:
    settings = getattr(experiment.tasks, task, None)
    dataset = (settings.dataset if settings is not None else None) or experiment.data.name
    there = published.find(
        task, dataset, split, stage, measure.protocol, measure.metric, measure.n, experiment.model.method
    )
    return Row(
        method=experiment.model.method,
        variant=variant,
        stage=stage,
        task=task,
        dataset=dataset,
        split=split,
        protocol=measure.protocol,
        metric=measure.metric,
        value=measure.value,
        ci_low=measure.low,
        ci_high=measure.high,
        chance=measure.chance,
        blind=blind,
        published=there if variant == "full" else None,
        n=measure.n,
        seed=experiment.seed if seed is None else seed,
        checkpoint_sha256=checkpoint,
        data_sha256=data,
        seen_by_model=seen[0],
        seen_by_detector=seen[1],
    )


def texts(row: Row) -> list[str]:
    """The row's cells as results.csv has them, in the order of COLUMNS."""
    return [_text(getattr(row, name), name) for name in COLUMNS]


def _text(value: Any, name: str) -> str:
    if value is None:
        return ""
    return f"{value:.6f}" if name in _NUMBERS else str(value)
