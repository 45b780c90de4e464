"""Caption images into JSON lines {image_id, caption}: in batches, kept when finished, written whole; shards merged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from vlp.data.caption.finished import Finished, Row, path_for
from vlp.errors import InputError
from vlp.files import atomic, raise_if_full, read_json, sha256, to_json, write_json
from vlp.images.decode import ImageError, ImageRecord, open_rgb
from vlp.parts import check_complete
from vlp.progress import Meter

if TYPE_CHECKING:
    from PIL import Image

_AGAIN = "Run vlp data caption --shard {} again."


class Captions(Protocol):
    """What writes captions: `captioner.Captioner`, or a test's."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the texts depend on."""
        ...

    def __call__(self, images: Sequence[Image.Image]) -> list[str]: ...


@dataclass
class Result:
    """What became of the images; `FILE.json` beside the captions holds it."""

    shard: tuple[int, int]
    images: int
    captions: int = 0
    resumed: int = 0
    """Captions that an earlier, killed run had finished."""
    images_per_second: float = 0.0
    facts: Mapping[str, Any] = field(default_factory=dict)
    sha256: str = ""
    """Of the captions."""
    skipped: list[Row] = field(default_factory=list)
    """{image_id, file, reason} of each image without a caption."""


def record_of(out: Path) -> Path:
    return out.with_suffix(".json")


def caption(
    captioner: Captions,
    images: Sequence[ImageRecord],
    out: Path,
    shard: tuple[int, int] = (1, 1),
    batch_size: int = 16,
    threads: int = 1,
    on_bad_image: Literal["skip", "stop"] = "skip",
) -> Result:
    """Write the captions of `images`, in their order, to `out`, and a record of the work beside it (.json).

    A killed run, started again, goes on, and on the CPU gives the same bytes: finished batches stand in a file beside
    `out` until that is whole. Images that an earlier run had to leave out are tried again.

    Args:
        threads: decode the next batch while the model has this one.

    Raises:
        InputError: no image gets a caption; one cannot be read and `on_bad_image` says stop; the disk is full; another
            process works on `out`. What stood at `out` before is untouched.
    """
    plan = [images[at : at + batch_size] for at in range(0, len(images), batch_size)]
    result = Result(shard, len(images), facts=captioner.facts)
    try:
        with Finished(path_for(out), _key(captioner, plan)) as done:
            result.resumed = done.captions
            result.images_per_second = _speak(captioner, plan, done, result.skipped, threads, on_bad_image == "stop")
            result.captions = done.captions
            if images and not done.captions:
                done.remove()
                why = f" (the first: {result.skipped[0]['reason']})"
                raise InputError(out, f"no image got a caption{why}.", "Check the images, and the captioner.")
            _write(out, (row for number in range(len(plan)) for row in done.get(number)))
            result.sha256 = sha256(out)
            write_json(record_of(out), asdict(result))
            done.remove()
    except OSError as error:
        raise_if_full(error, out)
        raise
    return result


def merge(shards: Sequence[Path], out: Path) -> Result:
    """One captions file of all shards, in their order, and its record.

    Raises:
        InputError: a shard is missing, twice there, not the file that its record tells of, or of another captioner.
    """
    records = [read_json(record_of(path)) for path in shards]
    check_complete(shards, records, _AGAIN)
    for path, value in zip(shards, records, strict=True):
        again = _AGAIN.format("/".join(map(str, value["shard"])))
        first, facts = records[0]["facts"], value["facts"]
        if differing := [key for key in sorted({*first, *facts}) if first.get(key) != facts.get(key)]:
            raise InputError(path, f"made otherwise than {shards[0].name}: {', '.join(differing)}.", again)
        if not path.is_file() or sha256(path) != value["sha256"]:
            raise InputError(path, "not the captions that its record tells of.", again)
    lines = (json.loads(line) for path in shards for line in path.open(encoding="utf-8"))
    _write(out, lines)
    sums = {key: sum(value[key] for value in records) for key in ("images", "captions", "resumed", "images_per_second")}
    skipped = [row for value in records for row in value["skipped"]]
    result = Result((1, 1), **sums, facts=records[0]["facts"], sha256=sha256(out), skipped=skipped)
    write_json(record_of(out), asdict(result))
    return result


def _speak(
    captioner: Captions,
    plan: Sequence[Sequence[ImageRecord]],
    done: Finished,
    skipped: list[Row],
    threads: int,
    stop: bool,
) -> float:
    """Caption the batches that are missing, add to `skipped` what gets no caption -> images per second."""
    left = [number for number in range(len(plan)) if number not in done]
    note = f"({done.captions} captions done before)" if done.captions else ""
    total = sum(len(plan[number]) for number in left)
    with ThreadPoolExecutor(threads) as pool, Meter("caption", total, "images") as meter:
        for number, decoded in zip(left, _ahead(pool, (plan[n] for n in left)), strict=True):
            pairs = list(zip(plan[number], decoded, strict=True))
            bad = [_left_out(record, image, stop) for record, image in pairs if isinstance(image, str)]
            good = [(record, image) for record, image in pairs if not isinstance(image, str)]
            texts = captioner([image for _, image in good]) if good else []
            told = list(zip((record for record, _ in good), texts, strict=True))
            bad += [_left_out(record, "the captioner says nothing", stop) for record, text in told if not text]
            done.add(number, [{"image_id": r.image_id, "caption": text} for r, text in told if text], bad)
            skipped += bad
            meter.advance(len(plan[number]), note)
        return meter.rate


def _left_out(record: ImageRecord, reason: str, stop: bool) -> Row:
    if stop:
        remedy = "Mend or remove it, or have such images left out: data.on_bad_record: skip, --on-bad-image skip."
        raise InputError(record.path, f"{reason}.", remedy, row=record.image_id)
    return {"image_id": record.image_id, "file": str(record.path), "reason": reason}


def _ahead(pool: ThreadPoolExecutor, batches: Iterable[Sequence[ImageRecord]]) -> Iterator[list[Image.Image | str]]:
    """The images of each batch, or why one cannot be read; the next batch is decoded meanwhile."""
    waiting: list[Future[Image.Image | str]] | None = None
    for batch in batches:
        coming = [pool.submit(_open, record.path) for record in batch]
        if waiting is not None:
            yield [future.result() for future in waiting]
        waiting = coming
    if waiting is not None:
        yield [future.result() for future in waiting]


def _open(path: Path) -> Image.Image | str:
    try:
        return open_rgb(path)
    except ImageError as bad:
        return str(bad)


def _write(out: Path, rows: Iterable[Mapping[str, str]]) -> None:
    with atomic(out) as temporary, temporary.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(to_json(row, ensure_ascii=False) + "\n")


def _key(captioner: Captions, plan: Sequence[Sequence[ImageRecord]]) -> str:
    """Digest of the captioner, the images and how they are batched."""
    cut = [[record.image_id for record in group] for group in plan]
    return hashlib.sha256(to_json([dict(captioner.facts), cut], sort_keys=True).encode()).hexdigest()
