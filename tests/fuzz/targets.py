"""What is damaged, and what must hold of the outcome. A target is a function of a folder and a damage: it gives
`read` or `refused`; an exception that is none of ours, or a value that was changed, is a fault."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
from hypothesis import strategies as st

from tests.data import corpora, published
from tests.fuzz.damage import CHANGES, CUTS, Change, Cut, changed, cut, to_text
from tests.regions import test_tsv_losses as tsv
from vlp.data.tables import SCHEMAS, read_table
from vlp.errors import VlpError

READ, REFUSED = "read", "refused"
Outcome = str


class Target(NamedTuple):
    damage: st.SearchStrategy[Any]
    check: Callable[[Path, Any], Outcome]


@cache
def _kept(name: str) -> Path:
    return Path(mkdtemp(prefix=f"vlp-fuzz-{name}-"))


def _files(root: Path) -> list[str]:
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())


def _damaged(source: Path, folder: Path, name: str, change: Change | Cut) -> Path:
    """A copy of `source` in `folder` with one file damaged; the others are linked."""
    root = folder / "raw"
    shutil.copytree(source, root, copy_function=os.link)
    data = (root / name).read_bytes()
    (root / name).unlink()
    if isinstance(change, Cut):
        new = cut(data, change)
    elif name.endswith(".jsonl"):
        lines = [json.loads(line) for line in data.splitlines()]
        new = b"".join(to_text(value) + b"\n" for value in _as_list(changed(lines, change)))
    else:
        new = to_text(changed(json.loads(data), change))
    (root / name).write_bytes(new)
    return root


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


# --- readers of annotation files


@cache
def _published() -> tuple[Path, dict[str, dict[str, Any]]]:
    from vlp.data.readers import read_experiment

    root = published.write(_kept("published") / "raw")
    out = _kept("published") / "tables"
    read_experiment(published.experiment(root), out)
    return root, _tables(out)


def _tables(folder: Path) -> dict[str, dict[str, Any]]:
    """`table/id` -> the row"""
    found: dict[str, dict[str, Any]] = {}
    for name, schema in SCHEMAS.items():
        for row in read_table(folder, name).to_pylist():
            found[f"{name}/{row[schema.names[0]]}"] = row
    return found


def _read_published(folder: Path, damage: tuple[int, Change | Cut, bool]) -> Outcome:
    """Rows of at most one image may change; what is gone is in the summary."""
    from vlp.data.readers import read_experiment

    at, change, coco = damage
    source, before = _published()
    names = [n for n in _files(source) if not n.startswith("images/")]
    if isinstance(change, Change):
        names = [n for n in names if n.endswith((".json", ".jsonl"))]
    name = names[at % len(names)]
    root = _damaged(source, folder, name, change)
    data: dict[str, Any] = {"captions": published.COCO_CAPTIONS, "phrase_boxes": None} if coco else {}
    try:
        summary = read_experiment(published.experiment(root, **data), folder / "out")
    except VlpError:
        return REFUSED
    after = _tables(folder / "out")
    if coco:
        return READ
    shared = [key for key in before if key in after]
    moved = {before[key]["image_id"] for key in shared if not _same(before[key], after[key])}
    if isinstance(change, Change) and "categories" not in name:
        assert len(moved) <= 1 or name.startswith("instances"), (name, change, moved)
    if len(shared) < len(before) and isinstance(change, Change) and change.kind != "remove":
        assert summary["skipped_counts"] or summary["changed_counts"] or summary["notes"] or len(after) > len(shared), (
            name, change, sorted(set(before) - set(after)),
        )  # fmt: skip
    for key in after:
        for value in after[key].values():
            numbers = np.ravel(np.array(value, dtype=object)) if isinstance(value, list) else ()
            assert all(np.isfinite(n) for n in numbers if isinstance(n, float)), (key, after[key])
    return READ


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(one[key] == other[key] for key in one)


@cache
def _corpora() -> Path:
    return corpora.write(_kept("corpora") / "raw")


def _read_corpora(folder: Path, damage: tuple[int, Change | Cut]) -> Outcome:
    from vlp.data.readers import read_experiment

    at, change = damage
    source = _corpora()
    names = [n for n in _files(source) if "/images/" not in n and not n.startswith("toy/")]
    if isinstance(change, Change):
        names = [n for n in names if n.endswith((".json", ".jsonl"))]
    name = names[at % len(names)]
    root = _damaged(source, folder, name, change)
    try:
        read_experiment(corpora.experiment(root, name.partition("/")[0]), folder / "out")
    except VlpError:
        return REFUSED
    _tables(folder / "out")
    return READ


# --- region files and stores


@cache
def _tsv_files() -> tuple[Path, dict[str, Any]]:
    folder = _kept("tsv") / "raw"
    tsv._files(folder)
    _, store = tsv._import(folder, [tsv._record(i) for i in range(tsv.IMAGES)])
    return folder, _regions(store)


def _regions(store: Any) -> dict[str, Any]:
    return {i: (store.regions(i), store.tags(i)) for i in store.image_ids}


def _import_tsv(folder: Path, damage: tuple[str, Cut | tuple[int, Change], bool]) -> Outcome:
    """At most one image's regions may differ, be gone, or lose their tags; what is gone is told."""
    name, change, alone = damage
    source, before = _tsv_files()
    root = folder / "tsv"
    root.mkdir()
    for file in ("features.tsv", "predictions.tsv"):
        shutil.copyfile(source / file, root / file)
    if isinstance(change, Cut):
        (root / name).write_bytes(cut((root / name).read_bytes(), change))
    else:
        row, inner = change
        lines = (root / "predictions.tsv").read_bytes().splitlines(keepends=True)
        row %= len(lines)
        number, _, text = lines[row].partition(b"\t")
        lines[row] = number + b"\t" + to_text(changed(json.loads(text), inner)) + b"\n"
        (root / "predictions.tsv").write_bytes(b"".join(lines))
    try:
        if alone:
            from vlp.images.decode import Skipped
            from vlp.regions.tsv_records import annotated

            records = annotated(root, "flickr30k", "train", Skipped("skip"), 1)
        else:
            records = [tsv._record(i) for i in range(tsv.IMAGES)]
        quality, store = tsv._import(root, records)
    except VlpError:
        return REFUSED
    after = _regions(store)
    if isinstance(change, Cut) or alone:
        return READ
    gone = set(before) - set(after)
    assert len(gone) <= 1 and gone == {s["image_id"] for s in quality["skipped"]}
    different = 0
    for image, (regions, tags) in after.items():
        own, own_tags = before[image]
        order = np.lexsort(regions.features.T), np.lexsort(own.features.T)
        np.testing.assert_array_equal(regions.features[order[0]], own.features[order[1]])
        np.testing.assert_array_equal(regions.boxes[order[0]], own.boxes[order[1]])
        assert all(tag.strip() == tag and tag and not tag.isdigit() for tag in tags)
        different += tags != own_tags
    assert different <= 1
    return READ


