"""Candidates and cached re-ranking against direct loops; what selection may read."""

import inspect
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.models.tiny import architecture, batch
from vlp.batching.batch import Batch
from vlp.models.mvptr import Mvptr
from vlp.tasks.base import Task
from vlp.tasks.classification import soft_score
from vlp.tasks.retrieval import Retrieval, UnimodalCache, candidates


@given(st.integers(1, 5), st.integers(1, 6), st.integers(1, 8), st.integers(1, 8), st.integers(0, 99))
def test_candidates_are_the_best(images: int, texts: int, k_c: int, k_i: int, seed: int) -> None:
    """Also with k larger than the set, and with ties, which go to the lower index."""
    coarse = torch.from_numpy(np.random.Generator(np.random.PCG64(seed)).integers(0, 3, (images, texts)).astype(float))
    of_image, of_text = candidates(coarse, k_c, k_i)
    for i in range(images):
        want = sorted(range(texts), key=lambda s: (-float(coarse[i, s]), s))[:k_c]
        assert [s for j, s in of_image.tolist() if j == i] == want
    for s in range(texts):
        want = sorted(range(images), key=lambda i: (-float(coarse[i, s]), i))[:k_i]
        assert [i for i, t in of_text.tolist() if t == s] == want


class FakeTask:
    """Hands out rows of one fixed batch: text r, and the image that it is asked for."""

    def __init__(self, whole: Batch, owner: list[str]) -> None:
        self.whole, self.owner = whole, owner
        self.collator = self

    def text_lengths(self, rows: np.ndarray) -> np.ndarray:
        return self.whole.text_mask_BL[rows].sum(1).numpy()

    def image_ids(self, rows: np.ndarray) -> list[str]:
        return [self.owner[int(r)] for r in rows]

    def __call__(self, rows: np.ndarray, images: list[str]) -> Batch:
        w, texts = self.whole, torch.as_tensor(rows)
        pictures = torch.tensor([int(i) for i in images])
        return Batch(
            w.text_ids_BL[texts],
            w.text_mask_BL[texts],
            w.tag_ids_BT[pictures],
            w.tag_mask_BT[pictures],
            w.regions_BRF[pictures],
            w.region_mask_BR[pictures],
            w.phrase_positions_BP[texts],
            w.phrase_mask_BP[texts],
            pictures,
            texts,
        )


@pytest.mark.parametrize("fusion", ["separate", "merged"])
def test_cached_scores_equal_scoring_from_scratch(fusion: str) -> None:
    torch.manual_seed(0)
    none = {"fusion": fusion} | ({"text_layers": 0, "visual_layers": 0} if fusion == "merged" else {})
    model = Mvptr(architecture().model_copy(update=none)).eval()
    whole = batch(size=5)
    task = FakeTask(whole, ["0", "0", "1", "1", "2"])
    with torch.inference_mode():
        cache = UnimodalCache(task, model, np.arange(5), batch_size=2)  # type: ignore[arg-type]
        pairs = np.array([(i, s) for i in range(3) for s in range(5)])
        got = cache.match_probabilities(pairs, batch_size=4)
        for (i, s), value in zip(pairs.tolist(), got, strict=True):
            one = task(np.array([s]), [str(i)])
            last = model.joint(one)[-1]
            assert value == pytest.approx(float(model.itm_logits(last).softmax(-1)[0, 0]), abs=1e-5)
            if fusion == "merged":
                assert float(cache.coarse_IS[i, s]) == 0
                continue
            text, image = model.contrast_vectors(model.unimodal(one))
            assert float(cache.coarse_IS[i, s]) == pytest.approx(float(text @ image.T), abs=1e-5)
    assert cache.image_of_row == [0, 0, 1, 1, 2]


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
