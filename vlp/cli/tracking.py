"""`vlp tracking`: the MLflow mirror and its UI."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlp.cli.options import Overrides, experiment
from vlp.errors import InputError, VlpError

if TYPE_CHECKING:
    from vlp.config import Experiment

app = typer.Typer()
HOST = "127.0.0.1"

ConfigFile = Annotated[Path | None, typer.Option("--config", help="Experiment file (YAML).")]
PlanFile = Annotated[Path | None, typer.Option(help="plan.yaml of a sweep, in the place of --config.")]


def _experiments(config: Path | None, plan: Path | None, overrides: list[str] | None) -> list[Experiment]:
    """One, or all parts of a sweep."""
    if plan is not None:
        from vlp.sweep.plan import read

        return [node.experiment for node in read(plan).nodes]
    if config is None:
        raise typer.BadParameter("name --config or --plan")
    return [experiment(config, overrides)]


@app.command()
def sync(config: ConfigFile = None, plan: PlanFile = None, overrides: Overrides = None) -> None:
    """Bring to MLflow what it lacks of the experiment's (or a sweep's) journals; every point arrives once."""
    from vlp.tracking import mirror, store

    parts = _experiments(config, plan, overrides)
    where = store.file_of(parts[0]) or parts[0].tracking.uri
    print(f"{sum(map(mirror.sync, parts))} journals are in {where}")


@app.command()
def follow(
    driver: Annotated[int, typer.Option(help="Process id: ends when that process has ended.")],
    config: ConfigFile = None,
    plan: PlanFile = None,
    overrides: Overrides = None,
) -> None:
    """Keep the mirror up to date while a workflow runs; the Snakefile starts this."""
    import os

    from vlp.tracking import mirror

    os.nice(19)
    mirror.follow(_experiments(config, plan, overrides), driver)


def _demand_free(port: int) -> None:
    """Ends with code 1 and the reason: another server listens there, whose address would be told, or the port is kept
    for the system."""
    import socket
    import sys

    with socket.socket() as probe:
        # As the server does: what another has just left is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen(1)
        except OSError as error:
            kept = isinstance(error, PermissionError)
            problem = "it is kept for the system" if kept else "another program listens there"
            remedy = "Name another port: --port N, or make ui PORT=N."
            print(f"vlp: port {port}: {problem} ({error.strerror}). {remedy}", file=sys.stderr)
            raise typer.Exit(1) from error


@app.command()
def ui(
    config: ConfigFile = None,
    plan: PlanFile = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on this machine.")] = 5000,
    overrides: Overrides = None,
) -> None:
    """Open the MLflow UI on the experiment's (or a sweep's) store; stop it with Ctrl-C."""
    import os
    import sys

    from vlp.tracking import mirror, store

    parts = _experiments(config, plan, overrides)
    here = parts[0]
    if not store.store_uri(here).startswith("sqlite:"):
        print(f"The runs are on the MLflow server: {mirror.table_address(here, store.store_uri(here))}")
        return
    if not any((part.folder / "journals").is_dir() for part in parts):
        raise InputError(store.top(here), "holds no journals yet.", "Run the experiment first: make demo.")
    _demand_free(port)
    try:
        for part in parts:
            mirror.sync(part)
    except VlpError as error:
        print(f"vlp: {error} The UI shows what it has.", file=sys.stderr)
    # Without the first variable the server starts a row of job runners that nothing here uses.
    environment = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **store.SETTINGS, **os.environ}
    places = ["--backend-store-uri", store.store_uri(here)]
    places += ["--artifacts-destination", (store.top(here) / store.ARTIFACTS).as_uri()]
    _demand_free(port)  # the above took seconds; once the server has its place, its address is this one
    print(mirror.table_address(here, f"http://{HOST}:{port}"), flush=True)
    command = [sys.executable, "-m", "mlflow", "server", *places]
    command += ["--host", HOST, "--port", str(port), "--workers", "1"]
    os.execve(sys.executable, command, environment)
