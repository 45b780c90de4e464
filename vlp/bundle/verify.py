"""A bundle -> every number in it computed again from its predictions, and each cell that differs, by name."""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from vlp import strict_yaml
from vlp.bundle import contents, pack, recompute
from vlp.bundle.contents import DIGEST, MANIFEST, Entry, Manifest
from vlp.config import Experiment, load
from vlp.errors import InputError
from vlp.files import sha256

_REMEDY = "Fetch the bundle again, or make it again: vlp bundle."
_BLOCK = 1 << 20
LARGEST_MANIFEST, LARGEST_DIGEST = 1 << 28, 1 << 12
"""Bytes."""


@dataclass
class Verdict:
    manifest: Manifest
    sha256: str
    """Of the bundle."""
    checked: dict[str, int] = field(default_factory=dict)
    """What was compared -> how many digests or cells."""
    wrong: dict[str, list[str]] = field(default_factory=dict)
    """The same -> everything that differs."""

    @property
    def fits(self) -> bool:
        return not any(self.wrong.values())


def verify(bundle: Path) -> Verdict:
    """Check digests, then compute every number of the results and every table of the report again.

    Raises:
        InputError: the file is missing or no bundle: it has no whole manifest.
    """
    if not bundle.is_file():
        raise InputError(bundle, "the file is missing.", "Make it: vlp bundle.")
    with tempfile.TemporaryDirectory() as made:
        place = Path(made) / "bundle"
        known, wrong = intact(bundle, place)
        verdict = Verdict(known, sha256(bundle))
        _record(verdict, "bytes", len(known.packed) + 1, wrong)
        moved = Path(made) / known.experiment
        place.rename(moved)
        with _told(verdict, "experiment.yaml", moved):
            experiment = at(alone(moved / "experiment.yaml", known.experiment), Path(made))
            for name, check in recompute.CHECKS.items():
                with _told(verdict, name, moved):
                    _record(verdict, name, *check(experiment, known))
    return verdict


def intact(bundle: Path, place: Path) -> tuple[Manifest, list[str]]:
    """Unpack to `place`; every byte is one of a file whose digest fits, or of the one form that headers have.

    Raises:
        InputError: as `unpack`.
    """
    known, wrong = unpack(bundle, place)
    there = contents.entries({p.relative_to(place).as_posix(): p for p in place.rglob("*") if p.is_file()})
    first, last = there.pop(MANIFEST), there.pop(DIGEST, None)
    told = {line.partition(": ")[0] for line in wrong}
    wrong += [line for line in damaged(known, there) if line.partition(": ")[0] not in told]
    if last is None or (place / DIGEST).read_text(errors="replace").split()[:1] != [first.sha256]:
        wrong.append(f"{MANIFEST}: is not the file that {DIGEST} tells of")
    return known, wrong or _canonical(bundle, place, known)


def unpack(bundle: Path, folder: Path) -> tuple[Manifest, list[str]]:
    """The files that the manifest names, each of the size that it says; and what else the archive holds.

    Nothing else is written: no link, device or sparse file, nothing outside `folder`, nothing larger than the bundle.

    Raises:
        InputError: not a tar file whose first member is the manifest.
    """
    wrong: list[str] = []
    try:
        with tarfile.open(bundle, "r:") as tar:
            first = tar.next()
            if first is None or first.name != MANIFEST or not _is_plain(first) or first.size > LARGEST_MANIFEST:
                raise InputError(bundle, f"not a bundle (it does not begin with {MANIFEST}).", _REMEDY)
            tar.extract(first, folder, filter="data")
            known = _manifest(bundle, folder / MANIFEST)
            sizes = {name: entry.size for name, entry in known.packed.items()}
            for member in tar:
                problem = _refused(member, sizes.pop(member.name, None))
                if problem:
                    wrong.append(f"{member.name}: {problem}")
                elif member is not first:
                    tar.extract(member, folder, filter="data")
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:  # cut or damaged: what is missing is told
        if not (folder / MANIFEST).exists():
            raise InputError(bundle, f"not a bundle ({error}).", _REMEDY) from error
    return _manifest(bundle, folder / MANIFEST), wrong


