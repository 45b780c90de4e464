"""A predictions file that is not whole, each item once, of the tables at hand, is refused: its numbers look right."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vlp.config.tasks import facts
from vlp.data.tables import SCHEMAS, read_table, write_table
from vlp.errors import InputError
from vlp.metrics.evaluation import evaluate
from vlp.metrics.items import KEY, Truth

Rows = list[dict[str, Any]]
BOX, OTHER = [0.0, 0.0, 10.0, 10.0], [20.0, 20.0, 30.0, 30.0]
REACH = {"num_regions": 2, "covered": True, "random_hit": 0.5}
CLASSIFIED = ["vqa", "entailment", "grounding", "referring"]
TASKS = [*CLASSIFIED, "retrieval"]


def _records() -> dict[str, Rows]:
    """Six test images of t, three of val and two of another data set; for each table one record for each image."""
    found: dict[str, Rows] = {name: [] for name in SCHEMAS}
    images = [(f"t/{i}", "test") for i in range(6)] + [(f"t/{i}", "val") for i in (6, 7, 8)] + [("u/0", "test")]
    for i, (image, split) in enumerate(images):
        own = {"image_id": image, "split": split}
        found["questions"].append(
            {**own, "question_id": f"{image}?", "answer_type": "other", "answers": ["a", "b"][i % 2 : i % 2 + 1] * 10}
        )
        found["entailment"].append({**own, "pair_id": f"{image}!", "text": "", "label": "neutral"})
        found["phrase_boxes"].append({**own, "phrase_id": f"{image}/p", "phrase_type": "people", "boxes": [BOX]})
        found["referring"].append({**own, "ref_id": f"{image}/r", "box": BOX, "partition": "testA"})
        found["captions"].append({**own, "caption_id": f"{image}#0", "kind": "caption"})
    found["captions"].append({"image_id": "t/0", "split": "test", "caption_id": "t/0#q", "kind": "question"})
    return found


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    for name, records in _records().items():
        write_table(tmp_path / "tables", name, records)
    return tmp_path / "tables"


def rows_of(task: str) -> Rows:
    """Of the test split of t: half are right."""
    truth = [r for r in _records()[facts(task).table] if (r["split"], r["image_id"][0]) == ("test", "t")]
    if task == "vqa":
        return [
            {k: r[k] for k in ("question_id", "image_id", "answer_type", "answers")} | {"answer": "a"} for r in truth
        ]
    if task == "entailment":
        said = ["neutral", "entailment"]
        return [
            {"pair_id": r["pair_id"], "image_id": r["image_id"], "label": r["label"], "prediction": said[i % 2]}
            for i, r in enumerate(truth)
        ]
    if task == "retrieval":
        texts = [(r["caption_id"], r["image_id"]) for r in truth if r["kind"] == "caption"]
        scored = [
            {"coarse": 0.5, "score": 0.9 if (i == j) == (i % 2 == 0) else 0.1, "positive": i == j, "pair": (i, j)}
            for i in range(len(texts))
            for j in range(len(texts))
        ]
        found: Rows = []
        for direction, query, candidate in (("i2t", 1, 0), ("t2i", 0, 1)):
            for each in scored:
                i, j = each["pair"]
                ids = {"query_id": texts[i][query], "candidate_id": texts[j][candidate], "direction": direction}
                found.append({k: v for k, v in each.items() if k != "pair"} | ids)
        return found
    key, kind = ("phrase_id", "phrase_type") if task == "grounding" else ("ref_id", "partition")
    boxes = [BOX, OTHER]
    return [
        {key: r[key], "image_id": r["image_id"], kind: r[kind], "box": boxes[i % 2], "boxes": [BOX], **REACH}
        for i, r in enumerate(truth)
    ]


def write(path: Path, task: str, rows: Rows, tables: Path, *, says: bool, of: list[str] | None = None) -> Path:
    """The file; `says`: with the metadata of a whole one, or of one of the items `of`."""
    found = facts(task)
    schema = pa.Table.from_pylist(rows_of(task)).schema
    columns = [pa.array([r[n] for r in rows], schema.field(n).type if n in schema.names else None) for n in rows[0]]
    table = pa.table(columns, names=list(rows[0]))
    if says:
        truth = Truth(found, tables)
        ids = truth.ids("t", "test") if of is None else of
        told = truth.items(ids, "t", "test", len(rows_of(task)) if of is None else len(rows))
        table = table.replace_schema_metadata(told.metadata())
    pq.write_table(table, path)
    return path


def key_of(task: str) -> str:
    return facts(task).columns[0]


@pytest.mark.parametrize("says", [False, True], ids=["earlier file", "file that says"])
@pytest.mark.parametrize("task", TASKS)
def test_what_is_whole_is_measured(tables: Path, tmp_path: Path, task: str, says: bool) -> None:
    found = evaluate(task, write(tmp_path / "p.parquet", task, rows_of(task), tables, says=says), tables)
    # Questions: six, three of them answered "a".
    wanted = ("TR@1", 50.0, 6) if task == "retrieval" else ("accuracy", 50.0, 6)
    assert wanted in {(m.metric, m.value, m.n) for m in found}


def half(rows: Rows) -> Rows:
    return rows[: len(rows) // 2]


def doubled(rows: Rows) -> Rows:
    return [*rows, *half(rows)]


def foreign(rows: Rows) -> Rows:
    key = next(k for k in rows[0] if k.endswith("_id") and k not in ("image_id", "candidate_id"))
    return [{**rows[0], key: "t/99"}, *rows[1:]]


def of_val(rows: Rows) -> Rows:
    """One of another split stands among them."""
    key = next(k for k in rows[0] if k.endswith("_id") and k not in ("image_id", "candidate_id"))
    return [*rows, {**rows[0], key: rows[0][key].replace("t/0", "t/6")}]


@pytest.mark.parametrize("says", [False, True], ids=["earlier file", "file that says"])
@pytest.mark.parametrize("task", CLASSIFIED)
@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (half, r"has 3 of 6 items; of the test items of t in \w+.parquet it lacks t/3\S, t/4\S, t/5"),
        (doubled, r"holds ids more than once: t/0\S+, t/1\S+, t/2"),
        (foreign, r"has ids that are not among the test items of t in \w+.parquet: t/99\."),
        (of_val, r"has ids that are not among the test items of t in \w+.parquet: t/6"),
    ],
)
def test_missing_doubled_and_foreign_items_are_named(
    tables: Path, tmp_path: Path, task: str, change: Callable[[Rows], Rows], problem: str, says: bool
) -> None:
    path = write(tmp_path / "p.parquet", task, change(rows_of(task)), tables, says=says)
    with pytest.raises(InputError, match=problem.replace(r"\S,", r"\S+,")):
        evaluate(task, path, tables)


def first(direction: str, count: int) -> Callable[[Rows], Rows]:
    """Without the rows of the first so many queries."""

    def without(rows: Rows) -> Rows:
        queries = list(dict.fromkeys(r["query_id"] for r in rows if r["direction"] == direction))[:count]
        return [r for r in rows if r["query_id"] not in queries]

    return without


def without_an_item(rows: Rows) -> Rows:
    return [r for r in rows if not {"t/5", "t/5#0"} & {r["query_id"], r["candidate_id"]}]


def called_right(rows: Rows) -> Rows:
    return [{**r, "positive": True} if r["query_id"] == "t/2" else r for r in rows]


def turned(rows: Rows) -> Rows:
    return [{**r, "direction": "i2t"} for r in rows]


@pytest.mark.parametrize("says", [False, True], ids=["earlier file", "file that says"])
@pytest.mark.parametrize(
    ("change", "problem", "said"),
    [
        (first("t2i", 2), "has texts that are no query: t/0#0, t/1#0|has candidates that are no query", "rows"),
        (without_an_item, "has 10 of 12 items; of the test items of t in captions.parquet it lacks t/5, t/5#0", "rows"),
        (lambda rows: [*rows, rows[0]], "query t/0, candidate t/0#0: the pair stands there more than once", "rows"),
        (lambda rows: rows[1:], "has queries with fewer than the 6 candidates of the others: t/0", "rows"),
        (foreign, "not among the test items of t in captions.parquet: t/99", ""),
        (lambda rows: [{**rows[0], "candidate_id": "t/0#q"}, *rows[1:]], "not among .* captions.parquet: t/0#q", ""),
        (called_right, "query t/2, candidate t/0#0: `positive` is not as the captions table says", ""),
        (turned, "query t/0#0, candidate t/0: t2i asks texts for images", ""),
        (lambda rows: [{**rows[0], "direction": "up"}, *rows[1:]], "knows no direction up", ""),
    ],
)
def test_rankings_that_are_not_whole_are_refused(
    tables: Path, tmp_path: Path, change: Callable[[Rows], Rows], problem: str, said: str, says: bool
) -> None:
    path = write(tmp_path / "p.parquet", "retrieval", change(rows_of("retrieval")), tables, says=says)
    with pytest.raises(InputError, match=r"has \d+ rows and says that it has 72" if said and says else problem):
        evaluate("retrieval", path, tables)


def test_folds_divide_the_items(tables: Path, tmp_path: Path) -> None:
    """Half of the images are ranked among themselves too."""
    whole = [{**r, "fold": 0} for r in rows_of("retrieval")]
    part = {f"t/{i}": 1 + i // 3 for i in range(6)}
    own = [
        {**r, "fold": part[r["query_id"][:3]]} for r in whole if part[r["query_id"][:3]] == part[r["candidate_id"][:3]]
    ]
    found = {
        m.protocol
        for m in evaluate(
            "retrieval", write(tmp_path / "p.parquet", "retrieval", [*whole, *own], tables, says=False), tables
        )
    }
    assert "exhaustive, mean of 2 folds of 3 images" in found
    lacking = [r for r in own if "t/5" not in r["query_id"] + r["candidate_id"]]
    path = write(tmp_path / "q.parquet", "retrieval", [*whole, *lacking], tables, says=False)
    with pytest.raises(InputError, match=r"its folds have \[3, 2\] images; in none: t/5, t/5#0"):
        evaluate("retrieval", path, tables)


def test_a_blind_ranking_has_another_image_for_each(tables: Path, tmp_path: Path) -> None:
    """The same one for all texts of an image: that is what `blind` exchanges."""
    place = {f"t/{i}": i for i in range(6)}

    def exchanged(row: dict[str, Any], by: Callable[[int], int]) -> dict[str, Any]:
        text, image = sorted((row["query_id"], row["candidate_id"]), key=len, reverse=True)
        return {**row, "positive": by(place[text[:3]]) == place[image]}

    rows = [exchanged(r, lambda i: (i + 1) % 6) for r in rows_of("retrieval")]
    assert evaluate("retrieval", write(tmp_path / "p.parquet", "retrieval", rows, tables, says=True), tables)
    same = [exchanged(r, lambda i: 0 if i else 1) for r in rows_of("retrieval")]
    with pytest.raises(InputError, match="`positive` is not as the captions table says"):
        evaluate("retrieval", write(tmp_path / "q.parquet", "retrieval", same, tables, says=True), tables)


@pytest.mark.parametrize("task", TASKS)
def test_a_file_of_another_table_is_refused(tables: Path, tmp_path: Path, task: str) -> None:
    path = write(tmp_path / "p.parquet", task, rows_of(task), tables, says=True)
    name = facts(task).table
    write_table(tables, name, [r for r in _records()[name] if r["image_id"] != "t/5"])
    with pytest.raises(InputError, match=r"was made for another table: it had \d+ items, the test items of t in"):
        evaluate(task, path, tables)


@pytest.mark.parametrize(
    ("task", "change", "column"),
    [
        ("vqa", {"answers": ["b"] * 10}, "answers"),
        ("vqa", {"answer_type": "number"}, "answer_type"),
        ("entailment", {"label": "entailment"}, "label"),
        ("grounding", {"boxes": [OTHER]}, "boxes"),
        ("grounding", {"phrase_type": "scene"}, "phrase_type"),
        ("referring", {"box": OTHER}, "boxes"),
        ("referring", {"partition": "testB"}, "partition"),
    ],
)
def test_a_truth_that_has_changed_is_refused(
    tables: Path, tmp_path: Path, task: str, change: dict[str, Any], column: str
) -> None:
    """The file's copy of it would be measured against."""
    path = write(tmp_path / "p.parquet", task, rows_of(task), tables, says=True)
    name = facts(task).table
    write_table(tables, name, [{**r, **(change if r["image_id"] == "t/4" else {})} for r in _records()[name]])
    with pytest.raises(InputError, match=rf"{column} is not that of {name}.parquet for t/4\S+ Evaluate it with"):
        evaluate(task, path, tables)


