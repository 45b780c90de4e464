"""`vlp sweep`: many runs of one experiment, what they share made once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlp.cli.options import Overrides
from vlp.errors import InputError

if TYPE_CHECKING:
    from vlp.sweep.plan import Plan
    from vlp.training.estimate import Machines


def command(
    file: Annotated[Path, typer.Argument(help="Sweep file, as configs/sweeps/table4.yaml.", show_default=False)],
    base: Annotated[Path | None, typer.Option(help="Another base experiment than the file's.")] = None,
    seeds: Annotated[str | None, typer.Option(help="Other seeds: 1,2,3.")] = None,
    name: Annotated[str | None, typer.Option(help="Another name, that is another folder.")] = None,
    profile: Annotated[Path, typer.Option(help="Snakemake profile: where jobs run.")] = Path(
        "workflow/profiles/default"
    ),
    cores: Annotated[
        str, typer.Option(help="Cores of this machine for rules that run here; on SLURM, waiting jobs.")
    ] = "all",
    gpus: Annotated[str, typer.Option(help="The cost is told for these, for example 8xH200.")] = "1xH200",
    plan_only: Annotated[bool, typer.Option("--plan", help="Tell what would run, and run nothing.")] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="Cancel the sweep's jobs that are at work.")] = False,
    overrides: Overrides = None,
) -> None:
    """Tell what will run, its cost and what is shared; run it; end with a table.

    Run again, it goes on where it stopped; rows and seeds may be added to the file meanwhile. Ctrl-C ends its jobs too.
    """
    from vlp.config.sweep import load
    from vlp.sweep import plan as plans
    from vlp.training.estimate import Machines

    changes = {"base": base, "name": name, "seeds": [_seed(s) for s in seeds.split(",")] if seeds else None}
    plan = plans.make(load(file, changes), overrides or [])
    if cancel:
        _cancel(plan)
        return
    _tell(plan, Machines.parse(gpus))
    if plan_only:
        return
    workflow = _workflow()
    command = [str(Path(sys.executable).parent / "snakemake"), "--snakefile", str(workflow), "--cores", cores]
    command += ["--profile", str(profile), "--nolock"]
    sys.stdout.flush()
    code = _alone(plan, command)
    if code == 0:
        print(f"\nThe table: {plan.folder / 'report.html'}, {plan.folder / 'sweep.csv'}")
    raise typer.Exit(code)


def _seed(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no whole number", param_hint="--seeds") from error


def _workflow() -> Path:
    found = Path(__file__).resolve().parents[2] / "workflow" / "sweep.smk"
    if not found.exists():
        raise InputError(found, "the workflow is not beside the package.", "Run from a checkout of the project.")
    return found


def _alone(plan: Plan, command: list[str]) -> int:
    """One workflow of a sweep at a time. The workflow has the lock too, so it goes when both processes have ended."""
    from vlp.launch.writers import LOCK, hold

    with hold(plan.folder / LOCK) as lock:
        child = subprocess.Popen([*command, "--config", f"plan={plan.write()}"], pass_fds=[lock.fileno()])
        while True:
            try:
                return child.wait()
            except KeyboardInterrupt:  # the workflow got it too, and cancels its jobs
                continue


def _tell(plan: Plan, machines: Machines) -> None:
    from vlp.sweep import cost
    from vlp.sweep.plan import made

    s = plan.sweep
    print(f"{s.name}: {len(plan.runs)} rows x {len(s.seeds)} seeds of {s.base}, in {plan.folder}")
    twins: dict[tuple[str, ...], list[str]] = {}
    for row, of in plan.runs.items():
        twins.setdefault(tuple(of.values()), []).append(row)
    for rows in twins.values():
        print(f"  {rows[0]}" + "".join(f"   = {other}" for other in rows[1:]))
    print(f"\n{'':10}{'to make':>9}{'there':>7}{'shared':>8}{'without sharing':>17}")
    wanted = len(plan.runs) * len(s.seeds)
    for kind in plan.kinds:
        nodes = plan.of(kind)
        there = sum(made(n) for n in nodes)
        uses = sum(len(n.users) for n in nodes)
        common = sum(len(n.users) > 1 for n in nodes)
        print(f"{kind:10}{len(nodes) - there:>9}{there:>7}{common:>8}{uses if kind != 'run' else wanted:>17}")
    total = cost.of(plan, machines)
    print(
        f"\non {machines.count} x {machines.name} at an assumed share of its peak (docs/estimate.md): "
        f"{total.petaflops:,.1f} PFLOP, {total.hours:,.1f} hours; without sharing {total.hours_unshared:,.1f} hours"
        + ("" if total.known else "; more, where the number of train rows is not known yet")
    )
    for kind, hours in total.by_kind.items():
        print(f"  {kind:8}{hours:>10,.2f} hours")


def _cancel(plan: Plan) -> None:
    from vlp.launch.jobs import jobs

    ended = 0
    for node in plan.nodes:
        for job in jobs(node.experiment.folder):
            ended += job.cancel()
    print(f"{ended} jobs cancelled. The workflow that waits for them ends; `vlp sweep` again goes on.")
