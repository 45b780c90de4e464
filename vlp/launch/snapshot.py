"""The code and the environment of a job as they were when it was sent."""

from __future__ import annotations

import hashlib
import shutil
import sys
import sysconfig
import tempfile
from importlib import metadata
from pathlib import Path

from vlp.errors import VlpError
from vlp.files import open_to_others

PACKAGE = Path(__file__).resolve().parents[1]


def code(root: Path) -> Path:
    """A copy of this package under `root`, named by its content; the folder to put on PYTHONPATH."""
    files = sorted(p for p in PACKAGE.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.relative_to(PACKAGE).as_posix()} {path.stat().st_size}\n".encode())
        digest.update(path.read_bytes())
    copy = root / f"code-{digest.hexdigest()[:12]}"
    if copy.exists():
        return copy.resolve()
    root.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".code-", dir=root))
    try:
        for path in files:
            target = temporary / PACKAGE.name / path.relative_to(PACKAGE)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)
        open_to_others(temporary)
        try:
            temporary.rename(copy)
        except OSError:
            if not copy.exists():  # else another submission was faster
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return copy.resolve()


def environment() -> dict[str, str]:
    """Python and every installed distribution with its version."""
    # Not all of sys.path: importing setuptools, as others do, puts the packages it carries there.
    places = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    found = {d.metadata["Name"].lower().replace("_", "-"): d.version for d in metadata.distributions(path=places)}
    return {"python": sys.version.split()[0], **dict(sorted(found.items()))}


def must_be(wanted: dict[str, str], root: Path | None) -> None:
    """Raises VlpError: packages have changed since the job was sent, or the code does not come from the copy `root`."""
    here = environment()
    changed = sorted(n for n in wanted.keys() | here.keys() if wanted.get(n) != here.get(n))
    if changed:
        told = ", ".join(f"{n} {wanted.get(n, 'absent')} -> {here.get(n, 'absent')}" for n in changed[:5])
        raise VlpError(
            f"The environment has changed since this job was sent: {told}. Restore it (envs/lock.txt), or start the "
            "workflow again, which sends a new job."
        )
    if root is not None and PACKAGE.parent != root:
        raise VlpError(f"The job's code comes from {PACKAGE.parent}, not from its copy {root}.")