def test_a_part_that_the_file_names_is_whole(tables: Path, tmp_path: Path) -> None:
    """Minival, or items whose images have no regions: an earlier file could not say so."""
    rows = rows_of("vqa")[:4]
    part = [r["question_id"] for r in rows]
    path = write(tmp_path / "p.parquet", "vqa", rows, tables, says=True, of=part)
    assert [m.n for m in evaluate("vqa", path, tables) if m.metric == "accuracy"] == [4]
    told = json.loads(pq.read_schema(path).metadata[KEY])
    assert (told["count"], told["table_count"], told["rows"]) == (4, 6, 4)
    path = write(tmp_path / "p.parquet", "vqa", rows[:3], tables, says=True, of=part)
    with pytest.raises(InputError, match=r"has 3 of 4 items \(the file says that it has 4 of 6\)"):
        evaluate("vqa", path, tables)
    path = write(tmp_path / "p.parquet", "vqa", rows_of("vqa")[2:], tables, says=True, of=part)
    with pytest.raises(InputError, match=r"has other items than it says; .* it lacks t/0\?, t/1\?"):
        evaluate("vqa", path, tables)
    with pytest.raises(InputError, match="has 4 of 6 items"):
        evaluate("vqa", write(tmp_path / "p.parquet", "vqa", rows, tables, says=False), tables)