def _open_store(folder: Path, change: Cut) -> Outcome:
    """Bytes of a region store: it is refused, or whole, or `check_whole` names it."""
    from vlp.regions.store import RegionStore

    source, before = _tsv_files()
    path = folder / "r.h5"
    path.write_bytes(cut((source / "r.h5").read_bytes(), change))
    try:
        store = RegionStore(path)
        store.check_whole("Make it again.")
    except VlpError:
        return REFUSED
    for image, (regions, tags) in _regions(store).items():
        np.testing.assert_array_equal(regions.features, before[image][0].features)
        assert tags == before[image][1]
    return READ


# --- configs, predictions

CONFIGS = Path(__file__).parents[2] / "configs"


def _load_config(folder: Path, damage: tuple[str, Cut | tuple[str, Any]]) -> Outcome:
    from vlp.config import load

    name, change = damage
    path = folder / name
    shutil.copytree(CONFIGS, folder, dirs_exist_ok=True)
    overrides = [f"results={folder}/results", "data.root=raw", "regions.tsv=x"]
    if isinstance(change, Cut):
        path.write_bytes(cut(path.read_bytes(), change))
    else:
        key, value = change
        overrides.append(f"{key}={value}")
    try:
        load(path, overrides)
    except VlpError:
        return REFUSED
    return READ


