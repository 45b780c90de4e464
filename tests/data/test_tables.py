"""Tables: sorted, typed, the same bytes from any order of records; errors name the file."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlp.data.tables import SCHEMAS, SPLITS, read_table, rows, table_path, write_table
from vlp.errors import InputError

CAPTIONS = [
    {"caption_id": "d/2#0", "image_id": "d/2", "text": "b", "kind": "caption", "split": "val"},
    {"caption_id": "d/1#1", "image_id": "d/1", "text": "a", "kind": "caption", "split": "train"},
    {"caption_id": "d/1#0", "image_id": "d/1", "text": "é\u2028ü", "kind": "caption", "split": "train"},
]


def test_rows_are_sorted_by_split_then_id(tmp_path: Path) -> None:
    assert write_table(tmp_path, "captions", CAPTIONS) == 3
    assert [r["caption_id"] for r in rows(tmp_path, "captions")] == ["d/1#0", "d/1#1", "d/2#0"]
    assert next(rows(tmp_path, "captions")) == CAPTIONS[2]


def test_one_split_and_some_columns(tmp_path: Path) -> None:
    write_table(tmp_path, "captions", CAPTIONS)
    assert read_table(tmp_path, "captions", "train").num_rows == 2
    assert list(rows(tmp_path, "captions", "val", ["text", "image_id"])) == [{"text": "b", "image_id": "d/2"}]
    assert list(rows(tmp_path, "captions", "test")) == []


@pytest.mark.parametrize("name", SCHEMAS)
def test_an_empty_table_keeps_its_columns(tmp_path: Path, name: str) -> None:
    write_table(tmp_path, name, [])
    assert read_table(tmp_path, name).schema.equals(SCHEMAS[name])
    assert SCHEMAS[name].names[-1] == "split"


def test_boxes_are_float32(tmp_path: Path) -> None:
    box = {"object_id": "d/1", "image_id": "d/1", "class_name": "dog", "box": [0.1, 0, 5, 6.25], "split": "test"}
    write_table(tmp_path, "objects", [box])
    assert read_table(tmp_path, "objects").schema.field("box").type == pa.list_(pa.float32())
    assert next(rows(tmp_path, "objects"))["box"] == pytest.approx([0.1, 0, 5, 6.25])


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(12)), st.lists(st.sampled_from(SPLITS), min_size=12, max_size=12))
def test_any_order_of_records_gives_the_same_bytes(order: list[int], splits: list[str]) -> None:
    records = [{"pair_id": f"d/{i}", "image_id": "d/x", "text": "t", "label": "neutral", "split": s}
               for i, s in enumerate(splits)]  # fmt: skip
    digests = set()
    with tempfile.TemporaryDirectory() as folder:
        for some in (records, [records[i] for i in order]):
            write_table(folder, "entailment", some)
            digests.add(hashlib.sha256(table_path(folder, "entailment").read_bytes()).hexdigest())
        assert [p.name for p in Path(folder).iterdir()] == ["entailment.parquet"]
    assert len(digests) == 1


def test_an_id_twice_or_a_strange_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="caption_id is not unique"):
        write_table(tmp_path, "captions", [CAPTIONS[0], CAPTIONS[0]])
    with pytest.raises(ValueError, match="unknown split 'dev'"):
        write_table(tmp_path, "captions", [{**CAPTIONS[0], "split": "dev"}])
    assert not table_path(tmp_path, "captions").exists()


def test_errors_name_the_file_and_the_command(tmp_path: Path) -> None:
    path = table_path(tmp_path, "captions")
    with pytest.raises(InputError, match=r"captions\.parquet: the table is missing\. .*vlp data read"):
        read_table(tmp_path, "captions")
    path.write_bytes(b"PAR1 not a table")
    with pytest.raises(InputError, match=r"captions\.parquet: not a whole Parquet file"):
        read_table(tmp_path, "captions")
    pq.write_table(pa.table({"caption_id": ["a"]}), path)
    with pytest.raises(InputError, match="the columns are not those of `captions`"):
        read_table(tmp_path, "captions")
    with pytest.raises(ValueError, match="no table 'caption'"):
        read_table(tmp_path, "caption")
    with pytest.raises(ValueError, match="no split 'dev'"):
        read_table(tmp_path, "captions", "dev")
