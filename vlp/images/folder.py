"""The image files of a folder: their ids and sizes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from vlp.archives import members
from vlp.errors import InputError
from vlp.images.decode import ImageError, ImageRecord, Skipped, header

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")


def in_folder(folder: Path, dataset: str) -> list[tuple[str, Path]]:
    """The image files below `folder`, by name, each with its id: `dataset`/path without suffix.

    Members of tar archives count as files that lie beside the archive; `folder` may be an archive itself.

    Raises:
        InputError: there is none, two differ in nothing but the suffix, an archive is damaged.
    """
    if not folder.is_dir() and not _is_archive(folder):
        raise InputError(folder, "there is no such folder or tar archive.", "Name the folder that holds the images.")
    found: dict[str, Path] = {}
    for name, path in _image_files(folder):
        image_id = f"{dataset}/{name.with_suffix('').as_posix()}"
        if image_id in found:
            one, other = (file.relative_to(folder).as_posix() for file in (found[image_id], path))
            problem = f"{one} and {other} would have the same id."
            raise InputError(folder, problem, "Rename one of the two, or move it away.", row=image_id)
        found[image_id] = path
    if not found:
        raise InputError(folder, f"no image ({', '.join(SUFFIXES)}) in it.", "Name the folder that holds the images.")
    return list(found.items())


def _image_files(folder: Path) -> Iterator[tuple[PurePosixPath, Path]]:
    """Name within `folder` and path of each image; that of a member goes through its archive."""
    for path in [folder] if _is_archive(folder) else sorted(folder.rglob("*")):
        if _is_archive(path):
            inner = PurePosixPath() if path == folder else PurePosixPath(path.relative_to(folder).parent)
            names = (PurePosixPath(name) for name in sorted(members(path)))
            yield from ((inner / name, path / name) for name in names if name.suffix.lower() in SUFFIXES)
        elif path.suffix.lower() in SUFFIXES and path.is_file():
            yield PurePosixPath(path.relative_to(folder)), path


def _is_archive(path: Path) -> bool:
    return path.suffix == ".tar" and path.is_file()


def measured(files: Iterable[tuple[str, Path]], skipped: Skipped) -> list[ImageRecord]:
    """Records of image files, sizes read from their headers; a file without a readable one goes to `skipped`."""
    made = []
    for image_id, path in files:
        try:
            made.append(ImageRecord(image_id, path, *header(path).size, split=""))
        except ImageError as error:
            skipped.add(ImageRecord(image_id, path, 0, 0, ""), path, str(error))
    return made
