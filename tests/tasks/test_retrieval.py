"""Candidates, cached re-ranking, folds and the exhaustive ranking against direct loops; what selection may read."""

import inspect
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.tasks import lab as making
from vlp.batching.inputs import Inputs, Paths
from vlp.errors import InputError
from vlp.methods.mvptr.model import Mvptr
from vlp.methods.mvptr.reranking import UnimodalCache, groups
from vlp.methods.mvptr.start import new_model
from vlp.metrics import retrieval as metrics
from vlp.metrics.evaluation import evaluate
from vlp.tasks.base import Task
from vlp.tasks.classification import soft_score
from vlp.tasks.retrieval import Retrieval, candidates, fold_parts, joined


@given(st.integers(1, 5), st.integers(1, 6), st.integers(1, 8), st.integers(1, 8), st.integers(0, 99))
def test_candidates_are_the_best(images: int, texts: int, k_c: int, k_i: int, seed: int) -> None:
    """Also with k larger than the set, and with ties, which go by the second order, then to the lower index."""
    rng = np.random.Generator(np.random.PCG64(seed))
    first, second = rng.integers(0, 3, (2, images, texts)).astype(np.float32)
    for tied in (None, second):
        found = candidates(first, np.arange(images), np.arange(texts), k_c, k_i, tied)
        by = np.zeros_like(first) if tied is None else tied
        for i in range(images):
            want = sorted(range(texts), key=lambda s: (-first[i, s], -by[i, s], s))[:k_c]
            assert [s for j, s in found["i2t"].tolist() if j == i] == want
        for s in range(texts):
            want = sorted(range(images), key=lambda i: (-first[i, s], -by[i, s], i))[:k_i]
            assert [i for i, t in found["t2i"].tolist() if t == s] == want


def test_candidates_of_a_part_stay_in_it_and_joining_adds_only_what_is_new() -> None:
    score = np.arange(12, dtype=np.float32).reshape(3, 4)
    found = candidates(score, np.array([0, 2]), np.array([1, 3]), 1, 5)
    assert found["i2t"].tolist() == [[0, 3], [2, 3]]
    assert found["t2i"].tolist() == [[2, 1], [0, 1], [2, 3], [0, 3]]
    assert joined(found["i2t"], np.array([[2, 3], [2, 1]])).tolist() == [[0, 3], [2, 3], [2, 1]]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=60), st.integers(1, 100))
def test_groups_hold_every_pair_once_and_fit(lengths: list[int], positions: int) -> None:
    found = list(groups(np.array(lengths), positions))
    assert sorted(np.concatenate(found).tolist()) == list(range(len(lengths)))
    for group in found:
        longest = max(lengths[i] for i in group)
        assert len(group) == 1 or len(group) * longest <= positions


def task_and_model(paths: Paths, fusion: str = "separate", **settings: Any) -> tuple[Retrieval, Mvptr]:
    e = making.experiment(retrieval=settings)
    if fusion == "merged":
        value = e.model_dump(mode="json", exclude={"sources"})
        value["model"] |= {"fusion": "merged", "text_layers": 0, "visual_layers": 0}
        value["pretraining"] = {"stage1": None, "stage2": {**making.OPTIMISATION, "losses": ["mlm"]}}
        e = type(e).model_validate(value)
    inputs = Inputs(e, paths)
    torch.manual_seed(3)
    model = new_model(inputs).eval()
    for p in (p for p in model.parameters() if p.ndim == 2):  # fresh weights hardly tell pairs apart
        p.data.mul_(12.0)
    return Retrieval(inputs, e.tasks.retrieval, blind=False), model


