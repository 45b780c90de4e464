"""The picture of a search: what was asked for on top, what was found below, best first, with its scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw

from vlp.infer.draw import INK, PAPER, QUIET, Style, wrap

if TYPE_CHECKING:
    from vlp.infer.search import Hit

TILE, GAP, COLUMNS = 300, 18, 4
WIDTH = COLUMNS * (TILE + GAP) + GAP


def of_images(text: str, hits: Sequence[Hit], found: Sequence[Image.Image]) -> Image.Image:
    """The text, and its images in rows of four."""
    style = Style.of((640, 640))
    title = wrap([(text, None)], WIDTH - 2 * GAP, style, bold=True)
    head = GAP + style.row * len(title) + GAP // 2
    tile = TILE + 2 * style.row + GAP // 2
    columns = min(COLUMNS, len(hits))
    rows = -(-len(hits) // columns)
    page = Image.new("RGB", (WIDTH, head + rows * tile + GAP), PAPER)
    pen = ImageDraw.Draw(page)
    for n, line in enumerate(title):
        pen.text((GAP, GAP + n * style.row), "".join(word for word, _ in line), fill=INK, font=style.bold)
    for n, (hit, picture) in enumerate(zip(hits, found, strict=True)):
        x, y = GAP + n % columns * (TILE + GAP), head + n // columns * tile
        small = fitted(picture, TILE)
        page.paste(small, (x + (TILE - small.width) // 2, y + (TILE - small.height) // 2))
        pen.text((x, y + TILE + style.row * 0.5), _scores(n, hit), fill=INK, font=style.font, anchor="lm")
        name = shortened(hit.name, TILE, style)
        pen.text((x, y + TILE + style.row * 1.4), name, fill=QUIET, font=style.font, anchor="lm")
    return page


def of_texts(picture: Image.Image, hits: Sequence[Hit]) -> Image.Image:
    """The image, and its texts beside it."""
    style = Style.of((640, 640))
    large = fitted(picture, 2 * TILE)
    left = large.width + 2 * GAP
    blocks = [wrap([(hit.name, None)], WIDTH - left - GAP, style, bold=True) for hit in hits]
    height = sum(style.row * (len(block) + 1) + GAP for block in blocks)
    page = Image.new("RGB", (WIDTH, max(large.height, height) + 2 * GAP), PAPER)
    page.paste(large, (GAP, GAP))
    pen, y = ImageDraw.Draw(page), float(GAP)
    for n, (hit, block) in enumerate(zip(hits, blocks, strict=True)):
        for line in block:
            pen.text((left, y), "".join(word for word, _ in line), fill=INK, font=style.bold)
            y += style.row
        pen.text((left, y), _scores(n, hit), fill=QUIET, font=style.font)
        y += style.row + GAP
    return page


def fitted(picture: Image.Image, side: int) -> Image.Image:
    """As large as fits into a square of `side` pixels."""
    scale = side / max(picture.size)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    return picture.resize(size, Image.Resampling.LANCZOS)


def shortened(name: str, width: float, style: Style) -> str:
    """The end of a name that is too long: it tells files of one folder apart."""
    if style.font.getlength(name) <= width:
        return name
    while name and style.font.getlength("…" + name) > width:
        name = name[1:]
    return "…" + name


def _scores(place: int, hit: Hit) -> str:
    return f"{place + 1}.  match {hit.match:.0%}   cosine {hit.cosine:.2f}"