@pytest.mark.parametrize(
    ("task", "column"),
    [(task, name) for task in TASKS for name in facts(task).columns if (task, name) not in {("retrieval", "coarse")}],
)
def test_no_cell_is_null(tables: Path, tmp_path: Path, task: str, column: str) -> None:
    rows = rows_of(task)
    rows[1] = {**rows[1], column: None}
    path = write(tmp_path / "p.parquet", task, rows, tables, says=True)
    with pytest.raises(InputError, match=rf"{column} is (null (for|in)|not that of)"):
        evaluate(task, path, tables)


def test_regions_are_null_in_all_rows_or_in_none(tables: Path, tmp_path: Path) -> None:
    rows: Rows = [{**r, "num_regions": None} for r in rows_of("grounding")]
    path = write(tmp_path / "p.parquet", "grounding", rows, tables, says=False)
    with pytest.raises(InputError, match="a method leaves num_regions, covered, random_hit in all rows or in none"):
        evaluate("grounding", path, tables)
    path = write(tmp_path / "p.parquet", "grounding", [{**r, **dict.fromkeys(REACH)} for r in rows], tables, says=False)
    assert all(m.chance is None for m in evaluate("grounding", path, tables))


def test_without_a_coarse_order_there_is_none(tables: Path, tmp_path: Path) -> None:
    """Null, not 0: zeros would be ranked, and be rows of the results."""
    rows: Rows = [{**r, "coarse": None} for r in rows_of("retrieval")]
    found = evaluate("retrieval", write(tmp_path / "p.parquet", "retrieval", rows, tables, says=True), tables)
    assert {m.protocol for m in found} == {"exhaustive"} and not [m for m in found if m.metric.startswith("Uni-")]
    rows[0]["coarse"] = 0.5
    path = write(tmp_path / "p.parquet", "retrieval", rows, tables, says=True)
    with pytest.raises(InputError, match="coarse is null in 71 of 72 rows"):
        evaluate("retrieval", path, tables)


