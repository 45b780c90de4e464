from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vlp.data.tables import write_table
from vlp.errors import InputError
from vlp.metrics.evaluation import evaluate
from vlp.metrics.measure import Measure


def _rows(**over: Any) -> list[dict[str, Any]]:
    """Two images, one caption each, both kept for both."""
    rows = []
    for direction, queries, candidates in (
        ("i2t", ("t/A", "t/B"), ("t/a", "t/b")),
        ("t2i", ("t/a", "t/b"), ("t/A", "t/B")),
    ):
        for query in queries:
            for candidate in candidates:
                right = query.lower() == candidate.lower()
                row = {"direction": direction, "query_id": query, "candidate_id": candidate, "positive": right}
                rows.append({**row, "coarse": float(right), "score": float(right)})
    rows[0] |= over
    return rows


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    captions = [{"caption_id": f"t/{c.lower()}", "image_id": f"t/{c}", "text": c, "split": "test"} for c in "AB"]
    write_table(tmp_path, "captions", captions)
    return tmp_path


def _retrieval(tables: Path, rows: list[dict[str, Any]], metadata: dict[str, str] | None = None) -> dict[str, Measure]:
    path = tables / "retrieval.parquet"
    pq.write_table(pa.Table.from_pylist(rows).replace_schema_metadata(metadata), path)
    return {m.metric: m for m in evaluate("retrieval", path, tables)}


def test_retrieval_measures_name_their_protocol(tables: Path) -> None:
    counts = {"num_texts": "2", "num_images": "2"}
    found = _retrieval(tables, [r for r in _rows() if r["positive"]], counts)
    assert found["RSUM"].value == 600 and found["RSUM"].protocol == "re-ranked k_c=1 k_i=1"
    assert found["Uni-TR@1"].protocol == "unimodal" and found["Uni-TR@1"].chance == 50
    assert _retrieval(tables, _rows(), counts)["RSUM"].protocol == "exhaustive"
    merged = _retrieval(tables, _rows(), counts | {"no_coarse": "merged attention"})
    assert merged.keys() == {"RSUM", *(f"{d}@{k}" for d in ("TR", "IR") for k in (1, 5, 10))}


@pytest.mark.parametrize(
    ("over", "problem"),
    [
        ({"score": float("nan")}, "row t/A t/a: score: 1 of 8 numbers is NaN or infinite"),
        ({"coarse": float("inf")}, "row t/A t/a: coarse: 1 of 8 numbers is NaN or infinite"),
        ({"query_id": "t/z"}, "has ids that are not among the test items of t in captions.parquet: t/z"),
    ],
)
def test_bad_rows_are_named(tables: Path, over: dict[str, Any], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        _retrieval(tables, _rows(**over))


@pytest.mark.parametrize(
    ("over", "problem"),
    [
        ({"box": [0.0, 0.0, float("nan"), 10.0]}, r"row q A: box: 1 of 8 numbers is NaN or infinite"),
        ({"boxes": [[0.0, 0.0, float("inf"), 10.0]]}, r"row q A: boxes: 1 of 8 numbers is NaN or infinite"),
    ],
)
def test_boxes_that_are_no_numbers_are_named(tmp_path: Path, over: dict[str, Any], problem: str) -> None:
    box, null = [0.0, 0.0, 10.0, 10.0], {"num_regions": None, "covered": None, "random_hit": None}
    row = {"phrase_id": "p", "image_id": "A", "phrase_type": "people", "box": box, "boxes": [box], **null}
    pq.write_table(pa.Table.from_pylist([row, {**row, "phrase_id": "q", **over}]), tmp_path / "grounding.parquet")
    with pytest.raises(InputError, match=problem):
        evaluate("grounding", tmp_path / "grounding.parquet", tmp_path)


def test_a_query_that_is_missing_is_no_small_matter(tables: Path) -> None:
    with pytest.raises(InputError, match="2 i2t queries, where num_images is 3"):
        _retrieval(tables, _rows(), {"num_images": "3"})


def test_empty_predictions_are_refused(tables: Path) -> None:
    with pytest.raises(InputError, match="holds no row"):
        pq.write_table(pa.Table.from_pylist(_rows()).slice(0, 0), tables / "retrieval.parquet")
        evaluate("retrieval", tables / "retrieval.parquet", tables)


def _grounding_truth(folder: Path, task: str, rows: list[dict[str, Any]]) -> None:
    name, truth = ("phrase_boxes", "boxes") if task == "grounding" else ("referring", "box")
    kept = {"phrase_id", "phrase_type", "ref_id", "partition", "image_id"}
    records = [{k: v for k, v in row.items() if k in kept} | {"split": "test"} for row in rows]
    for record, row in zip(records, rows, strict=True):
        record[truth] = row["boxes"] if truth == "boxes" else row["boxes"][0]
    write_table(folder, name, records)


def test_grounding_without_a_store_has_no_prior_and_no_merged_chance(tmp_path: Path) -> None:
    box = [0.0, 0.0, 10.0, 10.0]
    row = {"phrase_id": "p", "image_id": "t/A", "phrase_type": "people", "box": box, "boxes": [box], "num_regions": 5}
    rows = [
        {**row, "covered": True, "random_hit": 0.2},
        {**row, "phrase_id": "q", "boxes": [], "covered": False, "random_hit": 0.0},
    ]
    _grounding_truth(tmp_path, "grounding", rows)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "grounding.parquet")
    found = {(m.protocol, m.metric): m for m in evaluate("grounding", tmp_path / "grounding.parquet", tmp_path)}
    whole = found["IoU > 0.5, any box", "accuracy"]
    assert (whole.value, whole.chance, whole.n, whole.blind) == (100, 20, 1, None)
    assert found["IoU > 0.5, merged box", "accuracy"].chance is None
    assert found["left out", "phrases without box"].value == 1
    assert not any("prior" in metric for _, metric in found)


@pytest.mark.parametrize("task", ["grounding", "referring"])
def test_boxes_of_the_models_own_have_no_chance_and_no_upper_bound(tmp_path: Path, task: str) -> None:
    """A method that chooses among no regions leaves their columns null."""
    row: dict[str, Any] = {"image_id": "t/i", "box": [0.0, 0.0, 4.0, 4.0], "boxes": [[0.0, 0.0, 4.0, 4.0]]}
    row |= {"num_regions": None, "covered": None, "random_hit": None}
    keys = {"grounding": ("phrase_id", "phrase_type"), "referring": ("ref_id", "partition")}[task]
    rows = [{**row, keys[0]: "p", keys[1]: "a"}, {**row, keys[0]: "q", keys[1]: "b", "box": [9.0, 9.0, 12.0, 12.0]}]
    _grounding_truth(tmp_path, task, rows)
    file = tmp_path / "p.parquet"
    pq.write_table(pa.Table.from_pylist(rows), file)
    found = evaluate(task, file, tmp_path)
    assert {m.value for m in found if m.metric == "accuracy"} == {50.0}
    assert all(m.chance is None for m in found) and not [m for m in found if m.metric.startswith("upper bound")]
