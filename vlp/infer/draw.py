"""Grounded phrases drawn on their picture: a box and a label in the phrase's colour, the text and the scores below."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

from vlp.methods.answers import MASK

if TYPE_CHECKING:
    from vlp.methods.answers import Grounded

Rect = tuple[float, float, float, float]
Colour = tuple[int, int, int]
Candidates = Sequence[tuple[str, float]]

COLOURS: tuple[Colour, ...] = (
    (209, 73, 91), (29, 127, 191), (46, 158, 91), (181, 101, 201), (224, 138, 30), (15, 156, 156), (122, 106, 216),
    (141, 123, 50),
)  # fmt: skip
"""Those of the report's gallery."""
SIDE, LONGEST = 600, 2400
"""A small picture is magnified until its shorter side has so many pixels, as long as the longer one has fewer."""
PAPER, INK, QUIET = (251, 250, 247), (28, 36, 48), (98, 108, 122)
_LABEL = 30
"""Characters of a label; the text below has the whole phrase."""


@dataclass(frozen=True)
class Style:
    """Sizes in pixels, fitted to the picture."""

    line: int
    font: ImageFont.FreeTypeFont
    bold: ImageFont.FreeTypeFont

    @classmethod
    def of(cls, size: tuple[int, int]) -> Style:
        long = max(size)
        points = max(15, round(long / 42))
        return cls(max(3, round(long / 190)), _font("DejaVuSans.ttf", points), _font("DejaVuSans-Bold.ttf", points))

    @property
    def row(self) -> int:
        return round(self.font.size * 1.7)

    def face(self, colour: Colour | None) -> ImageFont.FreeTypeFont:
        """Phrases stand in bold."""
        return self.bold if colour else self.font


@cache
def _font(name: str, size: float) -> ImageFont.FreeTypeFont:
    import matplotlib

    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)


