"""`vlp task`: fine-tune and predict."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vlp.cli.options import ConfigPath, Overrides, experiment
from vlp.cli.pretrain import CorpusFile, LeaksFolder, RegionFile, Tables, VocabularyFolder
from vlp.config.tasks import known

app = typer.Typer()

TaskName = Annotated[str, typer.Option("--task", help=f"{', '.join(known())}.")]
Variant = Annotated[str, typer.Option(help="full, blind, scratch; pretrained: no fine-tuning.")]
Seed = Annotated[int | None, typer.Option(help="Of this fine-tuning; the experiment's, if not given.")]


@app.command()
def finetune(
    config: ConfigPath,
    task: TaskName,
    variant: Variant,
    tables: Tables,
    corpus: CorpusFile,
    vocabulary: VocabularyFolder,
    init: Annotated[Path, typer.Option(help="Pre-trained model directory.")],
    out: Annotated[Path, typer.Option(help="Model directory to write.")],
    run_dir: Annotated[Path, typer.Option(help="Checkpoints and journal.")],
    regions: RegionFile = None,
    leaks: LeaksFolder = None,
    seed: Seed = None,
    overrides: Overrides = None,
) -> None:
    """Fine-tune on train, selecting on val."""
    from vlp.batching.inputs import Paths
    from vlp.config import fine_tuning
    from vlp.launch import run as launch
    from vlp.launch import taken
    from vlp.models.directory import publish
    from vlp.runs.finetune import finetune as work
    from vlp.tracking import track

    e = experiment(config, overrides)
    chosen = e.seed if seed is None else seed
    name = fine_tuning(task, variant, chosen, e.seed)
    arguments = {
        "experiment": e.model_copy(update={"seed": chosen}),
        "task": task,
        "variant": variant,
        "paths": Paths(tables, corpus, regions, vocabulary, leaks),
        "init": init,
        "out": run_dir / "model",
        "run_dir": run_dir,
    }
    settings = getattr(e.tasks, task, None)
    inputs = {"corpus": corpus, "vocabulary": vocabulary, "init": init} | ({"regions": regions} if regions else {})
    with track(
        e,
        rule=f"finetune-{name}",
        inputs=inputs | {"tables": tables} | ({"leaks": leaks} if leaks else {}),
        outputs={"model": out},
        params=settings.model_dump() if settings else {},
        tags={"stage": "fine-tuning", "task": task, "variant": variant, "seed": str(chosen)},
        resume=(run_dir / "checkpoints").exists(),
    ) as tracked:
        with tracked.training(run_dir / "journal.jsonl"):
            result = launch(work, arguments, e.launch.finetuning, run_dir, f"{e.name}-{name}", inputs)
        publish(run_dir / "model", out)
        for key, value in result.items():
            tracked.metric(key, value)
    taken(run_dir)


@app.command()
def predict(
    config: ConfigPath,
    task: TaskName,
    variant: Variant,
    split: Annotated[str, typer.Option(help="val or test.")],
    tables: Tables,
    corpus: CorpusFile,
    vocabulary: VocabularyFolder,
    model: Annotated[Path, typer.Option(help="Model directory.")],
    out: Annotated[Path, typer.Option(help="Parquet file to write.")],
    regions: RegionFile = None,
    leaks: LeaksFolder = None,
    seed: Seed = None,
    overrides: Overrides = None,
) -> None:
    """Write the predictions of a model on a split."""
    from vlp.batching.inputs import Paths
    from vlp.config import fine_tuning
    from vlp.launch import run_alone, taken
    from vlp.runs.predict import predict as work
    from vlp.tracking import track

    e = experiment(config, overrides)
    chosen = e.seed if seed is None else seed
    rule = f"predict-{fine_tuning(task, variant, chosen, e.seed)}.{split}"
    folder = e.folder / "runs" / rule
    inputs = {"corpus": corpus, "tables": tables, "model": model} | ({"regions": regions} if regions else {})
    inputs |= {"vocabulary": vocabulary} | ({"leaks": leaks} if leaks else {})
    with track(
        e,
        rule=rule,
        inputs=inputs,
        outputs={"predictions": out},
        params={"split": split},
        tags={"stage": "prediction", "task": task, "variant": variant, "seed": str(chosen)},
    ) as tracked:
        paths = Paths(tables, corpus, regions, vocabulary, leaks)
        arguments = {
            "experiment": e.model_copy(update={"seed": chosen}),
            "task": task,
            "variant": variant,
            "split": split,
            "paths": paths,
            "model_dir": model,
            "out": out,
        }
        found = run_alone(work, arguments, e.launch.prediction, folder, f"{e.name}-{rule}", inputs)
        for key, value in found.items():
            if isinstance(value, int | float):
                tracked.metric(key, value)
            print(f"{key}: {value}")
    taken(folder)