@pytest.mark.parametrize(
    ("task", "column", "values", "problem"),
    [
        ("vqa", "answer", [1, 2, 3, 4, 5, 6], "answer holds int64, not texts"),
        ("vqa", "question_id", [1, 2, 3, 4, 5, 6], "question_id holds int64, not texts"),
        ("entailment", "prediction", [0, 1, 2, 0, 1, 2], "prediction holds int64, not texts"),
        ("entailment", "prediction", ["neutral"] * 5 + ["Neutral"], "prediction is none of .* for t/5!"),
        ("grounding", "box", [BOX] * 5 + [[1.0, 2.0]], "box has no boxes of 4 numbers for t/5/p"),
        ("grounding", "box", ["0 0 1 1"] * 6, "box holds string, not boxes of 4 numbers"),
        ("referring", "ranked", [[BOX]] * 5 + [[]], "ranked has no lists of boxes of 4 numbers for t/5/r"),
        ("referring", "num_regions", [2] * 5 + [-1], "num_regions has no whole numbers from 0 for t/5/r"),
        ("referring", "num_regions", [2] * 5 + [10**18], "num_regions has no whole numbers from 0 for t/5/r"),
        ("grounding", "covered", ["yes"] * 6, "covered holds string, not true or false"),
        ("grounding", "random_hit", [0.5] * 5 + [1.5], "random_hit has no numbers from 0 to 1 for t/5/p"),
        ("grounding", "ranked", [[BOX]] * 5 + [None], "ranked is null for t/5/p"),
    ],
)
def test_cells_that_nothing_can_be_computed_with_are_refused(
    tables: Path, tmp_path: Path, task: str, column: str, values: list[Any], problem: str
) -> None:
    table = pa.Table.from_pylist([{**r, column: v} for r, v in zip(rows_of(task), values, strict=True)])
    pq.write_table(table, tmp_path / "p.parquet")
    with pytest.raises(InputError, match=problem):
        evaluate(task, tmp_path / "p.parquet", tables)


