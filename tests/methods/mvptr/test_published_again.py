"""Tables 1-8 read a second time: typed from the printed pages, not from the file that they are held against."""

from collections.abc import Iterator

import pytest

from vlp.report import published

RECALLS = ("TR@1", "TR@5", "TR@10", "IR@1", "IR@5", "IR@10")
COCO = [f"retrieval coco test fine-tuned {metric}" for metric in RECALLS]
FLICKR = [f"retrieval flickr30k test fine-tuned {metric}" for metric in RECALLS]
GROUNDING = [f"grounding flickr30k test {stage} accuracy" for stage in ("pre-trained", "fine-tuned")]
SERVER = [f"vqa coco {split} fine-tuned accuracy" for split in ("test-dev", "test-std")]
ENTAILMENT = [f"entailment flickr30k {split} fine-tuned accuracy" for split in ("val", "test")]
RSUM = [f"retrieval coco test fine-tuned {metric}" for metric in ("RSUM", "Uni-RSUM")]
TYPES = [f"vqa coco test-std fine-tuned accuracy ({kind})" for kind in ("yes/no", "number", "other")]
CORPUS = [
    f"phrases pre-training corpus train data {name}"
    for name in ("all", "unique", "mean_frequency", "median_frequency", "per_image", "per_text")
]
PAGES: dict[str, tuple[list[str], str]] = {
    "1": (
        [*COCO, RSUM[0], *SERVER, *ENTAILMENT],
        """UNITER       65.7 88.6 93.8  52.9 79.9 88.0  468.9  72.70 72.91  78.59 78.28
           OSCAR        70.0 91.1 95.5  54.0 80.8 88.5  479.9  73.16 73.44  -     -
           VILLA        -    -    -     -    -    -     -      73.59 73.67  79.47 79.03
           UNIMO        -    -    -     -    -    -     -      73.79 74.02  80.00 79.10
           ROSITA       71.3 91.6 95.6  54.4 80.9 88.6  482.4  73.91 73.97  -     -
           ALBEF (4M)   73.1 91.4 96.0  56.8 81.5 89.2  488.0  74.54 74.70  80.14 80.30
           VinVL        74.6 92.6 96.3  58.1 83.2 90.1  494.9  75.95 76.12  -     -
           MVPTR        77.3 93.6 96.9  60.1 84.0 90.7  502.6  76.16 76.36  80.30 80.17""",
    ),
    "2": (
        FLICKR,
        """UNITER       85.9 97.1 98.8  72.5 92.4 96.1
           VILLA        86.6 97.9 99.2  74.7 92.9 95.8
           UNIMO        89.7 98.4 99.1  74.7 93.4 96.1
           ALBEF (4M)   94.3 99.4 99.8  82.8 96.7 98.4
           MVPTR        95.2 99.7 100   84.0 96.8 98.5
           LightningDot 83.9 97.2 98.6  69.9 91.1 95.2
           CLIP*        87.2 98.1 99.6  71.6 91.9 96.0
           MVPTR-Uni    87.4 98.2 99.7  74.5 94.0 96.9""",
    ),
    "3": (
        GROUNDING,
        """VisualBERT 35.53 71.33
           VinVL      24.08 -
           MVPTR      42.55 73.10""",
    ),
    "4": (
        [*RSUM, SERVER[0], *GROUNDING],
        """w, c, r, t: MCR^v,s + VSC + WPG + MLM + ITM      502.6 471.9 76.16 42.55 73.10
           w, c, r, t: MCR^s + VSC + WPG + MLM + ITM        498.1 463.2 75.57 32.05 72.86
           w, c, r: MCR^s + VSC + WPG + MLM + ITM           494.8 459.5 74.44 27.60 71.98
           w, c, r, t: MCR^v + VSC + MLM + ITM              498.3 468.8 76.02 36.09 72.65
           w, r, t: MCR^v + VSC + MLM + ITM                 500.4 470.9 75.98 35.04 72.48
           w, c, r, t: MCR^v,s + WPG + MLM + ITM (MerAttn)  496.5 -     75.25 29.42 72.24""",
    ),
    "5": (
        ["phrases None train data unique", "phrases None train data per_text"],
        """MSCOCO    32311 1.966
           Flickr30k 21067 2.188
           VQA       19905 0.828
           SNLI-VE   22779 0.8957""",
    ),
    "6": (
        COCO,
        """LightningDot 60.1 85.1 91.8  45.8 74.6 83.8
           CLIP*        63.2 86.6 92.7  44.9 72.1 81.7
           MVPTR-Uni    68.2 90.3 95.0  51.5 79.3 87.6""",
    ),
    "7": (
        [*TYPES, SERVER[1]],
        """VinVL 91.47 61.04 66.21 76.12
           MVPTR 91.65 58.45 67.16 76.36""",
    ),
    "8": (CORPUS, "MVPTR 14800000 54950 269.38 98 2.74 1.58"),
}
"""Table -> what its columns measure, and its page; "-" is an empty cell."""


