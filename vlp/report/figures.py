"""Figures as inline SVG: small, the same bytes for the same numbers, and in the reader's light or dark colours."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

Points = Sequence[tuple[float, float]]
Rect = tuple[float, float, float, float]

WIDTH, HEIGHT = 420, 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 22, 10, 26
_BINS = 150
_DOTS = 12
"""A line of so few points shows each of them."""


def curves(
    series: Mapping[str, Points],
    unit: str = "step",
    *,
    levels: Mapping[str, float] = {},
    marks: Sequence[tuple[float, str]] = (),
    most: float | None = None,
) -> Markup:
    """A line for each named series of (x, y); long ones are averaged in bins, what is not finite is left out.

    Args:
        levels: name of a series -> a height to compare it with: a dashed line in its colour.
        marks: where (x) something begins that has this name.
        most: the upper end of the y axis; None: as the numbers need it.
    """
    thinned = {name: thin(points) for name, points in series.items()}
    every = [point for points in thinned.values() for point in points]
    if not every:
        return Markup('<p class="quiet">no points</p>')
    x_ticks = ticks(0.0, max(x for x, _ in every))
    y_ticks = ticks(min(0.0, *(y for _, y in every)), max(y for _, y in every) if most is None else most)
    x_low, x_high, y_low, y_high = x_ticks[0], x_ticks[-1], y_ticks[0], y_ticks[-1]

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - x_low) / (x_high - x_low) * (WIDTH - _LEFT - _RIGHT)
        up = (y - y_low) / (y_high - y_low) * (HEIGHT - _TOP - _BOTTOM)
        return round(_LEFT + across, 1), round(HEIGHT - _BOTTOM - up, 1)

    parts = [f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(", ".join(series))}">']
    for tick in y_ticks:
        _, y = place(x_low, tick)
        parts.append(f'<line class="grid" x1="{_LEFT}" y1="{y}" x2="{WIDTH - _RIGHT}" y2="{y}"/>')
        parts.append(f'<text class="tick" x="{_LEFT - 6}" y="{y + 3.5}" text-anchor="end">{tick:g}</text>')
    for tick in x_ticks:
        x, _ = place(tick, y_low)
        label = f"{tick:,.0f}" if tick >= 1 or tick == 0 else f"{tick:g}"
        parts.append(f'<text class="tick" x="{x}" y="{HEIGHT - 8}" text-anchor="middle">{label}</text>')
    parts.append(f'<text class="tick" x="{_LEFT - 6}" y="{HEIGHT - 8}" text-anchor="end">{escape(unit)}</text>')
    for begin, name in marks:
        x, _ = place(begin, y_low)
        parts.append(f'<line class="mark" x1="{x}" y1="{_TOP}" x2="{x}" y2="{HEIGHT - _BOTTOM}"/>')
        parts.append(f'<text class="tick" x="{x + 5}" y="{_TOP + 10}">{escape(name)}</text>')
    for number, (name, points) in enumerate(thinned.items()):
        placed = [place(*point) for point in points]
        if name in levels:
            (left, y), (right, _) = place(points[0][0], levels[name]), place(points[-1][0], levels[name])
            parts.append(f'<line class="level c{number % 4}" x1="{left}" y1="{y}" x2="{right}" y2="{y}"/>')
        path = " ".join(f"{x},{y}" for x, y in placed)
        parts.append(f'<polyline class="line c{number % 4}" points="{path}"/>')
        if len(placed) <= _DOTS:
            parts += [f'<circle class="dot c{number % 4}" cx="{x}" cy="{y}" r="3"/>' for x, y in placed]
    parts.append("</svg>")
    return Markup("".join(parts))


def thin(points: Points, bins: int = _BINS) -> list[tuple[float, float]]:
    """Sorted by x, finite; at most `bins` points, each the mean of those in its bin."""
    kept = sorted((float(x), float(y)) for x, y in points if math.isfinite(x) and math.isfinite(y))
    if len(kept) <= bins:
        return kept
    edges = [round(i * len(kept) / bins) for i in range(bins + 1)]
    groups = [kept[a:b] for a, b in itertools.pairwise(edges)]
    return [(sum(x for x, _ in g) / len(g), sum(y for _, y in g) / len(g)) for g in groups]


def ticks(low: float, high: float, wanted: int = 4) -> list[float]:
    """Round numbers that hold [low, high], about `wanted` steps."""
    span = high - low if high - low > 1e-9 * max(abs(low), abs(high), 1e-6) else max(abs(high), 1.0)
    raw = span / wanted
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    digits = 2 - math.floor(math.log10(power))  # of the step, however small it is
    return [round(i * step, digits) for i in range(first, max(last, first + 1) + 1)]


def bar(
    value: float,
    low: float | None = None,
    high: float | None = None,
    chance: float | None = None,
    blind: float | None = None,
    most: float = 100.0,
) -> Markup:
    """A measured share on a track of 0..`most`, its interval, and ticks for chance and blind."""

    def at(number: float) -> float:
        return round(200 * min(max(number, 0.0), most) / most, 2)

    parts = ['<svg class="bar" viewBox="-1 0 202 16" preserveAspectRatio="none" aria-hidden="true">']
    parts.append('<rect class="track" x="0" y="4" width="200" height="8" rx="2"/>')
    parts.append(f'<rect class="fill" x="0" y="4" width="{at(value)}" height="8" rx="2"/>')
    if low is not None and high is not None:
        parts.append(f'<line class="interval" x1="{at(low)}" y1="8" x2="{at(high)}" y2="8"/>')
    for name, number in (("chance", chance), ("blind", blind)):
        if number is not None:
            parts.append(f'<line class="{name}" x1="{at(number)}" y1="1" x2="{at(number)}" y2="15"/>')
    return Markup("".join([*parts, "</svg>"]))


def boxes(picture: str, size: tuple[int, int], drawn: Sequence[tuple[Sequence[float], int, bool]]) -> Markup:
    """A picture (data URI) with boxes over it.

    Args:
        size: width and height of the image that the boxes are given in.
        drawn: (box xyxy, number of its colour, whether it is the true one: dashed). One that was drawn before in
            another colour stands inside of that, so that both are seen.
    """
    width, height = size
    stroke = max(width, height) / 130
    there: dict[tuple[float, ...], int] = {}
    parts = [f'<svg class="picture" viewBox="0 0 {width} {height}" role="img">']
    parts.append(f'<image href="{picture}" width="{width}" height="{height}"/>')
    for box, colour, true in drawn:
        inset = 0.0
        if not true:
            inset = 1.9 * stroke * there.get(tuple(box), 0)
            inset = min(inset, max(0.0, min(box[2] - box[0], box[3] - box[1]) / 2 - stroke))
            there[tuple(box)] = there.get(tuple(box), 0) + 1
        x, y, w, h = box[0] + inset, box[1] + inset, box[2] - box[0] - 2 * inset, box[3] - box[1] - 2 * inset
        dashes = f' stroke-dasharray="{2.5 * stroke:.1f} {1.8 * stroke:.1f}"' if true else ""
        shape = f'x="{x:.1f}" y="{y:.1f}" width="{w:.1f}" height="{h:.1f}" fill="none"'
        # A dark line below the coloured one, so that a box shows on every background.
        parts.append(f'<rect {shape} stroke="#000" stroke-opacity=".45" stroke-width="{1.9 * stroke:.2f}"{dashes}/>')
        parts.append(f'<rect class="s{colour % 8}" {shape} stroke-width="{stroke:.2f}"{dashes}/>')
    return Markup("".join([*parts, "</svg>"]))


_CELL, _LETTER = 22, 6.2


def heat(rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float]]) -> Markup:
    """A map of shares in [0, 1], a row for each name; the darkest cell is the largest of all."""
    if not rows or not columns:
        return Markup("")
    left = 8 + _LETTER * max(map(len, rows))
    top = 10 + 0.75 * _LETTER * max(map(len, columns))
    width, height = left + _CELL * len(columns) + 0.6 * top, top + _CELL * len(rows) + 4
    most = max(max(row) for row in values) or 1.0
    parts = [f'<svg class="heat" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" role="img">']
    for j, name in enumerate(columns):
        x = left + _CELL * (j + 0.5) + 3
        turned = f'transform="rotate(-48 {x:.1f} {top - 5:.1f})"'
        parts.append(f'<text class="tick" x="{x:.1f}" y="{top - 5:.1f}" {turned}>{escape(name)}</text>')
    for i, (name, row) in enumerate(zip(rows, values, strict=True)):
        y = top + _CELL * i
        parts.append(
            f'<text class="tick" x="{left - 6:.1f}" y="{y + 0.68 * _CELL:.1f}" text-anchor="end">{escape(name)}</text>'
        )
        for j, value in enumerate(row):
            place = f'x="{left + _CELL * j + 1:.1f}" y="{y + 1:.1f}" width="{_CELL - 2}" height="{_CELL - 2}" rx="3"'
            told = f"<title>{escape(name)} to {escape(columns[j])}: {value:.3f}</title>"
            parts.append(f'<rect class="empty" {place}/>')
            parts.append(f'<rect class="cell" {place} fill-opacity="{value / most:.3f}">{told}</rect>')
    return Markup("".join([*parts, "</svg>"]))


NARROW = (420, 620)
"""Size of a scatter on a phone."""


def scatter(points: Sequence[Mapping[str, Any]], size: tuple[int, int] = (900, 600)) -> Markup:
    """Tags (triangles) and the phrases that contain them (circles) in the plane, a colour for each tag.

    Every tag's name is written; a phrase's where there is room for it.

    Args:
        points: `name`, `kind` (`tag`, else a phrase), `tag`, `x`, `y`; a tag before its phrases.
    """
    if not points:
        return Markup("")
    width, height = size
    colours = {tag: n % 8 for n, tag in enumerate(dict.fromkeys(p["tag"] for p in points))}
    low = [min(p[axis] for p in points) for axis in "xy"]
    span = [max(max(p[axis] for p in points) - least, 1e-9) for axis, least in zip("xy", low, strict=True)]
    at = [
        (24 + (p["x"] - low[0]) / span[0] * (width - 48), 24 + (p["y"] - low[1]) / span[1] * (height - 48))
        for p in points
    ]
    parts = [f'<svg class="scatter" viewBox="0 0 {width} {height}" role="img" aria-label="embeddings">']
    order = sorted(range(len(points)), key=lambda i: points[i]["kind"] != "tag")
    taken: list[Rect] = [(x - 5, y - 5, x + 5, y + 5) for x, y in at]
    taken += [(at[i][0] - 10, at[i][1] - 10, at[i][0] + 10, at[i][1] + 8) for i in order if points[i]["kind"] == "tag"]
    for i in order:  # the names of tags find a place first
        tag, name = points[i]["kind"] == "tag", str(points[i]["name"])
        found = _free(*at[i], (9 if tag else 6.2) * len(name), taken, size, anyhow=tag)
        if found is not None:
            box, anchor = found
            taken.append(box)
            x = {"start": box[0], "end": box[2], "middle": (box[0] + box[2]) / 2}[anchor]
            where = f'x="{x:.1f}" y="{box[3] - 4:.1f}" text-anchor="{anchor}"'
            parts.append(f'<text class="{"name" if tag else "tick"}" {where}>{escape(name)}</text>')
    for i in reversed(order):  # and the triangles lie on top
        (x, y), p = at[i], points[i]
        tag = p["kind"] == "tag"
        kind, shape = ("path", f'd="M{x:.1f} {y - 9:.1f}l8.5 15h-17z"') if tag else ("circle", _dot(x, y))
        told = p["name"] if tag else f"{p['name']} ({p['kind']}, with {p['tag']})"
        parts.append(f'<{kind} class="p{colours[p["tag"]]}" {shape}><title>{escape(told)}</title></{kind}>')
    return Markup("".join([*parts, "</svg>"]))


def _dot(x: float, y: float) -> str:
    return f'cx="{x:.1f}" cy="{y:.1f}" r="4"'


def _free(
    x: float, y: float, width: float, taken: Sequence[Rect], size: tuple[int, int], *, anyhow: bool
) -> tuple[Rect, str] | None:
    """A place for a name of this width beside, above or below a mark, on nothing else; `anyhow`: on as little as can
    be. With it the end that the text is anchored at.
    """
    best: tuple[float, Rect, str] | None = None
    corners = ((x + 11, y - 7, "start"), (x - 11 - width, y - 7, "end"))
    for left, top, anchor in (*corners, (x - width / 2, y - 26, "middle"), (x - width / 2, y + 9, "middle")):
        box = (left, top, left + width, top + 15)
        if box[0] < 0 or box[1] < 0 or box[2] > size[0] or box[3] > size[1]:
            continue
        covered = sum(
            max(0.0, min(box[2], b[2]) - max(box[0], b[0])) * max(0.0, min(box[3], b[3]) - max(box[1], b[1]))
            for b in taken
        )
        if best is None or covered < best[0]:
            best = covered, box, anchor
    return best[1:] if best is not None and (anyhow or best[0] == 0) else None
