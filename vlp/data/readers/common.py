"""What all readers share: the report of records that are not taken as they are, checked files and fields."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, NamedTuple

from vlp.data.class_names import visible, whole
from vlp.data.readers import forms
from vlp.errors import InputError
from vlp.images.names import number_of

CLIPPED = "box clipped to the image"
_BAD_EXAMPLES = 1000
_LEFT_OUT_EXAMPLES = 20

Row = int | str | None
"""Index in a JSON list (from 0), number of a line (from 1), or a place inside such a row."""


class BadRecord(Exception):  # noqa: N818 (a verdict on a record; what the user sees is an InputError)
    """A record that cannot be used. `reason` is the kind (counted), `detail` the case."""

    stops = True
    """Ends the command where the config says `on_bad_record: stop`."""

    def __init__(self, reason: str, detail: str = "", remedy: str = "Mend or remove the record.") -> None:
        self.reason, self.detail, self.remedy = reason, detail, remedy
        super().__init__(f"{reason}: {detail}" if detail else reason)


class LeftOut(BadRecord):
    """A sound record that has no place here: its image is not used, or the format says to ignore it."""

    stops = False


class Loss(NamedTuple):
    """A kind of records that are not in a table."""

    table: str
    file: Path
    """Or the folder under which they are counted."""
    split: str | None
    """Ours; None: not known when they were left out."""
    reason: str
    bad: bool
    """Not merely without a place here."""
    used: bool
    """Of an image that is kept: the fault is the record's own."""
    unit: str = ""
    """What it is of which a table may hold several rows: `image`, `caption`, `ref`; empty: a row."""


class Report:
    """Counts every record that is skipped or changed, by table, file and reason; keeps examples with their rows.

    `summary.json` lists up to 1,000 bad and 20 left-out records of each table, file and reason; the counts are exact.
    """

    def __init__(self, root: Path, stop: bool = False) -> None:
        self.stop = stop
        self.split: str | None = None
        """Of the record that is being read, as soon as its reader knows it."""
        self.used = False
        """Whether its image is kept."""
        self.lost: Counter[Loss] = Counter()
        self.first: dict[Loss, tuple[Path, Row, str]] = {}
        """File, row and words of the first of each kind."""
        self.boxes: Counter[tuple[str, Path, str | None]] = Counter()
        """Boxes that were read, by table, file and split."""
        self.clipped: Counter[tuple[str, Path, str | None]] = Counter()
        """Those that reach over their image's edge."""
        self.corners: Counter[tuple[str, Path, str | None]] = Counter()
        """Those whose x, y, width, height might be two corners."""
        self._roots = {"": root}
        self._skipped: Counter[tuple[str, str, str]] = Counter()
        self._changed: Counter[tuple[str, str, str]] = Counter()
        self._examples: list[dict[str, Any]] = []
        self._notes: set[str] = set()

    def root(self, name: str, folder: Path) -> None:
        """Files under `folder` are called `name/...`, wherever it lies."""
        self._roots[name] = folder

    def record(self, table: str, file: Path, row: Row, group: Path | None = None, unit: str = "") -> _Guard:
        """A `with` block around one record: a BadRecord in it is counted, or ends the command."""
        return _Guard(self, table, file, row, group, unit)

    def skip(self, table: str, file: Path, row: Row, bad: BadRecord, group: Path | None = None, unit: str = "") -> None:
        """
        Args:
            group: the folder under which it is counted, where there are files without number.
            unit: see `Loss`.

        Raises:
            InputError: the record is bad and the config says `on_bad_record: stop`.
        """
        if bad.stops and self.stop:
            remedy = f"{bad.remedy} `data.on_bad_record: skip` goes on without it."
            raise InputError(file, f"{bad}.", remedy, row=row) from bad
        reason, words = _storable(bad.reason), _storable(str(bad))
        loss = Loss(table, group or file, self.split, reason, bad.stops, self.used, unit)
        self.lost[loss] += 1
        self.first.setdefault(loss, (file, row, words))
        key = (table, self.name(group or file), reason)
        self._skipped[key] += 1
        if self._skipped[key] <= (_BAD_EXAMPLES if bad.stops else _LEFT_OUT_EXAMPLES):
            self._examples.append(
                {
                    "table": table,
                    "file": self.name(file),
                    "row": row if row is None or isinstance(row, int) else _storable(row),
                    "reason": words,
                }
            )

    def change(self, table: str, file: Path, reason: str) -> None:
        """A record that is kept, but not as it stands in the file."""
        self._changed[table, self.name(file), reason] += 1
        if reason == CLIPPED:
            self.clipped[table, file, self.split] += 1

    def note(self, text: str) -> None:
        self._notes.add(text)

    def name(self, file: Path) -> str:
        """Relative to the root, so that the summary does not depend on where the data lie."""
        for name, root in reversed(self._roots.items()):
            if file.is_relative_to(root):
                return (PurePosixPath(name) / file.relative_to(root).as_posix()).as_posix()
        return str(file)

    def summary(self) -> dict[str, Any]:
        """`skipped_counts`, `changed_counts`: {table, file, reason, count}; `skipped`: {table, file, row, reason}."""
        examples = sorted(self._examples, key=lambda e: (e["table"], e["file"], _numbers(e["row"]), e["reason"]))
        return {
            "skipped_counts": _listed(self._skipped),
            "changed_counts": _listed(self._changed),
            "notes": sorted(self._notes),
            "skipped": examples,
        }