@pytest.mark.parametrize(("column", "value"), [("fold", 0), ("pruned", False)])
def test_a_ranking_says_of_each_pair_where_it_belongs(tables: Path, tmp_path: Path, column: str, value: Any) -> None:
    rows: Rows = [{**r, column: value} for r in rows_of("retrieval")]
    assert evaluate("retrieval", write(tmp_path / "p.parquet", "retrieval", rows, tables, says=True), tables)
    rows[-1][column] = None
    path = write(tmp_path / "p.parquet", "retrieval", rows, tables, says=True)
    with pytest.raises(InputError, match=f"{column} is null for t/5#0"):
        evaluate("retrieval", path, tables)


@pytest.mark.parametrize("task", TASKS)
def test_a_file_with_long_texts_and_half_the_precision_is_the_same(tables: Path, tmp_path: Path, task: str) -> None:
    """As other libraries write Parquet."""

    def long(kind: pa.DataType) -> pa.DataType:
        if pa.types.is_list(kind):
            return pa.large_list(long(kind.value_type))
        known = {pa.string(): pa.large_string(), pa.float64(): pa.float32(), pa.int64(): pa.int16()}
        return known.get(kind, kind)

    table = pa.Table.from_pylist(rows_of(task))
    pq.write_table(table, tmp_path / "p.parquet")
    schema = pa.schema([(field.name, long(field.type)) for field in table.schema])
    pq.write_table(table.cast(schema), tmp_path / "q.parquet")
    assert evaluate(task, tmp_path / "q.parquet", tables) == evaluate(task, tmp_path / "p.parquet", tables)


def test_metadata_that_cannot_be_read_is_refused(tables: Path, tmp_path: Path) -> None:
    table = pa.Table.from_pylist(rows_of("vqa"))
    for text in (b"{", b"[]", b'{"count": 6}'):
        pq.write_table(table.replace_schema_metadata({KEY: text}), tmp_path / "p.parquet")
        with pytest.raises(InputError, match="its metadata `items` cannot be read"):
            evaluate("vqa", tmp_path / "p.parquet", tables)


def test_questions_without_answers_may_be_null_as_in_the_table(tables: Path, tmp_path: Path) -> None:
    """What only a server knows is null on both sides; the file alone may not be."""
    assert read_table(tables, "questions").num_rows == 10
    asked = [
        {**r, "answer_type": None, "answers": []} if r["image_id"] == "t/0" else r for r in _records()["questions"]
    ]
    write_table(tables, "questions", asked)
    rows = rows_of("vqa")
    rows[0] |= {"answer_type": None, "answers": []}
    found = evaluate("vqa", write(tmp_path / "p.parquet", "vqa", rows, tables, says=True), tables)
    assert [m.value for m in found if m.metric == "questions without answers"] == [1]
