"""Answers to questions as the public evaluation of VQA compares them."""

from __future__ import annotations

import re

ARTICLES = frozenset({"a", "an", "the"})
NUMBERS = {
    word: str(number)
    for number, words in enumerate(
        ["none zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    )
    for word in words.split()
}
MARKS = ';/[]"{}()=+\\_-><@`,?!'
# Apostrophes come back to these words: any one of them may be missing (dont, couldnt've, couldn'tve).
_CONTRACTED = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've
he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've needn't not've
o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's
someone'd someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've
there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's
what've when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've
wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""
CONTRACTIONS = {
    word[: mark.start()] + word[mark.end() :]: word for word in _CONTRACTED.split() for mark in re.finditer("'", word)
}
_COMMA_IN_NUMBER = re.compile(r"\d,\d")
_PERIOD = re.compile(r"\.(?!\d)")


def trim(text: str) -> str:
    """On one line, without spaces around it."""
    return text.replace("\n", " ").replace("\t", " ").strip()


def strip_punctuation(text: str) -> str:
    """Marks beside a space vanish, others become a space; all vanish where a number holds a comma (1,000).

    Periods vanish unless a digit follows.
    """
    joined = _COMMA_IN_NUMBER.search(text) is not None
    out = text
    for mark in MARKS:
        beside = f"{mark} " in text or f" {mark}" in text
        out = out.replace(mark, "" if beside or joined else " ")
    return _PERIOD.sub("", out)


def normalise_answer(text: str) -> str:
    """An answer as the evaluation compares it: lower case, digits for number words, no articles, no stray marks."""
    words = strip_punctuation(trim(text)).lower().split()
    words = [NUMBERS.get(word, word) for word in words]
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES)
