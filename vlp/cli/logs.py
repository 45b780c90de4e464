"""`vlp logs`: the end of a job's log."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from vlp.cli.jobs import Config, Folder, folder_of
from vlp.cli.options import Overrides


def command(
    job: Annotated[str, typer.Argument(help="Rule (vqa.full) or id of the job.")],
    config: Config = None,
    folder: Folder = None,
    lines: Annotated[int, typer.Option(min=1, help="So many lines of each log.")] = 30,
    follow: Annotated[bool, typer.Option("--follow", help="Go on as the log grows, until Ctrl-C.")] = False,
    overrides: Overrides = None,
) -> None:
    """Print where the logs of rank 0 are and how they end: its output, then its errors."""
    from vlp.launch.jobs import find, tail

    found = find(folder_of(config, folder, overrides), job)
    for path in (found.log, found.errors):
        if path is not None and path.exists():
            print(f"==> {path}")
            print("\n".join(tail(path).splitlines()[-lines:]), flush=True)
    if follow and found.log is not None and found.log.exists():
        with found.log.open(errors="replace") as file:
            file.seek(0, 2)
            try:
                while True:
                    print(file.read(), end="", flush=True)
                    time.sleep(1.0)
            except KeyboardInterrupt:
                return
