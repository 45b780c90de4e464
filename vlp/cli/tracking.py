"""`vlp tracking`: the MLflow mirror and its UI."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vlp.cli.options import ConfigPath, Overrides, experiment
from vlp.errors import InputError

app = typer.Typer()


@app.command()
def sync(config: ConfigPath, overrides: Overrides = None) -> None:
    """Bring to MLflow what it lacks of the experiment's journals; every point arrives once."""
    from vlp.tracking import mirror

    here = experiment(config, overrides)
    print(f"{mirror.sync(here)} journals are in {mirror.store_uri(here)}")


@app.command()
def follow(
    driver: Annotated[int, typer.Option(help="Process id: ends when that process has ended.")],
    config: Annotated[Path | None, typer.Option("--config", help="Experiment file (YAML).")] = None,
    plan: Annotated[Path | None, typer.Option(help="plan.yaml of a sweep, in the place of --config.")] = None,
    overrides: Overrides = None,
) -> None:
    """Keep the mirror up to date while a workflow runs; the Snakefile starts this."""
    import os

    from vlp.tracking import mirror

    os.nice(19)
    if plan is not None:
        from vlp.sweep.plan import read

        mirror.follow([n.experiment for n in read(plan).nodes], driver)
    elif config is not None:
        mirror.follow(experiment(config, overrides), driver)
    else:
        raise typer.BadParameter("name --config or --plan")


@app.command()
def ui(
    config: ConfigPath,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on this machine.")] = 5000,
    overrides: Overrides = None,
) -> None:
    """Open the MLflow UI on the experiment's store; stop it with Ctrl-C."""
    import os
    import sys

    from vlp.tracking import mirror

    here = experiment(config, overrides)
    uri = mirror.store_uri(here)
    if not uri.startswith("sqlite:"):
        print(f"The runs are on the MLflow server: {mirror.table_address(here, uri)}")
        return
    if not (here.folder / "journals").is_dir():
        raise InputError(here.folder, "holds no journals yet.", "Run the experiment first: make demo.")
    mirror.sync(here)
    # Without the first variable the server starts a row of job runners that nothing here uses.
    environment = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **mirror.SETTINGS, **os.environ}
    places = ["--backend-store-uri", uri, "--artifacts-destination", str(here.folder.resolve() / "mlartifacts")]
    print(mirror.table_address(here, f"http://127.0.0.1:{port}"), flush=True)
    command = [sys.executable, "-m", "mlflow", "server", *places]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    os.execve(sys.executable, command, environment)
