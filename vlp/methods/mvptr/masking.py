"""Masks of words, phrases and tags (paper 3.2.1, 3.3.4, 4.1): 80 % [MASK], 10 % random, 10 % kept."""

from __future__ import annotations

import numpy as np

from vlp.methods.mvptr.config import Masking

KEPT, RANDOM, MASKED = range(3)


def draw(uniform_2N: np.ndarray, rate: float) -> np.ndarray:
    """Fate of each of N items, -1 where not drawn: first row decides whether, second how."""
    how = np.where(uniform_2N[1] < 0.8, MASKED, np.where(uniform_2N[1] < 0.9, RANDOM, KEPT))
    return np.where(uniform_2N[0] < rate, how, -1)


def mask_text(
    words: np.ndarray,
    phrases: np.ndarray,
    phrase_words: np.ndarray,
    uniform_3N: np.ndarray,
    rates: Masking,
    mask_id: int,
    word_choices: np.ndarray,
    phrase_range: tuple[int, int],
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Mask words and whole phrases of one text.

    A phrase that contains a masked word is replaced by [MASK] too, or MLM could read the word off it; it is a target
    only if it was drawn itself.

    Args:
        words [n], phrases [m]: ids; phrase_words [k,2]: (phrase index, word index) pairs.
        uniform_3N: uniform numbers for n words, then m phrases: whether, how, which.
        word_choices: ids a random word is drawn from; phrase_range: first and last + 1 phrase id.

    Returns:
        new words, new phrases, indices of the target words, indices of the target phrases.
    """
    n, m = len(words), len(phrases)
    fate = draw(uniform_3N[:2, :n], rates.words)
    which = word_choices[(uniform_3N[2, :n] * len(word_choices)).astype(np.int64)]
    new_words = np.where(fate == MASKED, mask_id, np.where(fate == RANDOM, which, words))
    phrase_fate = draw(uniform_3N[:2, n : n + m], rates.phrases)
    first, end = phrase_range
    which = first + (uniform_3N[2, n : n + m] * (end - first)).astype(np.int64)
    hidden = np.zeros(m, bool)
    if len(phrase_words):
        pairs = phrase_words[(phrase_words[:, 0] < m) & (phrase_words[:, 1] < n)]
        hidden[pairs[fate[pairs[:, 1]] >= 0, 0]] = True
    new_phrases = np.where(phrase_fate == RANDOM, which, phrases)
    new_phrases = np.where((phrase_fate == MASKED) | hidden, mask_id, new_phrases)
    return new_words, new_phrases, np.flatnonzero(fate >= 0), np.flatnonzero(phrase_fate >= 0)


def mask_tags(
    pieces: np.ndarray, tag_of_piece: np.ndarray, uniform_3N: np.ndarray, rate: float, mask_id: int, choices: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mask whole tags: all pieces of a drawn tag share its fate. Returns new pieces, and True at target pieces."""
    if not len(pieces):
        return pieces, np.zeros(0, bool)
    fate = draw(uniform_3N[:2], rate)[tag_of_piece]
    which = choices[(uniform_3N[2, : len(pieces)] * len(choices)).astype(np.int64)]
    return np.where(fate == MASKED, mask_id, np.where(fate == RANDOM, which, pieces)), fate >= 0
