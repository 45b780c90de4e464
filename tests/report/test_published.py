import pytest

from vlp.report import published


def test_every_row_fits_its_columns_and_recalls_add_up() -> None:
    for table in published.tables()["tables"]:
        assert all(len(values) == len(table["columns"]) for values in table["rows"].values())
    names = [c["name"] for c in published.tables()["tables"][0]["columns"]]
    for row in published.tables()["tables"][0]["rows"].values():
        if row[0] is not None:
            assert sum(row[:6]) == pytest.approx(row[names.index("RSUM")], abs=0.11)  # as printed


def test_the_papers_own_rows_cell_by_cell() -> None:
    found = {
        (c.table, c.row): [d.value for d in published.cells() if (d.table, d.row) == (c.table, c.row)]
        for c in published.cells()
        if c.row.startswith("MVPTR")
    }
    assert found == {
        ("1", "MVPTR"): [77.3, 93.6, 96.9, 60.1, 84.0, 90.7, 502.6, 76.16, 76.36, 80.30, 80.17],
        ("2", "MVPTR"): [95.2, 99.7, 100, 84.0, 96.8, 98.5],
        ("2", "MVPTR-Uni"): [87.4, 98.2, 99.7, 74.5, 94.0, 96.9],
        ("3", "MVPTR"): [42.55, 73.10],
        ("6", "MVPTR-Uni"): [68.2, 90.3, 95.0, 51.5, 79.3, 87.6],
        ("7", "MVPTR"): [91.65, 58.45, 67.16, 76.36],
        ("8", "MVPTR"): [14_800_000, 54_950, 269.38, 98, 2.74, 1.58],
    }


def test_the_ablations_and_the_phrases_cell_by_cell() -> None:
    """Read from the paper a second time, by column."""
    found = {t["table"]: list(zip(*t["rows"].values(), strict=True)) for t in published.tables()["tables"]}
    assert found["4"] == [
        (502.6, 498.1, 494.8, 498.3, 500.4, 496.5),
        (471.9, 463.2, 459.5, 468.8, 470.9, None),
        (76.16, 75.57, 74.44, 76.02, 75.98, 75.25),
        (42.55, 32.05, 27.6, 36.09, 35.04, 29.42),
        (73.1, 72.86, 71.98, 72.65, 72.48, 72.24),
    ]
    assert found["5"] == [(32_311, 21_067, 19_905, 22_779), (1.966, 2.188, 0.828, 0.8957)]
    assert sorted(found) == list("12345678")


def test_the_other_methods_cell_by_cell() -> None:
    """Read from the paper a second time."""
    rows = {(t["table"], name): values for t in published.tables()["tables"] for name, values in t["rows"].items()}
    assert rows["1", "UNITER"] == [65.7, 88.6, 93.8, 52.9, 79.9, 88.0, 468.9, 72.70, 72.91, 78.59, 78.28]
    assert rows["1", "OSCAR"] == [70.0, 91.1, 95.5, 54.0, 80.8, 88.5, 479.9, 73.16, 73.44, None, None]
    assert rows["1", "VILLA"] == [None] * 7 + [73.59, 73.67, 79.47, 79.03]
    assert rows["1", "UNIMO"] == [None] * 7 + [73.79, 74.02, 80.00, 79.10]
    assert rows["1", "ROSITA"] == [71.3, 91.6, 95.6, 54.4, 80.9, 88.6, 482.4, 73.91, 73.97, None, None]
    assert rows["1", "ALBEF (4M)"] == [73.1, 91.4, 96.0, 56.8, 81.5, 89.2, 488.0, 74.54, 74.70, 80.14, 80.30]
    assert rows["1", "VinVL"] == [74.6, 92.6, 96.3, 58.1, 83.2, 90.1, 494.9, 75.95, 76.12, None, None]
    assert rows["2", "UNITER"] == [85.9, 97.1, 98.8, 72.5, 92.4, 96.1]
    assert rows["2", "VILLA"] == [86.6, 97.9, 99.2, 74.7, 92.9, 95.8]
    assert rows["2", "UNIMO"] == [89.7, 98.4, 99.1, 74.7, 93.4, 96.1]
    assert rows["2", "ALBEF (4M)"] == [94.3, 99.4, 99.8, 82.8, 96.7, 98.4]
    assert rows["2", "LightningDot"] == [83.9, 97.2, 98.6, 69.9, 91.1, 95.2]
    assert rows["2", "CLIP*"] == [87.2, 98.1, 99.6, 71.6, 91.9, 96.0]
    assert rows["3", "VisualBERT"] == [35.53, 71.33] and rows["3", "VinVL"] == [24.08, None]
    assert rows["6", "LightningDot"] == [60.1, 85.1, 91.8, 45.8, 74.6, 83.8]
    assert rows["6", "CLIP*"] == [63.2, 86.6, 92.7, 44.9, 72.1, 81.7]
    assert rows["7", "VinVL"] == [91.47, 61.04, 66.21, 76.12]


def test_only_the_same_measurement_gets_the_papers_number() -> None:
    ask = ("retrieval", "flickr30k", "test", "fine-tuned", "re-ranked k_c=128 k_i=64")
    assert published.find(*ask, "TR@1", 1000) == 95.2
    assert published.find(*ask, "Uni-IR@10", 5000) == 96.9
    assert published.find(*ask, "TR@1", 247) is None  # a miniature
    assert (
        published.find("grounding", "flickr30k", "test", "fine-tuned", "IoU > 0.5, any box", "accuracy", 14481) == 73.1
    )
    assert (
        published.find("grounding", "flickr30k", "test", "fine-tuned", "IoU > 0.5, merged box", "accuracy", 14481)
        is None
    )
    assert published.find("vqa", "coco", "test-std", "fine-tuned", "", "accuracy", 100) is None
