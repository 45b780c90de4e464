"""The picture of a search."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vlp.infer.draw import PAPER
from vlp.infer.search import Hit
from vlp.infer.sheet import GAP, of_images, of_texts

WORD = st.text(alphabet="mil", min_size=1, max_size=12)
TEXT = st.lists(WORD, min_size=1, max_size=40).map(" ".join)


def margin_is_clean(page: Image.Image) -> bool:
    """Whether nothing reaches into the right margin: what is drawn too wide is cut off there."""
    return bool((np.asarray(page)[:, -GAP + 1 :] == np.asarray(PAPER)).all())


@settings(max_examples=20, deadline=None)
@given(st.lists(TEXT, min_size=1, max_size=4))
def test_no_text_beside_an_image_is_cut_off(texts: list[str]) -> None:
    hits = [Hit(text, 0.9, 0.5) for text in texts]
    assert margin_is_clean(of_texts(Image.new("RGB", (200, 150), "red"), hits))


@settings(max_examples=20, deadline=None)
@given(TEXT)
def test_a_long_question_above_images_is_not_cut_off(text: str) -> None:
    found = [Image.new("RGB", (40, 80), "blue"), Image.new("RGB", (80, 40), "green")]
    assert margin_is_clean(of_images(text, [Hit("a.jpg", 0.9, 0.5), Hit("b.jpg", 0.2, 0.1)], found))
