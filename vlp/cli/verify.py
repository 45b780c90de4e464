"""`vlp verify`: a bundle's numbers, computed again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(bundle: Annotated[Path, typer.Argument(help="File of vlp bundle.", show_default=False)]) -> None:
    """Check every digest, compute every metric and every table of the report again; name each cell that differs
    (exit 1). Reads nothing but the bundle, and needs no GPU."""
    from vlp.bundle.verify import verify
    from vlp.errors import printable
    from vlp.tracking.run import code_version

    found = verify(bundle)
    print(f"{bundle}  sha256 {found.sha256}")
    made = printable(str(found.manifest.code_version))
    print(f"experiment {found.manifest.experiment}; made by {made}, checked by {code_version()}")
    for name, count in found.checked.items():
        wrong = found.wrong[name]
        print(f"  {name:26} {count:>8,} compared, {f'{len(wrong)} differ' if wrong else 'all fit'}")
        for line in wrong:
            print(f"    {printable(line)}")
    print("everything fits" if found.fits else "the bundle does not fit")
    raise typer.Exit(0 if found.fits else 1)