def all_pairs(task: Retrieval, model: Mvptr, split: str) -> tuple[list[str], list[str], Any, Any]:
    """Every pair of the split encoded by itself, from its raw inputs: images, texts, match and cosine [I,S]."""
    rows, texts = task.rows(split), task.side.reader.texts
    images = sorted(set(task.image_ids(rows)))
    match, cosine = np.zeros((2, len(images), len(rows)))
    with torch.inference_mode():
        for i, image in enumerate(images):
            for s, row in enumerate(rows):
                one = task.side.reader(np.array([row]), [image])
                match[i, s] = float(model.itm_logits(model.joint(one)[-1]).softmax(-1)[0, 0])
                text, vector = model.contrast_vectors(model.unimodal(one))
                cosine[i, s] = float(text[0] @ vector[0])
    return images, [texts.ids[int(r)] for r in rows], match, cosine


@pytest.mark.parametrize("fusion", ["separate", "merged"])
def test_cached_scores_equal_scoring_from_scratch(fusion: str, lab: Paths) -> None:
    task, model = task_and_model(lab, fusion)
    images, _, match, cosine = all_pairs(task, model, "train")
    rows = task.rows("train")
    with torch.inference_mode():
        cache = UnimodalCache(model, task.side.reader, rows, images, batch_size=5)
        pairs = np.argwhere(np.ones_like(match))
        got = cache.match(pairs, positions=60)
    assert match.std() > 0.01 and got.reshape(match.shape) == pytest.approx(match, abs=1e-5)
    if fusion == "merged":
        assert cache.coarse_IS is None
    else:
        assert cache.coarse_IS == pytest.approx(cosine, abs=1e-5)


def test_pruned_rerank_equals_the_direct_protocol(lab: Paths) -> None:
    """Coarse candidates, each pair re-encoded and ranked in plain loops: the table is the same to 1e-5."""
    task, model = task_and_model(lab, captions_reranked=4, images_reranked=2)
    images, texts, match, cosine = all_pairs(task, model, "train")
    table = task.predict(model, "train")
    got = {(r["direction"], r["query_id"], r["candidate_id"]): r for r in table.to_pylist()}
    wanted = {}
    for i, image in enumerate(images):
        for s in sorted(range(len(texts)), key=lambda s: -cosine[i, s])[:4]:
            wanted["i2t", image, texts[s]] = (match[i, s], cosine[i, s], texts[s].startswith(image))
    for s, text in enumerate(texts):
        for i in sorted(range(len(images)), key=lambda i: -cosine[i, s])[:2]:
            wanted["t2i", text, images[i]] = (match[i, s], cosine[i, s], text.startswith(images[i]))
    assert got.keys() == wanted.keys()
    for key, (score, coarse, positive) in wanted.items():
        assert got[key]["score"] == pytest.approx(score, abs=1e-5)
        assert got[key]["coarse"] == pytest.approx(coarse, abs=1e-5) and got[key]["positive"] == positive


def test_both_captions_of_an_image_are_right_and_k_may_exceed_the_set(lab: Paths) -> None:
    task, model = task_and_model(lab, captions_reranked=99, images_reranked=99)
    table = task.predict(model, "train").to_pandas()
    right = table[table.positive].groupby(["direction", "query_id"]).size()
    assert (right["i2t"] == 2).all() and (right["t2i"] == 1).all() and len(table) == 2 * 6 * 12


def plain_recalls(order_IS: np.ndarray, images: list[str], texts: list[str]) -> dict[str, float]:
    found = {"TR": [], "IR": []}
    for i, image in enumerate(images):
        order = sorted(range(len(texts)), key=lambda s: -order_IS[i, s])
        found["TR"].append(next(n for n, s in enumerate(order) if texts[s].startswith(image)))
    for s, text in enumerate(texts):
        order = sorted(range(len(images)), key=lambda i: -order_IS[i, s])
        found["IR"].append(next(n for n, i in enumerate(order) if text.startswith(images[i])))
    return {f"{d}@{k}": 100 * float(np.mean(np.array(ranks) < k)) for d, ranks in found.items() for k in metrics.KS}


