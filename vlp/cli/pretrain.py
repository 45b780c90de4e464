"""`vlp pretrain`: a stage of pre-training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vlp.cli.options import ConfigPath, Overrides, experiment

app = typer.Typer()

Tables = Annotated[Path, typer.Option(help="Folder of the tables.")]
CorpusFile = Annotated[Path, typer.Option(help="corpus.h5.")]
RegionFile = Annotated[Path | None, typer.Option(help="Region store; left out where the method reads no regions.")]
LeaksFolder = Annotated[
    Path | None,
    typer.Option(help="Folder of `vlp data leaks`: images to leave out; without it models do not say what they saw."),
]
VocabularyFolder = Annotated[Path, typer.Option(help="Folder with phrases.json and tokenizer/.")]


@app.command()
def run(
    config: ConfigPath,
    stage: Annotated[str, typer.Option(help="One of the method's.")],
    tables: Tables,
    corpus: CorpusFile,
    vocabulary: VocabularyFolder,
    out: Annotated[Path, typer.Option(help="Model directory to write.")],
    run_dir: Annotated[Path, typer.Option(help="Checkpoints and journal.")],
    regions: RegionFile = None,
    init: Annotated[Path | None, typer.Option(help="Model directory to start from.")] = None,
    leaks: LeaksFolder = None,
    detector: Annotated[
        Path | None, typer.Option(help="The detector of the regions, to go along in the model directory.")
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Train one stage; started again after a kill, it goes on from its newest checkpoint."""
    from vlp.batching.inputs import Paths
    from vlp.launch import run as launch
    from vlp.launch import taken
    from vlp.models.directory import publish
    from vlp.runs.pretrain import pretrain
    from vlp.tracking import track

    e = experiment(config, overrides)
    if stage not in e.stages:
        there = ", ".join(e.stages)
        raise typer.BadParameter(f"{stage!r} is no stage of the experiment; there are {there}", param_hint="--stage")
    paths = Paths(tables, corpus, regions, vocabulary, leaks)
    options = e.stages[stage]
    inputs = {"corpus": corpus, "vocabulary": vocabulary} | ({"init": init} if init else {})
    inputs |= {"regions": regions} if regions else {}
    if detector:
        from vlp.regions.detector import files

        inputs |= files(detector)
    inputs |= {"leaks": leaks} if leaks else {}
    params = {"optimisation": options.model_dump(), "model": e.model.model_dump()}
    with track(
        e,
        rule=stage,
        inputs=inputs | {"tables": tables},
        outputs={"model": out},
        params=params,
        tags={"stage": stage},
        resume=(run_dir / "checkpoints").exists(),
    ) as tracked:
        arguments = {
            "experiment": e,
            "stage": stage,
            "paths": paths,
            "init": init,
            "out": run_dir / "model",
            "run_dir": run_dir,
            "detector": detector,
        }
        with tracked.training(run_dir / "journal.jsonl"):
            result = launch(pretrain, arguments, e.launch.pretraining, run_dir, f"{e.name}-{stage}", inputs)
        publish(run_dir / "model", out)
        for key, value in result.items():
            tracked.metric(key, value)
    taken(run_dir)