class _Guard:
    def __init__(self, report: Report, table: str, file: Path, row: Row, group: Path | None, unit: str) -> None:
        self._report, self._where, self._of = report, (table, file, row), (group, unit)

    def __enter__(self) -> None:
        self._outer = self._report.split, self._report.used

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        try:
            bad = error if isinstance(error, BadRecord) else None
            if isinstance(error, OverflowError | ZeroDivisionError | RecursionError | UnicodeError):
                # numbers and texts that no check foresaw: one record never ends the reading of millions
                bad = BadRecord("malformed record", f"{type(error).__name__}: {error!s:.80}")
            if bad is not None:
                self._report.skip(*self._where, bad, *self._of)
            return bad is not None
        finally:
            self._report.split, self._report.used = self._outer


def _storable(text: str) -> str:
    """Halves of surrogate pairs, which may stand in ids and names, as escapes: no file can hold them."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _listed(counts: Counter[tuple[str, str, str]]) -> list[dict[str, Any]]:
    return [{"table": t, "file": f, "reason": r, "count": n} for (t, f, r), n in sorted(counts.items())]


def _numbers(row: Row) -> list[int]:
    return [int(n) for n in re.findall(r"\d+", str(row))]


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, without their ends; the line numbers are those an editor shows.

    Raises:
        InputError: the file is missing or not UTF-8.
    """
    try:
        # Not splitlines: it also divides at characters that may stand inside a caption.
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except FileNotFoundError as error:
        raise InputError(path, "the file is missing.", "Check the path in the config.") from error
    except UnicodeDecodeError as error:
        row = path.read_bytes()[: error.start].count(b"\n") + 1
        raise InputError(path, f"not valid UTF-8 ({error}).", "Fetch or make the file again.", row=row) from error
    return lines[:-1] if lines[-1] == "" else lines


def json_lines(path: Path, report: Report, table: str) -> Iterator[tuple[int, Any]]:
    """Number and value of each line of JSON that is not blank; a line that is none is a bad record.

    Raises:
        InputError: the file is missing; a bad record where the config says to stop.
    """
    for row, line in _lines(path, report, table):
        with report.record(table, path, row):
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:  # ValueError: also a number of over 4,300 digits
                raise BadRecord("not valid JSON", _plain(error)) from error
            yield row, value


