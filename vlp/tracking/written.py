"""What the journals say was written: a file whose bytes have changed since is refused before it is read.

Bit rot leaves size and time of a file alone, so the bytes themselves are compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from vlp.errors import InputError
from vlp.tracking.digests import Hashed, digests_of
from vlp.tracking.lineage import Step, holds, home_of, steps

TOLD = 3
"""So many changed files are named."""


def refuse_changed(inputs: Iterable[Hashed]) -> None:
    """Raises InputError: a file is no longer as the rule left it that wrote it, or is gone; rule and remedy are named.

    What no journal tells of is not judged: it came from elsewhere.
    """
    known: dict[Path, list[Step]] = {}
    problems: list[tuple[Path, str, str]] = []
    for one in inputs:
        home = home_of(one.path)
        if home is not None:
            known[home] = known[home] if home in known else steps(home)
            problems += _differing(one, dict(_written(known[home], one.path.resolve())))
    if problems:
        path, rule, problem = problems[0]
        names = [str(path) for path, *_ in problems[1:TOLD]]
        more = f" The same of {', '.join(names)}{' and others' if len(problems) > TOLD else ''}." if names else ""
        raise InputError(path, problem + more, f"Remove it and run the workflow again: {rule} makes it anew.")


def _differing(one: Hashed, written: dict[Path, tuple[str, str]]) -> Iterator[tuple[Path, str, str]]:
    found = one.paths
    for path, now in found.items():
        then, rule = written.get(path, (now, ""))
        if now != then:
            yield path, rule, f"its bytes have changed since {rule} wrote it (sha256 {then[:12]} then, {now[:12]} now)."
    if one.listed and not one.kind:
        here = one.path.resolve()
        for path, (_, rule) in written.items():
            if path not in found and path.is_relative_to(here):
                yield path, rule, f"it is gone; {rule} wrote it."


def _written(known: Iterable[Step], read: Path) -> Iterator[tuple[Path, tuple[str, str]]]:
    """File -> its digest, and the rule that wrote it: of the outputs that `read` lies in, or that lie in it."""
    for step in known:
        for file in step.outputs if step.status == "FINISHED" else ():
            place = step.place(file)
            if file.sha256 is None or not holds(place, read):
                continue
            listed = digests_of(step.folder, file.sha256)
            names = {"": file.sha256} if listed is None else listed
            yield from ((place / name if name else place, (sha, step.rule)) for name, sha in names.items())
