"""Names of classes and attributes as tags: one form, whatever file they come from."""

from __future__ import annotations

import unicodedata
from typing import Any

_BLANK = "\u115f\u1160\u2800\u3164\uffa0"
"""Letters and signs that show nothing: fillers of Hangul, Braille without a dot."""


def visible(text: str) -> bool:
    """Whether anything of it can be seen: not only blanks, and characters of width zero as U+200B."""
    if text.isascii():
        return bool(text.strip()) and any(c > " " and c != "\x7f" for c in text)
    return any(unicodedata.category(c)[0] in "LNPS" and c not in _BLANK for c in text)


def whole(text: str) -> bool:
    """False: it holds half of a surrogate pair, which no file in UTF-8 can."""
    return text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text)


def class_name(value: Any) -> str | None:
    """In lower case, with single blanks: detectors' names are; None: no word, as ``, `3` or 3."""
    if not isinstance(value, str) or not whole(value) or not visible(value):
        return None
    name = " ".join(value.split()).lower()
    return None if name.replace(".", "").replace("-", "").isdecimal() else name
