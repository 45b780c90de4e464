"""`vlp bundle`: an experiment in one file, from which its numbers can be computed again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vlp.cli.options import ConfigPath, Overrides, experiment


def command(
    config: ConfigPath,
    out: Annotated[Path | None, typer.Option(help="Tar file to write; default NAME.bundle.tar.")] = None,
    overrides: Overrides = None,
) -> None:
    """Pack predictions, config, digests, results and published numbers; without weights, features and images."""
    from vlp.bundle.pack import pack
    from vlp.files import sha256

    here = experiment(config, overrides)
    out = out or Path(f"{here.name}.bundle.tar")
    made = pack(here, out)
    gone = sum(entry.size for entry in made.left_out.values())
    print(f"{out}  {out.stat().st_size / 2**20:.1f} MiB, {len(made.packed)} files; sha256 {sha256(out)}")
    print(f"of {len(made.left_out)} files more ({gone / 2**20:.1f} MiB: weights, features) the digests are in it")
