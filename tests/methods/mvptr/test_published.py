import pytest

from vlp.report import published


def test_every_row_fits_its_columns_and_recalls_add_up() -> None:
    for table in published.tables("mvptr")["tables"]:
        assert all(len(values) == len(table["columns"]) for values in table["rows"].values())
    names = [c["name"] for c in published.tables("mvptr")["tables"][0]["columns"]]
    for row in published.tables("mvptr")["tables"][0]["rows"].values():
        if row[0] is not None:
            assert sum(row[:6]) == pytest.approx(row[names.index("RSUM")], abs=0.11)  # as printed


def test_only_the_same_measurement_gets_the_papers_number() -> None:
    ask = ("mvptr", "retrieval", "flickr30k", "test", "fine-tuned", "re-ranked k_c=128 k_i=64")
    assert published.find(*ask, "TR@1", 1000) == 95.2
    assert published.find(*ask, "Uni-IR@10", 5000) == 96.9
    assert published.find(*ask, "TR@1", 247) is None  # a miniature
    assert (
        published.find("mvptr", "grounding", "flickr30k", "test", "fine-tuned", "IoU > 0.5, any box", "accuracy", 14481)
        == 73.1
    )
    assert (
        published.find(
            "mvptr", "grounding", "flickr30k", "test", "fine-tuned", "IoU > 0.5, merged box", "accuracy", 14481
        )
        is None
    )
    assert published.find("mvptr", "vqa", "coco", "test-std", "fine-tuned", "", "accuracy", 100) is None
