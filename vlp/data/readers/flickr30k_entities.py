"""Flickr30k Entities: phrases of the captions with their boxes.

Roles: `sentences`, a folder of `<image>.txt` with one caption a line, phrases marked `[/EN#123/people Two men]`;
`annotations`, a folder of `<image>.xml` in the form of Pascal VOC. The number is the chain: all boxes of a chain
belong to each of its phrases; a phrase whose chain has no box (`nobndbox`, `notvisual`) is kept with none.

Boxes in the XML count pixels from 1 and include the last one, so xyxy = (xmin - 1, ymin - 1, xmax, ymax).
A line belongs to the caption in the same place, or to the one with the same text. Spans are characters of the
captions table's text, in which the phrase is found again (`align`). Rows are line numbers.
"""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as Xml
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vlp.data.readers.align import Span, carry, squeeze
from vlp.data.readers.common import BadRecord, LeftOut, read_lines
from vlp.data.readers.images import Image
from vlp.data.readers.job import Job
from vlp.errors import InputError

ROLES = ("sentences", "annotations")

_PHRASE = re.compile(r"\[/EN#(\d+)/([^\s\]]+)\s([^\]]*)\]")
_REST = re.compile(r"\[/|/EN|#\d+/\S")
"""What is left of markup that was damaged."""
_REMEDY = "Fetch the file again, or take the image out of the captions file."

Phrase = tuple[str, str, Span]
"""Chain, type (`people`, `vehicles/scene`), characters in the plain line."""


def read(job: Job) -> Iterator[dict[str, Any]]:
    sentences, annotations = job.files.of("sentences")[0][1], job.files.of("annotations")[0][1]
    for image in job.images:
        key = image.image_id.removeprefix(f"{job.prefix}/")
        stem = key if "/" in key else Path(image.path).stem
        lines, boxes = sentences / f"{stem}.txt", annotations / f"{stem}.xml"
        with job.report.record(job.table, lines, None, sentences, "image"):
            job.report.split, job.report.used = image.split, True
            for path in (lines, boxes):
                if not path.exists():
                    raise BadRecord("no file for this image", path.name, _REMEDY)
            of_chain = read_boxes(boxes, image, job)
            texts = [c.text if isinstance(c.text, str) else None for c in image.captions]
            for row, line in enumerate(_lines(lines), start=1):
                with job.report.record(job.table, lines, row, sentences, "caption"):
                    yield from _phrases(line, row, image, texts, of_chain, job, lines)
    for image_id, reason in job.images.lost.items():
        lines = sentences / f"{image_id.removeprefix(job.prefix + '/')}.txt"
        if not lines.exists():
            continue
        with job.report.record(job.table, lines, None, sentences, "image"):
            for row, line in enumerate(_lines(lines), start=1):
                for _ in _PHRASE.finditer(line):
                    job.report.skip(job.table, lines, row, LeftOut(reason), sentences)


def _lines(path: Path) -> list[str]:
    """Raises BadRecord: the file cannot be read; it is one of thousands."""
    try:
        return read_lines(path)
    except (InputError, OSError) as error:
        problem = error.problem if isinstance(error, InputError) else str(error)
        raise BadRecord("unreadable file", f"{path.name}: {problem.rstrip('.')}", _REMEDY) from error


def _phrases(
    line: str,
    row: int,
    image: Image,
    texts: list[str | None],
    of_chain: dict[str, list[list[float]]],
    job: Job,
    path: Path,
) -> Iterator[dict[str, Any]]:
    plain, phrases = parse(line)
    caption = _caption(plain, row - 1, texts)
    text = texts[caption] or ""
    carried = carry(plain, [span for _, _, span in phrases], text)
    for index, ((chain, kind, span), found) in enumerate(zip(phrases, carried, strict=True)):
        with job.report.record(job.table, path, row, path.parent):
            if not plain[span[0] : span[1]].strip():
                raise BadRecord("empty phrase", f"chain {chain}")
            if found is None:
                detail = f"{plain[span[0] : span[1]]!r} in {text!r}"
                raise BadRecord("phrase not found in the caption", detail, "Use the captions of the same release.")
            yield {
                "phrase_id": f"{image.caption_id(caption)}/{index}",
                "caption_id": image.caption_id(caption),
                "image_id": image.image_id,
                "text": text[found[0] : found[1]],
                "start": found[0],
                "end": found[1],
                "phrase_type": kind,
                "boxes": of_chain.get(chain, []),
                "split": image.split,
            }


def parse(line: str) -> tuple[str, list[Phrase]]:
    """`[/EN#1/people Two men] run` -> `Two men run` and its phrases.

    Raises:
        BadRecord: the markup is damaged.
    """
    plain, phrases, at = "", [], 0
    for match in _PHRASE.finditer(line):
        plain += line[at : match.start()]
        phrases.append((match[1], match[2], (len(plain), len(plain) + len(match[3]))))
        plain += match[3]
        at = match.end()
    plain += line[at:]
    if _REST.search(plain):
        raise BadRecord("damaged phrase markup", line[:80])
    return plain, phrases


def _caption(plain: str, place: int, texts: list[str | None]) -> int:
    """The caption of the line: that in its place if the words agree, else one with the same words, else its place."""
    if place < len(texts) and texts[place] == plain.strip():
        return place
    words = squeeze(plain)[0]
    same = [i for i, text in enumerate(texts) if text is not None and squeeze(text)[0] == words]
    if same:
        return place if place in same else same[0]
    if place >= len(texts):
        raise BadRecord("line without a caption", f"the image has {len(texts)} captions")
    if texts[place] is None:
        raise LeftOut("its caption was skipped", f"caption {place}")
    return place


def read_boxes(path: Path, image: Image, job: Job) -> dict[str, list[list[float]]]:
    """Chain -> its boxes, xyxy.

    Raises:
        BadRecord: not XML; names the line.
    """
    try:
        tree = Xml.parse(path).getroot()
    except (Xml.ParseError, ValueError, LookupError, OSError) as error:  # the last two: a strange encoding, a folder
        raise BadRecord("not valid XML", f"{path.name}: {error}", _REMEDY) from error
    size = _numbers(tree.find("size"), ("width", "height"))
    annotated = (size[0], size[1]) if size is not None and min(size) > 0 else None
    of_chain: dict[str, list[list[float]]] = {}
    for row, thing in enumerate(tree.iter("object")):
        frame = thing.find("bndbox")
        if frame is None:
            continue
        with job.report.record(job.table, path, f"object {row}", path.parent):
            corners = _numbers(frame, ("xmin", "ymin", "xmax", "ymax"))
            names = [(name.text or "").strip() for name in thing.findall("name")]
            if corners is None or not any(names):
                raise BadRecord("malformed record", "an object without name or corners")
            x1, y1, x2, y2 = corners
            box = job.fit([x1 - 1, y1 - 1, x2, y2], image, annotated, path.parent)
            for name in names:
                of_chain.setdefault(name, []).append(box)
    return of_chain


def _numbers(element: Xml.Element | None, names: tuple[str, ...]) -> list[float] | None:
    if element is None:
        return None
    try:
        found = [float(element.findtext(name, "")) for name in names]
    except ValueError:
        return None
    return found if all(map(math.isfinite, found)) else None
