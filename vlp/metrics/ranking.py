"""The best of a row of scores."""

from __future__ import annotations

import numpy as np

_SORTED_AT_ONCE = 256


def best(score_QC: np.ndarray, k: int, second_QC: np.ndarray | None = None) -> np.ndarray:
    """Columns [Q, min(k, C)] of the k highest of each row; ties by `second_QC`, higher first, then by lower column."""
    rows, columns = score_QC.shape
    kept = min(k, columns)
    result = np.empty((rows, kept), np.int64)
    for begin in range(0, rows, _SORTED_AT_ONCE):
        part = slice(begin, begin + _SORTED_AT_ONCE)
        if second_QC is None:
            order = np.argsort(-score_QC[part], axis=1, kind="stable")
        else:
            order = np.lexsort((-second_QC[part], -score_QC[part]), axis=1)
        result[part] = order[:, :kept]
    return result
