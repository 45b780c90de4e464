"""A table, or a split of one, that loses most of its records is no success: the file means something else.

Records count that are bad, not those that have no place here. Images of the web vanish, and texts and labels may speak
of more images than are used: such are left out of the share, but a table or split that gets nothing at all is told of.
A box that its image's edge cuts is kept; where many are cut they are no such boxes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from vlp.config.presets import mark_of, mark_of_id
from vlp.data.readers.common import Loss, Report
from vlp.data.readers.source import TEXT_KEYS, Files, Place
from vlp.data.tables import SCHEMAS, SPLITS
from vlp.errors import InputError

BEYOND = "beyond data.limit"
MISSING_IMAGE = "missing image"
UNNAMED_SPLIT = "source split "
"""How the reason of a record begins whose split the config does not name."""
UNKNOWN_IMAGE = "unknown image"
_OF_ADDRESSES = ("conceptual_captions", "sbu")
_BY_DESIGN = (
    BEYOND,
    UNNAMED_SPLIT,
    "its image was skipped",
    "question of a split without annotations",
    "question without answers outside test",
)
"""How reasons begin for which a table may well be empty."""
_CAUSES = {
    MISSING_IMAGE: "Check {where}.images: the image files have other names there, or only a part of them is there.",
    "unreadable image": "Fetch or make the image files again.",
    UNKNOWN_IMAGE: "The file names images otherwise than {where}.captions does, or is of another data set.",
    "malformed record": "The file has another form than {where}.{key}.format says.",
    "not valid JSON": "Lines of JSON are wanted, not one JSON document over several lines.",
    "not valid UTF-8": "Write the file again in UTF-8.",
    "degenerate box": "A COCO box is x, y, width, height; one of other numbers, or of a turned image, has no area.",
    "the image has another shape than the annotation says": "Width and height may be exchanged in the annotation, or "
    "the image files are others than the annotated ones.",
    "question without an annotation": "The annotations are those of other questions: check {where}.{key}.files.",
    "annotation without a question": "The annotations are those of other questions: check {where}.{key}.files.",
    "caption of an unknown image": "Captions and images of the file do not belong together.",
    "phrase not found in the caption": "Use the captions of the same release.",
}
_CALLED = {"entailment": "pairs", "phrase_boxes": "phrases", "referring": "expressions"}
_UNITS = {"image": "images with phrases", "caption": "captions with phrases", "ref": "refs"}
_REPEATED = "Ids must differ from record to record: give each its own, or take the field out where it may be absent."
_ALIKE = {"dev": "val", "minival": "val"}
_SHARE_OF_CORNERS = 0.95


@dataclass(frozen=True)
class _Kept:
    """What a source gave: split and ids of each row."""

    splits: Sequence[str]
    ids: Mapping[str, Sequence[str]]
    """Unit (`Loss.unit`) -> the id of what the row is of."""
    apart: int = 0
    """Rows of val that were set apart from train."""

    def count(self, split: str | None, unit: str = "") -> int:
        ids = self.ids[unit] if unit in self.ids else range(len(self.splits))
        return len({own for own, of in zip(ids, self.splits, strict=True) if split in (None, of)}) + (
            self.apart if split == "train" else -self.apart if split == "val" else 0
        )


def check(
    place: Place, files: Mapping[str, Files], tables: Mapping[str, pa.Table], report: Report, limit: float
) -> None:
    """
    Args:
        files: the sources of the data set `place`, by key.
        tables: what was made of them.
        limit: the share of its records that a table or split may lose; 1: all, and nothing is checked.

    Raises:
        InputError: one loses more, or a split of the file is empty; the most frequent reason, its first record and the
            likely cause are named.
    """
    if limit >= 1:
        return
    check_images(place, files["captions"], tables["images"], report, limit)
    for key, source in files.items():
        name = "captions" if key in TEXT_KEYS else key
        _check(name, source, _kept(tables[name], name, key, files), report, limit)
        _check_boxes(name, source, report, limit)


def check_images(place: Place, source: Files, images: pa.Table, report: Report, limit: float) -> None:
    """Of the table `images` alone; as `check`."""
    if limit >= 1:
        return
    splits = images["split"].to_pylist()
    apart = min(place.settings.split.set_apart, splits.count("val"))
    _check("images", source, _Kept(splits, {"": images["image_id"].to_pylist()}, apart), report, limit)


def check_splits(present: Iterable[str], file: Path, place: Place, what: str) -> None:
    """
    Args:
        present: the split of each record, as the file calls it.

    Raises:
        InputError: one of our splits gets nothing, and the file has one that is called much like it.
    """
    counts, rename = Counter(present), place.settings.split.rename
    reached = {rename[split] for split in counts if split in rename}
    for split, ours in rename.items():
        if ours in reached:
            continue
        for other in sorted(set(counts) - set(rename)):
            if _ALIKE.get(other.lower(), other.lower())[:2] == split.lower()[:2]:
                raise InputError(
                    file,
                    f"no {what} is of the split {split!r}, but {counts[other]:,} are of {other!r}, which the config "
                    f"does not name.",
                    f"Name it: {place.where}.split.rename.{other}: {ours}.",
                )


def nothing_left(place: Place, files: Sequence[Path], entries: int, report: Report) -> InputError:
    """What to raise where a data set has no image: the most frequent reason with its first record."""
    where = place.where
    lost = {
        loss: count
        for loss, count in report.lost.items()
        if loss.table in ("images", "captions") and loss.file in files and not loss.reason.startswith("its image")
    }
    if not lost:
        return InputError(files[0], "it lists no image.", f"Check {where}.captions: another file may be meant.")
    loss, count = _most(lost)
    file, row, words = report.first[loss]
    remedy = (
        f"Check data.root, {where}.images and {where}.split.rename." if entries else _cause(loss, where, "captions")
    )
    what = f"no image is left of {entries:,}" if entries else f"none of its {sum(lost.values()):,} records can be used"
    return InputError(file, f"{what}; {count:,} of them: {words}.", remedy, row=row)


def _kept(table: pa.Table, name: str, key: str, files: Mapping[str, Files]) -> _Kept:
    ids, splits = table[SCHEMAS[name].names[0]].to_pylist(), table["split"].to_pylist()
    if key in TEXT_KEYS and "texts" in files:
        mark = mark_of(files[key].source.format, key)
        pairs = [(own, split) for own, split in zip(ids, splits, strict=True) if mark_of_id(own) == mark]
        ids, splits = [own for own, _ in pairs], [split for _, split in pairs]
        return _Kept(splits, {"": ids})
    units = {"": ids}
    if name == "phrase_boxes":
        units |= {"image": table["image_id"].to_pylist(), "caption": table["caption_id"].to_pylist()}
    if name == "referring":
        units["ref"] = [own.rpartition("#")[0] for own in ids]
    return _Kept(splits, units)


def _check(name: str, source: Files, kept: _Kept, report: Report, limit: float) -> None:
    of_file = {path: split for role in source.source.files for split, path in source.of(role)}
    rename = source.place.settings.split.rename
    ours: dict[Loss, tuple[str | None, int]] = {}
    for loss, count in report.lost.items():
        if loss.table == name and loss.file in of_file:
            split = of_file[loss.file]
            ours[loss] = (loss.split if loss.split is not None or split is None else rename[split], count)
    of_split = {
        split: {loss: count for loss, (own, count) in ours.items() if split in (None, own)} for split in (None, *SPLITS)
    }
    for split, lost in of_split.items():
        notable = {loss: count for loss, count in lost.items() if loss.bad or not loss.reason.startswith(_BY_DESIGN)}
        if notable and not kept.count(split):
            raise _error(
                name, source, split, notable, (sum(notable.values()), sum(notable.values())), report, "nothing is left"
            )
    for split, lost in of_split.items():
        seen = kept.count(split) + sum(lost.values())
        bad = {loss: count for loss, count in lost.items() if loss.bad and not _excused(loss, source)}
        for used in (True, False):
            for unit in {loss.unit for loss in bad}:
                here = {loss: n for loss, n in bad.items() if loss.used == used and loss.unit == unit}
                wrong = sum(here.values())
                whole = kept.count(split, unit) + wrong if used else seen
                if wrong and wrong > limit * whole:
                    raise _error(name, source, split, here, (wrong, whole), report, f"more than {100 * limit:g}%")


def _excused(loss: Loss, source: Files) -> bool:
    if loss.reason == MISSING_IMAGE:
        return source.source.format in _OF_ADDRESSES
    return loss.reason == UNKNOWN_IMAGE and source.key in ("texts", "labels")


def _check_boxes(name: str, source: Files, report: Report, limit: float) -> None:
    paths = {path for role in source.source.files for _, path in source.of(role)}
    groups: dict[str, list[tuple[str, Path, str | None]]] = {}
    for key in report.boxes:
        if key[0] == name and key[1] in paths:
            for group in {"", str(key[1]), key[2] or ""}:
                groups.setdefault(group, []).append(key)
    for keys in groups.values():
        clipped, all_ = sum(report.clipped[k] for k in keys), sum(report.boxes[k] for k in keys)
        if clipped <= limit * all_:
            continue
        if sum(report.corners[k] for k in keys) >= _SHARE_OF_CORNERS * all_:
            cause = "They look like two corners (x1, y1, x2, y2); a COCO box is x, y, width, height: convert them."
        else:
            cause = "They may be of images of another size, or no boxes of this form."
        problem = f"{clipped:,} of {all_:,} boxes of {_CALLED.get(name, name)} reach over their image's edge"
        raise InputError(keys[0][1], f"{problem}, more than {100 * limit:g}%.", f"{cause} `data.max_lost` allows more.")


def _error(
    name: str,
    source: Files,
    split: str | None,
    lost: Mapping[Loss, int],
    counts: tuple[int, int],
    report: Report,
    verdict: str,
) -> InputError:
    first, most = _most(lost)
    at, row, words = report.first[first]
    what = _UNITS[first.unit] if first.unit else _CALLED.get(name, name)
    of = f"{what} of the split {split}" if split else what
    problem = f"{counts[0]:,} of {counts[1]:,} {of} would be lost, {verdict}"
    problem += f"; {most:,} of them as this one: {words}." if most > 1 else f": {words}."
    return InputError(
        at, problem, f"{_cause(first, source.place.where, source.key)} `data.max_lost` allows more.", row=row
    )


def _most(lost: Mapping[Loss, int]) -> tuple[Loss, int]:
    """The first loss of the most frequent reason, and how many have it."""
    reasons: Counter[str] = Counter()
    for loss, count in lost.items():
        reasons[loss.reason] += count
    most, count = max(reasons.items(), key=lambda item: (item[1], item[0]))
    return next(loss for loss in lost if loss.reason == most), count


def _cause(loss: Loss, where: str, key: str) -> str:
    if loss.reason.startswith("duplicate"):
        return _REPEATED
    return _CAUSES.get(loss.reason, "Check the records of that kind.").format(where=where, key=key)