_KEYS = (
    "data", "data.limit", "data.max_lost", "data.sets", "data.split.rename", "data.captions", "data.images", "seed",
    "name", "results", "model", "model.method", "pretraining", "pretraining.stage1.batch_size", "tasks", "tasks.vqa",
    "regions", "regions.extraction.shards", "launch", "launch.pretraining", "extends", "sources", "", "a.b.c", ".", "=",
)  # fmt: skip


_VALUES = (
    "[1", "{", "", "null", "-1", "1e999", ".nan", "[]", "{}", "*a", "&a 1", "!!python/x", "é", "\x00", "1" * 5000,
)  # fmt: skip


@cache
def _predictions() -> tuple[Path, Any]:
    import pyarrow as pa

    path = _kept("predictions") / "vqa.parquet"
    rows = [
        {"question_id": f"t/{i}", "image_id": "t/0", "answer_type": "other", "answer": "a", "answers": ["a"] * 10}
        for i in range(20)
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path, pq.read_table(path)


def _read_predictions(folder: Path, change: Cut) -> Outcome:
    from vlp.metrics.evaluation import read_predictions

    source, _ = _predictions()
    path = folder / "vqa.parquet"
    path.write_bytes(cut(source.read_bytes(), change))
    try:
        read_predictions(path, "vqa")
    except VlpError:
        return REFUSED
    return READ


# --- model directories


@cache
def _model() -> Path:
    from tests.tasks import lab

    folder = _kept("model")
    return lab.pretrained(lab.write(folder), folder / "model")


def _load_model(folder: Path, damage: tuple[int, Cut | Change]) -> Outcome:
    """Weights, words and phrases, as every command loads them: refused, or numbers that are finite."""
    import torch

    from vlp.methods.mvptr import directory
    from vlp.models.directory import check_words
    from vlp.phrases import tokenizer, vocabulary

    at, change = damage
    source = _model()
    names = [n for n in _files(source) if not n.endswith(".md")]
    if isinstance(change, Change):
        names = [n for n in names if n.endswith(".json")]
    root = _damaged(source, folder, names[at % len(names)], change)
    try:
        model = directory.load(root)
        check_words(model, root)
        tokenizer.load(root / "tokenizer")
        vocabulary.PhraseVocabulary.load(root / "phrases.json")
    except VlpError:
        return REFUSED
    assert all(bool(torch.isfinite(value).all()) for value in model.state_dict().values() if value.is_floating_point())
    return READ


TARGETS: dict[str, Target] = {
    "readers, JSON": Target(st.tuples(st.integers(0, 99), CHANGES, st.booleans()), _read_published),
    "readers, bytes": Target(st.tuples(st.integers(0, 99), CUTS, st.booleans()), _read_published),
    "web corpora, JSON": Target(st.tuples(st.integers(0, 99), CHANGES), _read_corpora),
    "web corpora, bytes": Target(st.tuples(st.integers(0, 99), CUTS), _read_corpora),
    "TSV, JSON": Target(
        st.tuples(st.just("predictions.tsv"), st.tuples(st.integers(0, 9), CHANGES), st.booleans()), _import_tsv
    ),
    "TSV, bytes": Target(
        st.tuples(st.sampled_from(["features.tsv", "predictions.tsv"]), CUTS, st.booleans()), _import_tsv
    ),
    "region store": Target(CUTS, _open_store),
    "config, bytes": Target(
        st.tuples(st.sampled_from(["smoke.yaml", "paper.yaml", "coco_mini.yaml"]), CUTS), _load_config
    ),
    "config, --set": Target(
        st.tuples(
            st.just("smoke.yaml"),
            st.tuples(
                st.sampled_from(_KEYS),
                st.sampled_from(_VALUES) | st.text(max_size=8),
            ),
        ),
        _load_config,
    ),
    "model, JSON": Target(st.tuples(st.integers(0, 99), CHANGES), _load_model),
    "model, bytes": Target(st.tuples(st.integers(0, 99), CUTS), _load_model),
    "predictions": Target(CUTS, _read_predictions),
}