def cells(path: Path, report: Report, table: str, least: int, comma: bool = False) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of each line that is not blank; one with fewer than `least` cells is a bad record.

    Cells end with a tab and are not quoted (a caption may hold a lone quote), or, with `comma`, are those of CSV; a
    quoted cell stays on its line. Errors as `json_lines`.
    """
    for row, line in _lines(path, report, table):
        with report.record(table, path, row):
            try:
                found = next(csv.reader([line])) if comma else line.split("\t")
            except csv.Error as error:  # a cell of over 131,072 characters, a quote that does not end
                raise BadRecord("malformed record", str(error)) from error
            if len(found) < least:
                raise BadRecord("malformed record", f"{len(found)} cells, wanted {least}")
            yield row, found


def _lines(path: Path, report: Report, table: str) -> Iterator[tuple[int, str]]:
    """Numbered lines that are not blank, one at a time: the files of the web corpora have millions."""
    try:
        file = path.open("rb")
    except FileNotFoundError as error:
        raise InputError(path, "the file is missing.", "Check the path in the config.") from error
    with file:
        for row, raw in enumerate(file, start=1):
            with report.record(table, path, row):
                try:
                    line = raw.decode("utf-8-sig" if row == 1 else "utf-8").strip("\r\n")
                except UnicodeDecodeError as error:
                    raise BadRecord("not valid UTF-8", str(error)) from error
                if line.strip():
                    yield row, line


def read_list(path: Path, key: str | None, hook: Callable[[dict[str, Any]], Any] | None = None) -> list[Any]:
    """The list in a JSON file, or that under `key`; `hook` makes each object smaller while the file is parsed.

    Raises:
        InputError: the file is missing, not JSON (with its line), or holds no such list.
    """
    return list_in(read_object(path, hook), path, key)


def read_object(
    path: Path,
    hook: Callable[[dict[str, Any]], Any] | None = None,
    pairs: Callable[[list[tuple[str, Any]]], Any] | None = None,
) -> Any:
    return parse_json("\n".join(read_lines(path)), path, hook=hook, pairs=pairs)


def parse_json(
    text: str,
    path: Path,
    row: int | None = None,
    hook: Callable[[dict[str, Any]], Any] | None = None,
    pairs: Callable[[list[tuple[str, Any]]], Any] | None = None,
) -> Any:
    """`hook` makes each object smaller while the text is parsed; `pairs` gets it as pairs, so that keys may repeat.

    Raises:
        InputError: not JSON; names `row`, or the line in the text.
    """
    try:
        return json.loads(text, object_hook=hook, object_pairs_hook=pairs)
    except (ValueError, RecursionError) as error:  # ValueError: also a number of over 4,300 digits
        row = row if row is not None else getattr(error, "lineno", None)
        raise InputError(
            path, f"not valid JSON ({_plain(error)}).", "Fetch or make the file again.", row=row
        ) from error


def _plain(error: Exception) -> str:
    """Without what Python advises its programmers."""
    return str(error).partition("; use sys")[0]


def list_in(value: Any, path: Path, key: str | None) -> list[Any]:
    """The list that `value`, read from `path`, is, or that under `key` of the object that it is.

    Raises:
        InputError: there is none; the form is named where it is a known one.
    """
    found = value if key is None else value.get(key) if isinstance(value, dict) else None
    if not isinstance(found, list):
        raise wrong_form(path, "a JSON list" if key is None else f"a JSON object with the list {key!r}", value)
    return found


def wrong_form(path: Path, wanted: str, value: Any) -> InputError:
    """What to raise where a file is sound JSON of another form than `wanted`."""
    form = forms.of_file(value)
    problem = f"{wanted} is wanted, not {_shape(value)}"
    if form is None:
        return InputError(path, f"{problem}.", "Check that the file has the format named in the config.")
    return InputError(path, f"{problem}: this looks like {form.name}.", form.remedy)


def _shape(value: Any) -> str:
    if isinstance(value, dict):
        names = [repr(name)[:40] for name, _ in zip(value, range(4), strict=False)]
        return f"an object of {', '.join(names)}{', ...' if len(value) > len(names) else ''}" if names else "{}"
    if isinstance(value, list):
        first = f", the first {_shape(value[0])}" if value and not isinstance(value[0], list) else ""
        return f"a list of {len(value):,}{first}"
    return f"{value!r:.40}"


def field(record: Any, name: str, *kinds: type) -> Any:
    """A field of one of the types; `bool` is no `int`.

    Raises:
        BadRecord: the record is no object, or the field is missing or of another type.
    """
    if not isinstance(record, dict):
        raise BadRecord("malformed record", f"an object is wanted, not {type(record).__name__}")
    if name not in record:
        form = forms.of_record(record)
        hint = f"; this looks like {form.name}. {form.remedy}" if form is not None else ""
        raise BadRecord("malformed record", f"the field {name!r} is missing{hint}")
    value = record[name]
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        wanted = " or ".join(k.__name__ for k in kinds)
        raise BadRecord("malformed record", f"the field {name!r} is {type(value).__name__}, wanted {wanted}")
    if isinstance(value, str):
        check_whole(value)
    return value


def check_whole(text: str) -> None:
    """Raises BadRecord: it holds half of a surrogate pair, which no table can."""
    if not whole(text):
        raise BadRecord("half a surrogate pair", ascii(text)[:80], "Write the record again in UTF-8.")


def number_in(record: Any, name: str) -> int:
    """An image's number, however it is written (`images.names.number_of`).

    Raises:
        BadRecord: as `field`; or it is none.
    """
    value = field(record, name, int, float, str)
    number = number_of(value)
    if number is None:
        raise BadRecord("malformed record", f"the field {name!r} is {value!r:.60}, wanted an image's number")
    return number


def image_in(record: Any, name: str) -> str | int:
    """What a record calls its image: a number, or a name. Raises BadRecord: as `field`; or a number that is none."""
    value = field(record, name, int, float, str)
    return value.strip() if isinstance(value, str) else number_in(record, name)


def text_of(record: Any, name: str, what: str) -> str:
    """The field's text, stripped; BadRecord as `sound_text`."""
    return sound_text(field(record, name, str), what)


def sound_text(text: str, what: str) -> str:
    """Stripped; BadRecord `empty <what>` where nothing is left that can be seen (U+200B cannot)."""
    check_whole(text)
    if not visible(text):
        raise BadRecord(f"empty {what}")
    return text.strip()


class Once:
    """Ids seen so far."""

    def __init__(self, what: str) -> None:
        self._what, self._seen = what, set()

    def __call__(self, value: str | int) -> str:
        """The id as a string; BadRecord where it came before, or is no text."""
        text = str(value)
        check_whole(text)
        if text in self._seen:
            raise BadRecord(f"duplicate {self._what}", text)
        self._seen.add(text)
        return text
