"""The picture: its size, and that nothing but boxes and labels is painted on it."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from vlp.infer.answer import Grounded
from vlp.infer.draw import (
    COLOURS,
    Rect,
    Style,
    apart,
    label,
    magnification,
    paint,
    place_labels,
    readable_on,
    render,
    wrap,
)

BOXES: list[Rect] = [(5, 5, 60, 40), (70, 40, 140, 110), (70, 40, 140, 110)]


def noise(width: int, height: int) -> Image.Image:
    g = np.random.default_rng(0)
    return Image.fromarray(g.integers(0, 255, (height, width, 3), dtype=np.uint8))


def phrases() -> list[Grounded]:
    text = "a red star above a [MASK] ring"
    return [
        Grounded("a red star", 0, 10, BOXES[0], 0.5, 0, "star"),
        Grounded("a [MASK] ring", text.index("a [MASK]"), len(text), BOXES[1], 0.25, 1, "ring"),
    ]


@pytest.mark.parametrize(
    ("size", "k"), [((160, 160), 4), ((500, 375), 2), ((640, 480), 2), ((800, 600), 1), ((9, 900), 2)]
)
def test_small_pictures_are_magnified(size: tuple[int, int], k: int) -> None:
    assert magnification(*size) == k


def test_page_is_the_picture_with_the_text_below() -> None:
    picture = noise(160, 120)
    words = {19: (("blue", 0.5), ("red", 0.25))}
    page = render(picture, "a red star above a [MASK] ring", phrases(), BOXES[:2], words, 0.75, None)
    k = magnification(160, 120)
    assert page.width == 160 * k and page.height > 120 * k
    large = np.asarray(picture.resize((160 * k, 120 * k), Image.Resampling.LANCZOS))
    drawn = np.asarray(page)[: 120 * k]
    changed = (drawn != large).any(-1)
    assert 0 < changed.mean() < 0.25
    panel = np.asarray(page)[120 * k :].reshape(-1, 3)
    for colour in COLOURS[:2]:
        assert (panel == colour).all(1).any(), "each phrase has its colour in the text below"


def test_only_boxes_and_labels_are_painted() -> None:
    picture = noise(640, 480)
    style, boxes = Style.of(picture.size), [tuple(4 * v for v in b) for b in BOXES]
    page, painted = paint(picture, boxes, ["one", "two", "three"], style)  # type: ignore[arg-type]
    assert page.size == picture.size
    allowed = np.zeros((480, 640), bool)
    for x1, y1, x2, y2 in painted:
        allowed[int(y1) : int(y2) + 1, int(x1) : int(x2) + 1] = True
    changed = (np.asarray(page) != np.asarray(picture)).any(-1)
    assert not (changed & ~allowed).any() and allowed.mean() < 0.2
    for (x1, y1, x2, y2), colour in zip(boxes[:2], COLOURS, strict=False):
        middle, inside = int((x1 + x2) / 2), int(y1) + 1 + style.line // 2
        assert tuple(np.asarray(page)[inside, middle]) == colour, "the frame lies on the box's edge"
        column = np.asarray(page)[int((y1 + y2) / 2), int(x2) - 2 - style.line // 2]
        assert tuple(column) == colour


def test_a_shared_box_shows_every_phrase() -> None:
    frames = apart([BOXES[1], BOXES[1], BOXES[0]], 6)
    assert frames == [BOXES[1], (76, 46, 134, 104), BOXES[0]]
    tiny: Rect = (0, 0, 4, 4)
    assert apart([tiny, tiny], 6) == [tiny, tiny]


def test_labels_stay_inside_and_apart() -> None:
    frames: list[Rect] = [(0, 0, 50, 50), (0, 0, 50, 50), (590, 440, 639, 479), (300, 0, 400, 479)]
    places = place_labels(frames, [(200, 20)] * 4, (640, 480))
    for i, (x1, y1, x2, y2) in enumerate(places):
        assert x1 >= 0 and y1 >= 0 and x2 < 640 and y2 < 480
        for a, b, c, d in places[:i]:
            assert x2 <= a or c <= x1 or y2 <= b or d <= y1


def test_label_has_the_filled_word_and_a_length() -> None:
    words = {11: (("blue", 0.9),)}
    assert label("a [MASK] ring", 9, words) == "a [blue] ring"
    assert label("a [MASK] ring", 0, {}) == "a [MASK] ring"
    assert len(label("a very long phrase that nobody can read", 0, {})) == 30


def test_text_on_a_colour_is_readable() -> None:
    assert readable_on((0, 0, 60)) == (255, 255, 255) and readable_on((255, 255, 120)) != (255, 255, 255)


def test_lines_are_not_wider_than_the_page() -> None:
    style = Style.of((640, 480))
    lines = wrap([("a small red star above", None), (" a blue ring", COLOURS[0])], 120, style)
    assert len(lines) > 1
    assert "".join(word for line in lines for word, _ in line) == "a small red star above a blue ring"
    for line in lines:
        assert sum(style.face(c).getlength(w) for w, c in line[:-1]) <= 120
