"""The corpora that pre-training is compared on: which parts each has, how many images and texts a part should give.

A part is one kind of text of one data set; `mark` is how the last part of its texts' ids begins (`gqa/1#vg17`; a
caption's is a mere number).
"""

from __future__ import annotations

from dataclasses import dataclass

OWN = ""
"""Mark of a data set's own captions."""


@dataclass(frozen=True)
class Expected:
    set: str
    """Name of the data set in the config."""
    mark: str
    texts: int
    images: int
    source: str
    """Who gives the numbers."""


_VINVL = "VinVL, table 16 (unverified but for the sum)"
_CARD = "dataset card, Hugging Face"

PAPER_NAMED = (
    Expected("coco", OWN, 566_747, 113_287, "Karpathy's train and restval, as counted by projects on GitHub"),
    Expected("flickr30k", OWN, 145_000, 29_000, f"{_CARD}: Karpathy's train, five captions an image"),
    Expected("gqa", "gqa", 943_000, 72_140, f"{_CARD}: balanced train; images there as 72.1k"),
    Expected("conceptual_captions", OWN, 3_318_333, 3_318_333, f"{_CARD}: train"),
    Expected("sbu", OWN, 1_000_000, 1_000_000, _CARD),
    Expected("openimages", "t", 1_670_000, 1_670_000, _VINVL),
)
"""The six corpora of the paper's 4.1. It gives no counts: these are what the data sets published, and for OpenImages,
which has no captions, the machine captions of VinVL, whose images the paper uses."""

VINVL_LARGE = (
    Expected("coco", OWN, 559_000, 112_000, _VINVL),
    Expected("coco", "vqa", 545_000, 83_000, _VINVL),
    Expected("flickr30k", OWN, 145_000, 29_000, _VINVL),
    Expected("gqa", "gqa", 1_026_000, 79_000, _VINVL),
    Expected("gqa", "vg", 931_000, 87_000, _VINVL),
    Expected("conceptual_captions", OWN, 3_100_000, 3_100_000, _VINVL),
    Expected("sbu", OWN, 875_000, 875_000, _VINVL),
    Expected("openimages", "t", 1_670_000, 1_670_000, _VINVL),
)
"""8.85 million texts, rounded as published. VQA's images are COCO's, Visual Genome's are with GQA's."""

_NAMED = {(part.set, part.mark) for part in PAPER_NAMED}
PRESETS: dict[str, tuple[Expected, ...]] = {
    "paper_named": PAPER_NAMED,
    "vinvl_large": VINVL_LARGE,
    "available": PAPER_NAMED + tuple(part for part in VINVL_LARGE if (part.set, part.mark) not in _NAMED),
}
"""`available` takes of the config's data sets those that are on disk, and compares them with what is published."""

FORMAT_MARKS = {
    "gqa_questions": "gqa",
    "visual_genome_questions": "vg",
    "vqa_v2_questions": "vqa",
    "localized_narratives": "ln",
}


def mark_of(format_name: str, key: str) -> str:
    """The mark of the texts that a format gives under `captions` or `texts`."""
    return FORMAT_MARKS.get(format_name, "t" if key == "texts" else OWN)


def mark_of_id(caption_id: str) -> str:
    """`gqa/1#vg17` -> `vg`; `coco/5#0` -> ``."""
    return caption_id.rpartition("#")[2].rstrip("0123456789")
