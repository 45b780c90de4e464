"""`vlp estimate`: what an experiment will cost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlp.cli.options import ConfigPath, Overrides
from vlp.config import build, read

if TYPE_CHECKING:
    from vlp.config import Experiment
    from vlp.training.estimate import Cost, Machines

app = typer.Typer(invoke_without_command=True)

Counts = Annotated[
    list[str] | None,
    typer.Option(
        "--count", help="TABLE=N: train rows of a table (images: all) that is not read yet.", show_default=False
    ),
]


@app.callback()
def estimate(
    config: ConfigPath,
    gpus: Annotated[str, typer.Option(help="For example 8xH200.")] = "1xH200",
    count: Counts = None,
    overrides: Overrides = None,
) -> None:
    """Print FLOPs, hours, memory and disk of each stage; nothing is run and no data is needed."""
    from vlp.doctor.needs import known_counts
    from vlp.runs.estimate import bill
    from vlp.training import estimate as estimates

    e = without_paths(config, overrides or [])
    machines = estimates.Machines.parse(gpus)
    counts = known_counts(e) | _given(count or [])
    print(f"{e.name} on {machines.count} x {machines.name}, at {estimates.UTILISATION:.0%} of its peak rate (assumed)")
    found = bill(e, machines, counts)
    if found is None:
        print(f"the method {e.model.method} does not say what it costs")
        return
    print(f"{found.assumed}\n")
    _print_stages(found.costs, machines, [estimates.trainings(e, c.name) for c in found.costs])
    print("\nlarge files")
    for name, size in found.disk.items():
        shown = "unknown: --count images=N" if size is None else f"{size / 1e9:,.1f} GB"
        print(f"  {name:22}{shown}")


def without_paths(config: Path, overrides: list[str]) -> Experiment:
    """Nothing is read from the data, so paths that have no default need not be named."""
    value = read(config, overrides)
    data, regions = value.get("data"), value.get("regions")
    if isinstance(data, dict) and data.get("root") is None and data.get("generator") is None:
        value["data"] = data | {"root": "."}
    if isinstance(regions, dict) and regions.get("source") == "vinvl_tsv" and regions.get("tsv") is None:
        value["regions"] = regions | {"tsv": "."}
    return build(value, str(config))


def _print_stages(costs: list[Cost], machines: Machines, times: list[int]) -> None:
    """`times`: how often each is trained."""
    print(
        f"{'':12}{'samples':>10}{'steps':>9}{'PFLOP useful':>14}{'padded':>10}"
        f"{'hours useful':>14}{'padded':>8}{'GB/GPU':>8}"
    )
    for c in costs:
        if c.hours_useful is None or c.hours_padded is None:
            print(f"{c.name:12}{'unknown':>10}  {c.useful / 1e9:,.1f} GFLOP a sample; name its rows with --count")
            continue
        print(
            f"{c.name:12}{c.samples / 1e6 if c.samples else 0:>9,.2f}M{c.steps:>9,}{c.useful / 1e15:>14,.0f}"
            f"{c.padded / 1e15:>10,.0f}{c.hours_useful:>14,.2f}{c.hours_padded:>8,.2f}{c.memory / 1e9:>8,.1f}"
        )
    known = [(c, n) for c, n in zip(costs, times, strict=True) if c.hours_useful is not None]
    for title, often in (("each once", False), ("with all variants and seeds", True)):
        useful, padded = (
            sum(getattr(c, f"hours_{kind}") * (n if often else 1) for c, n in known) for kind in ("useful", "padded")
        )
        print(f"{title:55}{useful:>14,.2f}{padded:>8,.2f}   ({useful * machines.count:,.1f} GPU-hours useful)")
    for c in costs:
        if c.memory > machines.gpu.memory:
            print(f"{c.name}: {c.memory / 1e9:,.0f} GB do not fit a {machines.name}; raise accumulation or the GPUs")
    print("\nshare of the useful FLOPs")
    for c in costs:
        print(f"  {c.name:12}" + ", ".join(f"{part} {share:.2%}" for part, share in c.shares.items()))


def _given(pairs: list[str]) -> dict[str, int]:
    found = {}
    for pair in pairs:
        table, _, number = pair.partition("=")
        try:
            found[table] = int(float(number))
        except ValueError as error:
            raise typer.BadParameter(f"{pair!r}: write TABLE=NUMBER", param_hint="--count") from error
    return found
