"""`vlp jobs`: the experiment's jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vlp.cli.options import Overrides, experiment
from vlp.errors import InputError

Config = Annotated[Path | None, typer.Option("--config", help="Experiment file (YAML).", show_default=False)]
Folder = Annotated[
    Path | None, typer.Option(help="Folder of an experiment or a sweep, in the place of --config.", show_default=False)
]


def folder_of(config: Path | None, folder: Path | None, overrides: list[str] | None) -> Path:
    if (config is None) == (folder is None):
        raise typer.BadParameter("name --config or --folder")
    found = folder or experiment(config, overrides).folder  # type: ignore[arg-type]
    if not found.is_dir():
        raise InputError(found, "there is no such folder.", "Name that of an experiment, results/NAME.")
    return found


def command(config: Config = None, folder: Folder = None, overrides: Overrides = None) -> None:
    """One line a job: rule, id, state, node, step, samples/s, time left, log."""
    from vlp.launch import jobs as launched
    from vlp.launch.scheduler import Slurm

    slurm, found = Slurm(), list(launched.jobs(folder_of(config, folder, overrides)))
    if not found:
        print("no jobs")
        return
    width = max(len(j.rule) for j in found) + 2
    print(f"{'rule':{width}}{'job':>12}  {'state':14}{'node':10}{'step':>14}{'samples/s':>11}{'left':>14}  log")
    for job in found:
        look, now = job.look(slurm), job.progress()
        step, rate, left = (f"{now[0]}/{now[1]}", f"{now[2]}", now[3]) if now else ("", "", "")
        word = look.word or look.state.name
        print(
            f"{job.rule:{width}}{job.last.job or '':>12}  {word:14}{look.nodes:10}{step:>14}{rate:>11}{left:>14}  "
            f"{job.log or ''}{'  ' + look.detail if look.detail else ''}"
        )
