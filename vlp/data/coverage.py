"""How much of each part of the pre-training corpus there is: web images vanish, and a number trained on less is another
number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from vlp.config.presets import PRESETS, mark_of_id

PART_NAMES = {"vg": "visual_genome", "vqa": "vqa_v2", "ln": "localized_narratives"}


def coverage(captions: pa.Table, corpus: str | None, offered: Mapping[tuple[str, str], int]) -> list[dict[str, Any]]:
    """One record for each part, found or expected, sorted by name.

    Args:
        captions: the table of texts.
        corpus: name of a preset; None: nothing is known to be expected.
        offered: (data set, mark) -> texts that its files list of the splits in use.

    Returns:
        `part`; `texts`, `images`: in train; `read`, `listed`: texts of all splits in the tables, in the files;
        `expected_texts`, `expected_images`, `source`: of the preset, None where it has no such part; `share`: percent
        of the expected texts, or of the listed ones.
    """
    texts: Counter[tuple[str, str]] = Counter()
    train: Counter[tuple[str, str]] = Counter()
    images: dict[tuple[str, str], set[str]] = {}
    columns = (captions[name].to_pylist() for name in ("caption_id", "image_id", "split"))
    for caption_id, image_id, split in zip(*columns, strict=True):
        part = image_id.partition("/")[0], mark_of_id(caption_id)
        texts[part] += 1
        if split == "train":
            train[part] += 1
            images.setdefault(part, set()).add(image_id)
    expected = {(e.set, e.mark): e for e in (PRESETS[corpus] if corpus else ())}
    found = []
    for part in sorted({*texts, *offered, *expected}):
        wanted = expected.get(part)
        name, mark = part
        read, listed = texts[part], offered.get(part, 0)
        share = share_of(train[part], read, listed, wanted.texts if wanted else None)
        found.append(
            {
                "part": name if mark in ("", "t", name) else PART_NAMES[mark],
                "texts": train[part],
                "images": len(images.get(part, ())),
                "read": read,
                "listed": listed,
                "expected_texts": wanted.texts if wanted else None,
                "expected_images": wanted.images if wanted else None,
                "source": wanted.source if wanted else None,
                "share": share,
            }
        )
    return found


def share_of(train: int, read: int, listed: int, expected: int | None) -> float | None:
    """Percent of the expected texts that are in train, else of those listed in the files that were read."""
    share = train / expected if expected else read / listed if listed else None
    return None if share is None else round(100 * share, 4)
