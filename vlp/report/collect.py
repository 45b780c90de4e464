"""All rows of `results.csv`: from predictions, the regions' quality, what evaluation servers said, and coverage."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlp.config import Experiment, fine_tuning
from vlp.errors import InputError
from vlp.files import read_json, sha256
from vlp.methods import facts
from vlp.report import published
from vlp.report.results import SPLITS, Row, weights_sha256, with_spread
from vlp.report.seen import DETECTION, UNKNOWN, Marks

if TYPE_CHECKING:
    from vlp.metrics.measure import Measure
    from vlp.regions.store import RegionStore


def collect(
    experiment: Experiment,
    predictions: str | Path,
    quality: str | Path | None,
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
        quality: the regions' quality.json; None: the method reads no regions.
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
        unturned = ["pretrained"] if task in experiment.zero_shot else []
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
    if quality is not None:
        rows += _detection_rows(experiment, quality, Path(tables), weights(Path(detector)) if detector else "", marks)
    rows += _server_rows(experiment)
    rows += _coverage_rows(experiment, Path(tables))
    rows += [replace(row, seen_by_model="no", seen_by_detector=marks.detector(row.task, row.split)) for row in bounds]
    return with_spread(rows)


def models_of(experiment: Experiment, models: Path) -> list[Path]:
    """The model directories whose digests stand in the results: the pre-trained one, and each fine-tuned one."""
    start = experiment.pretrained_model
    own = [
        models / fine_tuning(task, variant, seed, experiment.seed)
        for task, settings in experiment.tasks_set.items()
        for variant in settings.variants
        for seed in experiment.seeds_of(task)
    ]
    return [models / start.name if start.parent == experiment.folder / "models" else start, *own]


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
            there = published.find(experiment.model.method, task, dataset, split, row.stage, row.protocol, metric, None)
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
    method = experiment.model.method
    there = published.find(method, task, dataset, split, stage, measure.protocol, measure.metric, measure.n)
    return Row(
        method=facts.short(method),
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
