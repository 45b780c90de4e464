from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.phrases.conftest import MODEL
from vlp.errors import InputError
from vlp.phrases import mine, shards
from vlp.phrases.texts import caption_lines
from vlp.phrases.vocabulary import from_counts

TEXTS = [f"a {size} {colour} dog near {n} cats" for size in ("small", "big") for colour in ("red", "brown", "white")
         for n in range(2, 12)]  # fmt: skip


def _run(folder: Path, texts: list[str] = TEXTS, processes: int = 1, size: int = 16) -> shards.ShardCounts:
    *_, counts = shards.mine_shards(iter(texts), folder, MODEL, processes, size)
    return counts


def _vocabulary(folder: Path, path: Path) -> bytes:
    from_counts(shards.frequencies(folder), 10, 100).save(path)
    return path.read_bytes()


@pytest.mark.slow
def test_one_and_two_processes_give_byte_equal_files(tmp_path: Path) -> None:
    for processes in (1, 2):
        counts = _run(tmp_path / str(processes), processes=processes)
        assert (counts.shards, counts.kept, counts.sentences) == (4, 0, 60)
    names = sorted(p.name for p in (tmp_path / "1").iterdir())
    assert names == ["000000.parquet", "000001.parquet", "000002.parquet", "000003.parquet"]
    for name in names:
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()
    one, two = (_vocabulary(tmp_path / str(n), tmp_path / f"{n}.json") for n in (1, 2))
    assert one == two


def test_a_killed_run_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    running = shards.mine_shards(iter(TEXTS), tmp_path / "killed", MODEL, 1, 16)
    next(running)
    running.close()
    (tmp_path / "killed" / "000001.parquet").write_bytes(b"PAR1 half")
    mined: list[int] = []
    real = mine.mine_chunk
    monkeypatch.setattr(mine, "mine_chunk", lambda texts: mined.append(len(texts)) or real(texts))
    counts = _run(tmp_path / "killed")
    assert (counts.kept, counts.shards, mined) == (1, 4, [16, 16, 12])
    _run(tmp_path / "whole")
    assert counts.phrases == _run(tmp_path / "whole").phrases
    assert _vocabulary(tmp_path / "killed", tmp_path / "a") == _vocabulary(tmp_path / "whole", tmp_path / "b")


def test_a_tuple_counts_once_for_each_sentence(tmp_path: Path) -> None:
    _run(tmp_path, ["a red dog and a red dog", "a red dog", "a cat", "a red dog"], size=3)
    assert list(shards.frequencies(tmp_path)) == [("attribute", ("dog", "red"), 3)]
    assert shards.sentences_of(tmp_path) == 4
    assert len(from_counts(shards.frequencies(tmp_path), 4, 10)) == 0
    (record,) = from_counts(shards.frequencies(tmp_path), 3, 10).records
    assert (record.id, record.parts, record.count) == (10, ("dog", "red"), 3)


def test_many_shards_merge_a_few_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _run(tmp_path, size=4)
    whole = list(shards.frequencies(tmp_path))
    monkeypatch.setattr(shards, "FAN_IN", 2)
    assert list(shards.frequencies(tmp_path)) == whole == sorted(whole)
    assert sum(n for _, parts, n in whole if parts == ("dog", "red")) == 20
    assert not (tmp_path / "merge").exists()


def test_texts_are_read_as_they_are_needed(tmp_path: Path) -> None:
    """A run holds a few shards, not the corpus."""
    taken = 0

    def texts():
        nonlocal taken
        for text in TEXTS:
            taken += 1
            yield text

    next(shards.mine_shards(texts(), tmp_path, MODEL, 1, 4))
    assert taken <= 4 * 4


def test_other_texts_replace_shards_and_a_surplus_is_named(tmp_path: Path) -> None:
    _run(tmp_path)
    changed = ["a blue whale", *TEXTS[1:]]
    assert _run(tmp_path, changed).kept == 3
    with pytest.raises(InputError, match=r"000003\.parquet.*other texts"):
        _run(tmp_path, changed[:48])


def test_shards_of_other_rules_are_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _run(tmp_path)
    assert _run(tmp_path).kept == 4
    monkeypatch.setattr("vlp.phrases.parser.rules_digest", lambda: "0" * 64)
    assert _run(tmp_path).kept == 0


def test_damaged_or_missing_shards_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no shards"):
        list(shards.frequencies(tmp_path))
    (tmp_path / "000000.parquet").write_bytes(b"PAR1 half")
    with pytest.raises(InputError, match=r"000000\.parquet.*not a whole shard"):
        list(shards.frequencies(tmp_path))
    with pytest.raises(InputError, match="not a whole shard"):
        shards.sentences_of(tmp_path)


def test_shard_files_name_parser_and_texts(tmp_path: Path) -> None:
    _run(tmp_path, ["a red dog"])
    meta = pq.read_schema(tmp_path / "000000.parquet").metadata
    assert meta[b"parser"].startswith(MODEL.encode()) and meta[b"sentences"] == b"1" and len(meta[b"texts"]) == 64


def test_caption_files(tmp_path: Path) -> None:
    plain, coco = tmp_path / "a.txt", tmp_path / "b.json"
    plain.write_text("a dog\n a cat \n", encoding="utf-8")
    coco.write_text('{"annotations": [{"caption": "a dog\\n"}, {"caption": "a cat"}]}')
    assert list(caption_lines(plain)) == list(caption_lines(coco)) == ["a dog", "a cat"]
    assert list(caption_lines(plain, 1)) == ["a dog"]
    coco.write_text('{"annotations": [{"caption": "a dog"}, {"id": 3}]}')
    with pytest.raises(InputError, match=r"b\.json, row 1.*missing or empty"):
        list(caption_lines(coco))
    coco.write_text("[]")
    with pytest.raises(InputError, match="annotations"):
        list(caption_lines(coco))
    plain.write_bytes(b"a dog\n\xff\n")
    with pytest.raises(InputError, match="not UTF-8"):
        list(caption_lines(plain))
    with pytest.raises(InputError, match="missing"):
        list(caption_lines(tmp_path / "none.txt"))
