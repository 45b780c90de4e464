from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.phrases.conftest import MODEL
from vlp.data.tables import SCHEMAS
from vlp.errors import InputError
from vlp.parts import shard
from vlp.phrases import mine


def test_the_distinct_texts_of_all_tables_are_mined(tables: Path, tmp_path: Path) -> None:
    texts = mine.distinct_texts(tables)
    assert texts == sorted(set(texts))
    assert {"a red star", "what color is the ring?", "a blue ring", "the big star", "hello", "where?"} <= set(texts)
    counts = mine.write(tmp_path / "p.parquet", mine.mine(texts, MODEL), "parser 1")
    found = mine.read(tmp_path / "p.parquet")
    assert list(found) == texts
    assert found["hello"] == ()
    assert [(p.kind, p.parts) for p in found["a red star above a ring"]] == [
        ("attribute", ("star", "red")),
        ("relation", ("star", "above", "ring")),
    ]
    assert counts.texts == len(texts)
    assert counts.without_phrase == sum(not p for p in found.values())
    assert counts.per_text == pytest.approx(sum(map(len, found.values())) / len(texts))
    assert pq.read_schema(tmp_path / "p.parquet").metadata[b"parser"] == b"parser 1"


@pytest.mark.slow
def test_the_file_does_not_depend_on_the_number_of_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mine, "texts_at_once", lambda _: 40)
    texts = [f"a {size} {colour} dog is {n} meters from a man riding a horse"
             for size in ("small", "big") for colour in ("red", "brown", "white") for n in range(20)]  # fmt: skip
    for processes in (1, 2):
        mine.write(tmp_path / f"{processes}.parquet", mine.mine(texts, MODEL, processes), "p")
    assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "2.parquet").read_bytes()
    assert len(mine.read(tmp_path / "2.parquet")) == 120


def test_shards_join_to_the_same_bytes(tmp_path: Path) -> None:
    texts = sorted({f"a {size} dog and {n} cats" for size in ("big", "small", "red") for n in range(12)})
    mine.write(tmp_path / "whole.parquet", mine.mine(texts, MODEL), "p")
    parts = [tmp_path / f"{i}.parquet" for i in (1, 2, 3, 4, 5)]
    for i, path in enumerate(parts, 1):
        mine.write(path, mine.mine(shard(texts, i, 5), MODEL), "p")
    mine.write(tmp_path / "joined.parquet", mine.joined(parts), "p")
    assert (tmp_path / "joined.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    with pytest.raises(InputError, match=r"1\.parquet.*does not come after"):
        mine.write(tmp_path / "wrong.parquet", mine.joined([parts[1], parts[0]]), "p")


@given(st.integers(0, 50), st.integers(1, 9))
def test_shards_hold_every_text_once(texts: int, parts: int) -> None:
    whole = [str(i) for i in range(texts)]
    found = [shard(whole, i, parts) for i in range(1, parts + 1)]
    assert [text for part in found for text in part] == whole
    assert max(map(len, found)) - min(map(len, found)) <= 1


def test_no_texts_give_an_empty_file(tmp_path: Path) -> None:
    counts = mine.write(tmp_path / "p.parquet", mine.mine([], MODEL, 2), "p")
    assert (counts.texts, counts.per_text, mine.read(tmp_path / "p.parquet")) == (0, 0.0, {})


def test_an_empty_text_is_named(tables: Path) -> None:
    path = tables / "captions.parquet"
    table = pq.read_table(path)
    row = table.schema.get_field_index("text")
    pq.write_table(table.set_column(row, "text", pa.array([" ", *table["text"].to_pylist()[1:]])), path)
    with pytest.raises(InputError, match=r"captions\.parquet, row caption_id .*empty"):
        mine.distinct_texts(tables)


def test_a_damaged_or_foreign_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    with pytest.raises(InputError, match="missing"):
        mine.read(path)
    path.write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match="not a whole Parquet file"):
        mine.read(path)
    pq.write_table(pa.Table.from_pylist([], schema=SCHEMAS["images"]), path)
    with pytest.raises(InputError, match="columns"):
        mine.read(path)