def read_again() -> Iterator[tuple[tuple[str, str, str], float]]:
    for table, (columns, page) in PAGES.items():
        for line in page.splitlines():
            words = line.split()
            name, numbers = " ".join(words[: -len(columns)]), words[-len(columns) :]
            for column, number in zip(columns, numbers, strict=True):
                if number != "-":
                    metric = column.replace(" TR@", " Uni-TR@").replace(" IR@", " Uni-IR@")
                    yield (table, name, metric if name.endswith("-Uni") else column), float(number)


def test_every_cell_is_the_papers_and_none_is_more_or_less() -> None:
    ours = {
        (c.table, c.row, f"{c.task} {c.dataset} {c.split} {c.stage} {c.metric}"): c.value
        for c in published.cells("mvptr")
    }
    typed = dict(read_again())
    assert ours == typed
    assert len(typed) == 190 and sorted(PAGES) == list("12345678")
    assert len(list(published.cells("mvptr"))) == len(ours)


def test_cells_that_two_tables_print_agree() -> None:
    """The paper repeats itself: RSUM, the unimodal RSUM, VQA and grounding stand in two places each."""
    found = dict(read_again())
    full = "w, c, r, t: MCR^v,s + VSC + WPG + MLM + ITM"
    assert found["1", "MVPTR", RSUM[0]] == found["4", full, RSUM[0]]
    unimodal = [v for (table, row, _), v in found.items() if (table, row) == ("6", "MVPTR-Uni")]
    assert sum(unimodal) == pytest.approx(found["4", full, RSUM[1]], abs=0.05)
    assert found["1", "MVPTR", SERVER[0]] == found["4", full, SERVER[0]]
    for method in ("MVPTR", "VinVL"):
        assert found["1", method, SERVER[1]] == found["7", method, SERVER[1]]
    for column in GROUNDING:
        assert found["3", "MVPTR", column] == found["4", full, column]


def test_the_frequent_phrases_are_the_papers() -> None:
    frequent = {t["table"]: t["frequent"] for t in published.tables("mvptr")["tables"] if "frequent" in t}
    assert frequent == {
        "5": {
            "MSCOCO": ["young-man", "two-man", "city-street", "white-plate", "group-of-people"],
            "Flickr30k": ["two-man", "young-boy", "black-dog", "red-shirt", "man-sit on-bench"],
            "VQA": ["many-people", "what-color", "sign-say", "man-hold"],
            "SNLI-VE": ["man-ride-bike", "little-girl", "two-man", "man-stand", "man-wear-shirt"],
        },
        "8": {
            "attributes": ["group-of-people", "blue-sky", "large-building", "little-girl"],
            "relations": ["man-in-shirt", "man-sit at-table", "artist-perform on-stage"],
        },
    }
