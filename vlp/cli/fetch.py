"""`vlp data fetch`: images from a list of addresses."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlp.errors import ConfigError

if TYPE_CHECKING:
    from vlp.data.fetch.run import Result, Settings


def fetch(
    source: Annotated[str, typer.Argument(help="Form of the list: conceptual_captions, sbu, openimages or list.")],
    addresses: Annotated[Path, typer.Option("--list", help="The published list.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder of the archives and of status.sqlite.", show_default=False)],
    limit: Annotated[int | None, typer.Option(help="Only the first so many addresses: for a trial.")] = None,
    contact: Annotated[str, typer.Option(help="Address or page told to the servers, for complaints.")] = "",
    parallel: Annotated[int, typer.Option(min=1, help="Requests under way at once.")] = 64,
    per_host: Annotated[int, typer.Option(min=1, help="Of these to one host.")] = 4,
    delay: Annotated[float, typer.Option(min=0, help="Seconds between two requests to one host.")] = 0.1,
    tries: Annotated[int, typer.Option(min=1, help="Times an address is asked for in this call.")] = 3,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for a request as a whole.")] = 30.0,
    max_mb: Annotated[float, typer.Option(min=0.001, help="Larger files are left.")] = 20.0,
    side: Annotated[int, typer.Option(min=64, help="Pixels of the longer side; larger images are re-sized.")] = 1024,
) -> None:
    """Fetch the images of a list into tar archives; call it again to go on after a kill or to try what failed."""
    import vlp.data.fetch.run as work
    from vlp.data.fetch.client import Limits
    from vlp.data.fetch.hosts import Manners
    from vlp.data.fetch.lists import SOURCES, read

    if source not in SOURCES:
        raise ConfigError(f"fetch {source}: no list of addresses is known by that name; use {', '.join(SOURCES)}")
    listed = read(source, addresses)
    for row, cell in listed.bad[:10]:
        print(f"{addresses}, row {row}: not an address: {cell!r}", file=sys.stderr)
    agent = "vlp-fetch/1 (research data set" + (f"; {contact})" if contact else ")")
    settings = work.Settings(
        agent=agent,
        parallel=parallel,
        side=side,
        limits=Limits(seconds=timeout, bytes=int(max_mb * 1e6)),
        manners=Manners(per_host=per_host, delay=delay, tries=tries),
    )
    result = _with_bar(listed.addresses, out, settings, limit)
    known = sum(result.counts.values())
    print(f"{known:,} addresses, {listed.repeated:,} repeated, {len(listed.bad):,} rows without one")
    for status, count in result.counts.items():
        print(f"  {status:14}{count:>12,}  {count / known:6.1%}")
    if result.recovered:
        print(f"{result.recovered:,} images of damaged or missing archives were asked for again")
    if result.deferred:
        print(
            f"{result.deferred:,} addresses wait for another call: their hosts do not answer, or ask to be left alone"
        )
    print(f"{result.asked:,} in {result.seconds:,.0f} s; {out / 'status.parquet'}")


def _with_bar(addresses: list[str], out: Path, settings: Settings, limit: int | None) -> Result:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from vlp.data.fetch.client import Status
    from vlp.data.fetch.run import fetch as work

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task, good = bar.add_task("images", total=None), 0

        def show(done: int, of: int, status: Status) -> None:
            nonlocal good
            good += status is Status.OK
            bar.update(task, completed=done, total=of, description=f"{good:,} images")

        return work(addresses, out, settings, limit, show)