def magnification(width: int, height: int) -> int:
    """Whole number that the picture's sides are multiplied by."""
    wanted = math.ceil(SIDE / min(width, height))
    return max(1, min(wanted, LONGEST // max(width, height)))


def render(
    picture: Image.Image,
    text: str,
    phrases: Sequence[Grounded],
    boxes: Sequence[Rect],
    words: Mapping[int, Candidates],
    match: float | None,
    cosine: float | None,
) -> Image.Image:
    """The magnified picture with its boxes on top, the text and the scores below.

    Args:
        boxes: of the phrases, in pixels of `picture`.
        words: first character of each filled mask -> its words.
        match, cosine: not shown where None.
    """
    k = magnification(*picture.size)
    large = picture.resize((picture.width * k, picture.height * k), Image.Resampling.LANCZOS)
    style = Style.of(large.size)
    labels = [label(p.text, p.start, words) for p in phrases]
    painted, _ = paint(large, [(b[0] * k, b[1] * k, b[2] * k, b[3] * k) for b in boxes], labels, style)
    panel = _panel(max(large.width, 480), text, phrases, words, match, cosine, style)
    page = Image.new("RGB", (panel.width, painted.height + panel.height), PAPER)
    page.paste(painted, ((panel.width - painted.width) // 2, 0))
    page.paste(panel, (0, painted.height))
    return page


def paint(
    picture: Image.Image, boxes: Sequence[Rect], labels: Sequence[str], style: Style
) -> tuple[Image.Image, list[Rect]]:
    """A copy of `picture` with boxes and labels, and the rectangles that were painted: nothing else has changed."""
    page = picture.copy()
    pen = ImageDraw.Draw(page)
    frames = apart([_whole(b, picture.size) for b in boxes], 2 * style.line + 2)
    painted: list[Rect] = []
    for frame, colour in zip(frames, _cycle(len(frames)), strict=True):
        # White round the colour, so that a box shows on every background.
        pen.rectangle(frame, outline=(255, 255, 255), width=style.line + 2)
        pen.rectangle(_shrunk(frame, 1), outline=colour, width=style.line)
        painted += _sides(frame, style.line + 2)
    pad = round(style.font.size * 0.35)
    sizes = [(style.bold.getlength(text) + 2 * pad, style.font.size + 2 * pad) for text in labels]
    places = place_labels(frames, sizes, picture.size)
    for place, text, colour in zip(places, labels, _cycle(len(labels)), strict=True):
        pen.rectangle(place, fill=colour, outline=(255, 255, 255))
        middle = (place[0] + pad, (place[1] + place[3]) / 2)
        pen.text(middle, text, fill=readable_on(colour), font=style.bold, anchor="lm")
        painted.append(place)
    return page, painted


def label(phrase: str, start: int, words: Mapping[int, Candidates]) -> str:
    """The phrase with the best word in the place of a mask, cut to a label's length."""
    shown, at = "", 0
    while (mask := phrase.find(MASK, at)) >= 0:
        best = words.get(start + mask)
        shown += phrase[at:mask] + (f"[{best[0][0]}]" if best else MASK)
        at = mask + len(MASK)
    shown += phrase[at:]
    return shown if len(shown) <= _LABEL else shown[: _LABEL - 1].rstrip() + "…"


def apart(frames: Sequence[Rect], step: float) -> list[Rect]:
    """Frames of phrases that share a box, each inside the one before, so that all are seen."""
    found: list[Rect] = []
    for i, frame in enumerate(frames):
        same = sum(f == frame for f in frames[:i])
        room = max(0.0, min(frame[2] - frame[0], frame[3] - frame[1]) / 2 - step)
        found.append(_shrunk(frame, min(same * step, room)))
    return found


def place_labels(frames: Sequence[Rect], sizes: Sequence[tuple[float, float]], bounds: tuple[int, int]) -> list[Rect]:
    """A place for each frame's label at one of its corners: within the picture, on few other labels and frames."""
    placed: list[Rect] = []
    for i, (frame, (width, height)) in enumerate(zip(frames, sizes, strict=True)):
        others = [f for j, f in enumerate(frames) if j != i]
        best: tuple[float, Rect] | None = None
        for order, (x, y) in enumerate(_corners(frame, width, height)):
            x = min(max(x, 0.0), max(0.0, bounds[0] - 1 - width))
            y = min(max(y, 0.0), max(0.0, bounds[1] - 1 - height))
            rect = (float(round(x)), float(round(y)), float(round(x + width)), float(round(y + height)))
            cost = 8 * sum(_overlap(rect, p) for p in placed) + sum(_overlap(rect, f) for f in others)
            # Its own box shall stay free too, unless that costs more; ties go to the first corner.
            cost += 2 * _overlap(rect, frame) + order
            if best is None or cost < best[0]:
                best = cost, rect
        assert best is not None
        placed.append(best[1])
    return placed


def readable_on(colour: Colour) -> Colour:
    """White or ink, whichever differs more from `colour` (relative luminance, WCAG 2)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in colour)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return (255, 255, 255) if 1.05 / (luminance + 0.05) >= (luminance + 0.05) / 0.067 else INK


def _panel(
    width: int,
    text: str,
    phrases: Sequence[Grounded],
    words: Mapping[int, Candidates],
    match: float | None,
    cosine: float | None,
    style: Style,
) -> Image.Image:
    """The text with its phrases in their colours; then the phrases' scores, the masks' words, the match."""
    margin = round(style.font.size * 0.9)
    runs = _runs(text, phrases, words)
    lines = wrap(runs, width - 2 * margin, style)
    rows: list[tuple[str, str, Colour | None]] = []
    for phrase, colour in zip(phrases, _cycle(len(phrases)), strict=True):
        rows.append((label(phrase.text, phrase.start, words), f"cosine {phrase.score:.2f}", colour))
    for candidates in words.values():
        best = ", ".join(f"{word} {probability:.0%}" for word, probability in candidates[:3])
        rows.append((f"{MASK}:  {best}", "", None))
    verdict = [f"match {match:.0%}"] if match is not None else []
    verdict += [f"image and text: cosine {cosine:.2f}"] if cosine is not None else []
    rows += [("   ·   ".join(verdict), "", None)] if verdict else []
    height = 2 * margin + style.row * (len(lines) + len(rows)) + margin // 2
    panel = Image.new("RGB", (width, height), PAPER)
    pen, y = ImageDraw.Draw(panel), margin + style.row / 2
    for line in lines:
        x = float(margin)
        for word, colour in line:
            pen.text((x, y), word, fill=colour or INK, font=style.face(colour), anchor="lm")
            x += style.face(colour).getlength(word)
        y += style.row
    y += margin / 2
    swatch = style.font.size * 0.42
    for left, right, colour in rows:
        x = float(margin)
        if colour is not None:
            pen.rectangle((x, y - swatch, x + 2 * swatch, y + swatch), fill=colour)
            x += 3.2 * swatch
        pen.text((x, y), left, fill=INK if colour else QUIET, font=style.font, anchor="lm")
        pen.text((width - margin, y), right, fill=QUIET, font=style.font, anchor="rm")
        y += style.row
    return panel


def _runs(text: str, phrases: Sequence[Grounded], words: Mapping[int, Candidates]) -> list[tuple[str, Colour | None]]:
    """Pieces of the text, each with the colour of its phrase."""
    runs: list[tuple[str, Colour | None]] = []
    at = 0
    for phrase, colour in zip(phrases, _cycle(len(phrases)), strict=True):
        if phrase.start >= at:
            runs += [(_filled(text, at, phrase.start, words), None)]
            runs += [(_filled(text, phrase.start, phrase.end, words), colour)]
            at = phrase.end
    return [*runs, (_filled(text, at, len(text), words), None)]


def _filled(text: str, start: int, end: int, words: Mapping[int, Candidates]) -> str:
    part = text[start:end]
    for mask in sorted((m for m in words if start <= m < end), reverse=True):
        part = f"{part[: mask - start]}[{words[mask][0][0]}]{part[mask - start + len(MASK) :]}"
    return part


def wrap(
    runs: Sequence[tuple[str, Colour | None]], width: float, style: Style, bold: bool = False
) -> list[list[tuple[str, Colour | None]]]:
    """Lines of words, none wider than `width` pixels unless a word alone is; `bold`: all will be drawn so."""
    lines: list[list[tuple[str, Colour | None]]] = [[]]
    used = 0.0
    for text, colour in runs:
        for word in re.findall(r"\S+\s*|\s+", text):
            face = style.bold if bold else style.face(colour)
            if lines[-1] and used + face.getlength(word.rstrip()) > width:
                lines.append([])
                used = 0.0
            if lines[-1] or word.strip():
                lines[-1].append((word, colour))
                used += face.getlength(word)
    return [line for line in lines if line]


def _cycle(count: int) -> list[Colour]:
    return [COLOURS[i % len(COLOURS)] for i in range(count)]


def _whole(box: Rect, size: tuple[int, int]) -> Rect:
    """The box in whole pixels inside the picture."""
    x1, y1 = (max(0, min(round(v), s - 2)) for v, s in zip(box[:2], size, strict=True))
    x2, y2 = (min(round(v), s) - 1 for v, s in zip(box[2:], size, strict=True))
    return float(x1), float(y1), float(max(x2, x1 + 1)), float(max(y2, y1 + 1))


def _shrunk(frame: Rect, by: float) -> Rect:
    return frame[0] + by, frame[1] + by, frame[2] - by, frame[3] - by


def _sides(frame: Rect, width: float) -> list[Rect]:
    x1, y1, x2, y2 = frame
    return [(x1, y1, x2, y1 + width), (x1, y2 - width, x2, y2), (x1, y1, x1 + width, y2), (x2 - width, y1, x2, y2)]


def _corners(frame: Rect, width: float, height: float) -> list[tuple[float, float]]:
    """Where a label's left upper corner may be: above, below, then inside, left before right."""
    x1, y1, x2, y2 = frame
    outside = [(x1, y1 - height - 1), (x2 - width, y1 - height - 1), (x1, y2 + 1), (x2 - width, y2 + 1)]
    return [*outside, (x1, y1), (x2 - width, y1), (x1, y2 - height), (x2 - width, y2 - height)]


def _overlap(a: Rect, b: Rect) -> float:
    across, down = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return max(0.0, across) * max(0.0, down)
