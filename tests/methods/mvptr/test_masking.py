import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlp.methods.mvptr.config import Masking
from vlp.methods.mvptr.masking import mask_tags, mask_text

MASK, WORDS, PHRASES = 4, np.arange(5, 30), (30, 40)


def run(words, phrases, pairs, rates, seed=0):
    u = np.random.Generator(np.random.PCG64(seed)).random((3, len(words) + len(phrases)))
    return mask_text(np.array(words), np.array(phrases), np.array(pairs).reshape(-1, 2), u, rates, MASK, WORDS, PHRASES)


@settings(max_examples=80)
@given(st.integers(0, 9999))
def test_phrase_of_a_masked_word_is_hidden(seed: int) -> None:
    words, phrases, pairs = [10, 11, 12], [31, 32], [(0, 0), (0, 1), (1, 2)]
    new_words, new_phrases, at, phrase_at = run(words, phrases, pairs, Masking(words=0.5, phrases=0.3), seed)
    for phrase, word in pairs:
        if word in at:
            assert new_phrases[phrase] == MASK
    for i in set(range(3)) - set(at):
        assert new_words[i] == words[i]
    hidden = {p for p, w in pairs if w in at}
    for p in set(range(2)) - hidden - set(phrase_at):
        assert new_phrases[p] == phrases[p]


def test_rates() -> None:
    n = 20_000
    words, _, at, _ = run([10] * n, [], [], Masking(), 1)
    assert len(at) / n == pytest.approx(0.15, abs=0.01)
    drawn = words[at]
    assert (drawn == MASK).mean() == pytest.approx(0.8, abs=0.02)
    assert (drawn == 10).mean() == pytest.approx(0.1 + 0.1 / len(WORDS), abs=0.02)


def test_nothing_is_masked_at_rate_zero() -> None:
    words, phrases, at, phrase_at = run([10, 11], [31], [(0, 1)], Masking(words=0, phrases=0, tags=0))
    assert words.tolist() == [10, 11]
    assert phrases.tolist() == [31]
    assert not len(at)
    assert not len(phrase_at)


def test_all_pieces_of_a_tag_share_its_fate() -> None:
    pieces, owner = np.arange(10, 22), np.repeat(np.arange(4), 3)
    seen = set()
    for seed in range(60):
        u = np.random.Generator(np.random.PCG64(seed)).random((3, 12))
        new, target = mask_tags(pieces, owner, u, 0.5, MASK, WORDS)
        for tag in range(4):
            own = owner == tag
            assert len(set(target[own])) == 1
            masked = new[own] == MASK
            assert masked.all() or not masked.any()
            seen.add((bool(target[own][0]), bool(masked.all())))
    assert seen == {(False, False), (True, True), (True, False)}
