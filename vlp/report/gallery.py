"""Examples to look at: grounded phrases on their images, and retrieval right and wrong."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from vlp.methods.facts import Attention
from vlp.parts import drawn_by_hash
from vlp.report import figures

_SIDE = 320
_TOP = 3


@dataclass(frozen=True)
class Grounded:
    """A caption whose phrases stand in the colours of their boxes."""

    picture: Markup
    caption: Markup
    right: int
    phrases: int


@dataclass(frozen=True)
class Retrieved:
    query: str
    """A caption, or a picture as data URI."""
    answers: tuple[tuple[str, bool, float], ...]
    """The best ranked: picture or caption, whether it is right, its score."""
    rank: int | None
    """Of the first right answer, from 1; None: not among the candidates."""


class Images:
    """Pictures of the images table as small JPEG data URIs; None for one that cannot be read any more."""

    def __init__(self, tables: Path, data_root: Path | None) -> None:
        """`data_root`: None: no picture is opened."""
        from vlp.data.tables import rows

        self._rows = {row["image_id"]: row for row in rows(tables, "images")}
        self._root = data_root
        self.uri = cache(self._uri)

    def size(self, image_id: str) -> tuple[int, int]:
        row = self._rows[image_id]
        return row["width"], row["height"]

    def _uri(self, image_id: str) -> str | None:
        from vlp.images.decode import ImageError, open_rgb

        if self._root is None or image_id not in self._rows:
            return None
        try:
            small = open_rgb(self._root / self._rows[image_id]["path"])
        except ImageError:
            return None
        small.thumbnail((_SIDE, _SIDE))
        out = io.BytesIO()
        small.save(out, "JPEG", quality=85)
        return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()


def grounded(predictions: Path, tables: Path, images: Images, right: int = 4, wrong: int = 2) -> list[Grounded]:
    """Captions with at least two grounded phrases: `right` with every phrase right, `wrong` with one that is not."""
    import pyarrow.parquet as pq

    from vlp.data.tables import rows
    from vlp.metrics.grounding import right as is_right

    found = {row["phrase_id"]: row for row in pq.read_table(predictions).to_pylist() if row["boxes"]}
    captions: dict[str, list[dict[str, Any]]] = {}
    for phrase in rows(tables, "phrase_boxes"):
        if phrase["phrase_id"] in found:
            row = {**phrase, "box": found[phrase["phrase_id"]]["box"]}
            row["hit"] = bool(is_right([row["box"]], row["boxes"], "any")[0])
            captions.setdefault(phrase["caption_id"], []).append(row)
    several = [c for c, phrases in captions.items() if len(phrases) > 1 and images.uri(phrases[0]["image_id"])]
    good = [c for c in several if all(p["hit"] for p in captions[c])]
    bad = [c for c in several if not all(p["hit"] for p in captions[c])]
    chosen = [*drawn_by_hash(good, right), *drawn_by_hash(bad, wrong)]
    texts = {row["caption_id"]: row["text"] for row in rows(tables, "captions") if row["caption_id"] in chosen}
    return [_grounded(texts[caption], captions[caption], images) for caption in chosen if caption in texts]


def _grounded(text: str, phrases: Sequence[dict[str, Any]], images: Images) -> Grounded:
    image = phrases[0]["image_id"]
    ordered = sorted(phrases, key=lambda p: p["start"])
    drawn: list[tuple[Sequence[float], int, bool]] = []
    parts, at = [], 0
    for number, phrase in enumerate(ordered):
        if phrase["start"] < at:  # within the phrase before: its words have a colour already
            continue
        drawn += [(box, number, True) for box in phrase["boxes"]]
        drawn.append((phrase["box"], number, False))
        words = escape(text[phrase["start"] : phrase["end"]])
        parts.append(escape(text[at : phrase["start"]]))
        parts.append(Markup(f'<mark class="m{number % 8}">{words}{_mark(phrase["hit"])}</mark>'))
        at = phrase["end"]
    parts.append(escape(text[at:]))
    picture = figures.boxes(images.uri(image) or "", images.size(image), drawn)
    return Grounded(picture, Markup("").join(parts), sum(p["hit"] for p in ordered), len(ordered))


@dataclass(frozen=True)
class Extracted:
    """A caption's annotated phrases beside those that a parser extracted from it."""

    annotated: Grounded | None
    """None: no phrase of the caption is annotated."""
    extracted: Grounded


def extracted(found: Sequence[dict[str, Any]], tables: Path, images: Images) -> list[Extracted]:
    """The pairs of `vlp report probe`, drawn; without those whose image cannot be read any more."""
    from vlp.data.tables import rows

    wanted = {pair["caption_id"] for pair in found}
    texts = {row["caption_id"]: row["text"] for row in rows(tables, "captions") if row["caption_id"] in wanted}
    return [
        _extracted(pair, texts[pair["caption_id"]], images)
        for pair in found
        if pair["caption_id"] in texts and images.uri(pair["image_id"])
    ]