def _manifest(bundle: Path, path: Path) -> Manifest:
    try:
        return contents.read_manifest(path)
    except (InputError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(bundle, f"its manifest is missing or damaged ({error}).", _REMEDY) from error


def _is_plain(member: tarfile.TarInfo) -> bool:
    return member.isreg() and not member.issparse()


def _refused(member: tarfile.TarInfo, size: int | None) -> str | None:
    """Why a member is not unpacked. `size`: by the manifest; None: it is not in it, or came before."""
    if member.name == MANIFEST and member.offset == 0:
        return None
    if not _is_plain(member):
        return "is no plain file"
    if member.name == DIGEST and member.size <= LARGEST_DIGEST:
        return None
    if size is None:
        return "is not in the manifest, or stands there twice"
    return None if member.size == size else f"has {member.size} bytes, {size} in the manifest"


def damaged(known: Manifest, there: dict[str, Entry]) -> list[str]:
    """Every file that is gone, was not packed, or is another one."""
    found = [f"{name}: is missing" for name in known.packed if name not in there]
    found += [f"{name}: is not in the manifest" for name in there if name not in known.packed]
    for name, entry in known.packed.items():
        now = there.get(name, entry)
        if now != entry:
            found.append(
                f"{name}: sha256 {now.sha256[:12]}, {now.size} bytes; packed were {entry.sha256[:12]}, {entry.size}"
            )
    return found


def alone(path: Path, name: str) -> Experiment:
    """The experiment of a config that reads no other file.

    Raises:
        InputError: it extends others, or is of another experiment.
        ConfigError: it does not validate.
    """
    value = strict_yaml.read(path)
    said = value if isinstance(value, dict) else {}
    if "extends" in said:
        raise InputError(path.name, "extends other files.", "A bundle holds the resolved experiment: make it again.")
    if said.get("name") != name:
        raise InputError(path.name, f"is of {said.get('name')!r}, the bundle of {name!r}.", "Make the bundle again.")
    return load(path)


def at(experiment: Experiment, results: Path) -> Experiment:
    """The experiment with everything it reads in the unpacked bundle."""
    folder = results / experiment.name
    started = folder / contents.START if experiment.start_from else None
    return experiment.model_copy(update={"results": results, "reuse": type(experiment.reuse)(), "start_from": started})


def _canonical(bundle: Path, place: Path, known: Manifest) -> list[str]:
    """Headers and padding have one form: the same files packed again are the same bytes."""
    again = place.with_name("again.tar")
    files = {name: place / name for name in known.packed}
    pack.write(again, (place / MANIFEST).read_bytes(), files)
    found = _first_difference(bundle, again)
    again.unlink()
    return [] if found is None else [f"byte {found:,} of the bundle, outside the contents of its files, has changed"]


def _first_difference(one: Path, other: Path) -> int | None:
    start = 0
    with one.open("rb") as a, other.open("rb") as b:
        while True:
            left, right = a.read(_BLOCK), b.read(_BLOCK)
            if left != right:
                pairs = zip(left, right, strict=False)
                return start + next((i for i, (x, y) in enumerate(pairs) if x != y), min(len(left), len(right)))
            if not left:
                return None
            start += len(left)


def _record(verdict: Verdict, name: str, count: int, wrong: list[str]) -> None:
    verdict.checked[name] = count
    verdict.wrong[name] = wrong


@contextmanager
def _told(verdict: Verdict, name: str, place: Path) -> Iterator[None]:
    """What cannot be computed from a damaged or forged file is a difference, not the end of the checks."""
    try:
        yield
    except Exception as error:
        problem = f"{type(error).__name__}: {error}".replace(f"{place}/", "")
        _record(verdict, name, 0, [f"cannot be computed ({problem})"])