def test_exhaustive_ranking_agrees_with_a_loop_over_all_pairs(lab: Paths, tmp_path: Path) -> None:
    task, model = task_and_model(lab, captions_reranked=3, images_reranked=2, exhaustive=True)
    images, texts, match, _ = all_pairs(task, model, "train")
    pq.write_table(task.predict(model, "train"), tmp_path / "p.parquet")
    found = {(m.protocol, m.metric): m.value for m in evaluate("retrieval", tmp_path / "p.parquet", lab.tables)}
    wanted = plain_recalls(match, images, texts)
    for metric, value in wanted.items():
        assert found["all pairs scored", metric] == pytest.approx(value)
        kept = found["re-ranked k_c=3 k_i=2", metric]
        assert found["all pairs scored - re-ranked: lost by pruning", metric] == pytest.approx(value - kept)
    # Asking for the exhaustive ranking changes none of the other numbers.
    pruned, _ = task_and_model(lab, captions_reranked=3, images_reranked=2)
    pq.write_table(pruned.predict(model, "train"), tmp_path / "q.parquet")
    alone = {(m.protocol, m.metric): m.value for m in evaluate("retrieval", tmp_path / "q.parquet", lab.tables)}
    assert alone.items() <= found.items() and len(found) == 28 and len(alone) == 14


def test_folds_are_ranked_by_themselves_and_averaged(lab: Paths, tmp_path: Path) -> None:
    task, model = task_and_model(lab, captions_reranked=3, images_reranked=2, folds=3)
    images, texts, _, cosine = all_pairs(task, model, "train")
    table = task.predict(model, "train")
    pq.write_table(table, tmp_path / "p.parquet")
    found = {(m.protocol, m.metric): m for m in evaluate("retrieval", tmp_path / "p.parquet", lab.tables)}
    each = []
    for f in range(3):
        mine = images[2 * f : 2 * f + 2]
        at = [i for i, image in enumerate(images) if image in mine]
        own = [s for s, text in enumerate(texts) if text[:4] in mine]
        kept = {d: metrics.directions(table, f + 1)[d] for d in ("i2t", "t2i")}
        assert set(kept["i2t"].query) == set(mine) and set(kept["i2t"].candidate) <= {texts[s] for s in own}
        each.append(plain_recalls(cosine[np.ix_(at, own)], mine, [texts[s] for s in own]))
    protocol = "re-ranked k_c=3 k_i=2, mean of 3 folds of 2 images"
    for metric in each[0]:
        coarse = found[protocol.replace("re-ranked k_c=3 k_i=2", "unimodal"), f"Uni-{metric}"]
        assert coarse.value == pytest.approx(np.mean([e[metric] for e in each]))
        assert coarse.low is not None and coarse.low <= coarse.value <= coarse.high  # type: ignore[operator]
    assert found[protocol, "TR@1"].chance == 50.0 and found[protocol, "IR@1"].n == len(texts)


def test_unequal_folds_are_refused() -> None:
    with pytest.raises(InputError, match="7 images make no 5 equal folds"):
        list(fold_parts(np.arange(7), 7, 5))


def test_selection_reads_val_and_cannot_be_told_otherwise() -> None:
    asked: list[str] = []
    spy = SimpleNamespace(predict=lambda model, split: asked.append(split))
    Task.selection_predictions(spy, None)  # type: ignore[arg-type]
    config = SimpleNamespace(captions_reranked=4, images_reranked=4)
    spy = SimpleNamespace(_predict=lambda model, split, k_c, k_i: asked.append(split), config=config)
    Retrieval.selection_predictions(spy, None)  # type: ignore[arg-type]
    assert asked == ["val", "val"]
    for kind in (Task, Retrieval):
        assert list(inspect.signature(kind.selection_predictions).parameters) == ["self", "model"]


def test_soft_scores() -> None:
    assert [soft_score(n) for n in (0, 1, 2, 3, 4, 10)] == [0.0, 0.3, 0.6, 0.9, 1.0, 1.0]