def _extracted(pair: dict[str, Any], text: str, images: Images) -> Extracted:
    from vlp.metrics.grounding import right as is_right

    def fits(phrase: dict[str, Any]) -> dict[str, Any]:
        hit = bool(is_right([phrase["box"]], phrase["boxes"], "any")[0]) if phrase["boxes"] else None
        return {**phrase, "hit": hit}

    first, second = [fits(p) for p in pair["annotated"]], [fits(p) for p in pair["extracted"]]
    drawn = [(phrase["box"], number, False) for number, phrase in enumerate(second)]
    told = Markup(" ").join(
        Markup('<mark class="m{}">{}{}</mark>').format(n % 8, Markup(" &middot; ").join(p["parts"]), _mark(p["hit"]))
        for n, p in enumerate(second)
    )
    known = [p["hit"] for p in second if p["hit"] is not None]
    picture = figures.boxes(images.uri(pair["image_id"]) or "", images.size(pair["image_id"]), drawn)
    marked = _grounded(text, [{**p, "image_id": pair["image_id"]} for p in first], images) if first else None
    return Extracted(marked, Grounded(picture, told, sum(known), len(known)))


def _mark(hit: bool | None) -> Markup:
    """Whether the box fits; nothing where no truth is known."""
    return Markup("") if hit is None else Markup("&nbsp;&#10003;" if hit else "&nbsp;&#10007;")


def retrieved(
    predictions: Path, tables: Path, images: Images, direction: str, right: int = 3, wrong: int = 2
) -> list[Retrieved]:
    """Queries with their best ranked candidates: `right` with a right one first, `wrong` with none first."""
    import numpy as np
    import pyarrow.parquet as pq

    from vlp.data.tables import rows
    from vlp.metrics import retrieval

    kept = retrieval.directions(pq.read_table(predictions))[direction]
    queries, ranks = retrieval.first_positive(kept)
    rank_of = dict(zip(queries.tolist(), ranks.tolist(), strict=True))
    first = drawn_by_hash([q for q in rank_of if rank_of[q] == 0], right)
    later = drawn_by_hash([q for q in rank_of if rank_of[q] > 0], wrong)
    texts = {row["caption_id"]: row["text"] for row in rows(tables, "captions")}

    def show(name: str, *, picture: bool) -> str:
        return (images.uri(name) or "") if picture else texts.get(name, name)

    found = []
    for query in [*first, *later]:
        at = np.flatnonzero(kept.query == query)
        order = at[np.lexsort((kept.candidate[at], -kept.coarse[at], -kept.score[at]))][:_TOP]
        answers = tuple(
            (show(str(kept.candidate[i]), picture=direction == "t2i"), bool(kept.positive[i]), float(kept.score[i]))
            for i in order
        )
        rank = int(rank_of[query]) + 1 if np.isfinite(rank_of[query]) else None
        found.append(Retrieved(show(query, picture=direction == "i2t"), answers, rank))
    return found


@dataclass(frozen=True)
class Attended:
    """A pair of caption and image, with maps of attention."""

    picture: Markup
    """Each phrase's most attended region, in the colour of the phrase."""
    caption: str
    phrases: tuple[str, ...]
    maps: tuple[tuple[str, Markup], ...]
    """Title and map."""


def attended(
    found: Sequence[dict[str, Any]],
    attention: Callable[[Mapping[str, Any]], Attention],
    tables: Path,
    images: Images,
) -> list[Attended]:
    """The pairs of `vlp report probe`, drawn; `attention` of the method says what is drawn of each."""
    from vlp.data.tables import rows

    wanted = {pair["caption_id"] for pair in found}
    texts = {row["caption_id"]: row["text"] for row in rows(tables, "captions") if row["caption_id"] in wanted}
    return [
        _attended(pair, attention(pair), texts.get(pair["caption_id"], " ".join(pair["words"])), images)
        for pair in found
    ]


def _attended(pair: dict[str, Any], shown: Attention, caption: str, images: Images) -> Attended:
    width, height = pair["size"]
    drawn: list[tuple[Sequence[float], int, bool]] = [(box, n, False) for n, box in enumerate(shown.boxes)]
    maps = ((m.title, figures.heat(m.rows, m.columns, m.values)) for m in shown.maps)
    picture = figures.boxes(images.uri(pair["image_id"]) or "", (width, height), drawn)
    return Attended(picture, caption, tuple(pair["phrases"]), tuple((t, m) for t, m in maps if m))
