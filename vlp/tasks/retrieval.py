"""Image-text retrieval: coarse by the unimodal encoders, re-ranked by the multimodal one (paper 4.2.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from vlp.batching.batch import Batch
from vlp.batching.collate import add_negative_noise
from vlp.models.mvptr import Mvptr
from vlp.objectives.classification import MATCH
from vlp.tasks.base import Task, device_of
from vlp.tasks.metrics.retrieval import NO_COARSE
from vlp.training.schedule import hardness, steps
from vlp.training.steps import RetrievalStep

if TYPE_CHECKING:
    import pyarrow as pa

SELECTION_DEPTH = 16


class Retrieval(Task):
    """Texts against the images of one split. An image's states are computed once, and so are a text's."""

    name, texts = "retrieval", "captions"

    def step(self, model: Mvptr) -> torch.nn.Module:
        return RetrievalStep(model, self.config.optimisation.contrast_group)

    def train_batch(self, rows: np.ndarray, step: int, rank: int) -> Batch:
        o = self.config.optimisation
        h = hardness(o, step, steps(o, len(self.rows("train"))))
        return add_negative_noise(self.collator(rows, self.image_ids(rows)), self.seed, step, rank, h)

    def predict(self, model: Mvptr, split: str) -> pa.Table:
        return self._predict(model, split, self.config.captions_reranked, self.config.images_reranked)

    def selection_predictions(self, model: Mvptr) -> pa.Table:
        """Shallower than the final ranking: it only has to order checkpoints."""
        depth = SELECTION_DEPTH
        return self._predict(
            model, "val", min(depth, self.config.captions_reranked), min(depth, self.config.images_reranked)
        )

    def score(self, predictions: pa.Table) -> float:
        from vlp.tasks.metrics.retrieval import recalls

        return recalls(predictions)["RSUM"]

    @torch.inference_mode()
    def _predict(self, model: Mvptr, split: str, k_c: int, k_i: int) -> pa.Table:
        rows = self.rows(split)
        cache = UnimodalCache(self, model, rows)
        if model.merged:
            # Nothing orders candidates cheaply: every pair is scored.
            k_c, k_i = len(rows), len(cache.images)
        text_of_image, image_of_text = candidates(cache.coarse_IS, k_c, k_i)
        pairs = np.unique(np.concatenate([text_of_image, image_of_text]), axis=0)
        score = dict(zip(map(tuple, pairs.tolist()), cache.match_probabilities(pairs).tolist(), strict=True))
        return self._table(cache, rows, text_of_image, image_of_text, score)

    def _table(self, cache: UnimodalCache, rows: np.ndarray, text_of_image, image_of_text, score) -> pa.Table:
        import pyarrow as pa

        texts, coarse = self.collator.texts, cache.coarse_IS.cpu().numpy()
        ids = [texts.ids[int(r)] for r in rows]
        columns: dict[str, list] = {
            k: [] for k in ("direction", "query_id", "candidate_id", "coarse", "score", "positive")
        }
        for direction, pairs in (("i2t", text_of_image), ("t2i", image_of_text)):
            for i, s in pairs.tolist():
                image, text = cache.images[i], ids[s]
                columns["direction"].append(direction)
                columns["query_id"].append(image if direction == "i2t" else text)
                columns["candidate_id"].append(text if direction == "i2t" else image)
                columns["coarse"].append(float(coarse[i, s]))
                columns["score"].append(score[i, s])
                columns["positive"].append(cache.image_of_row[s] == i)
        said = {b"num_texts": str(len(ids)), b"num_images": str(len(cache.images))}
        said |= {NO_COARSE: "merged attention"} if cache.model.merged else {}
        return pa.table(columns).replace_schema_metadata(said)


def candidates(coarse_IS: Tensor, k_c: int, k_i: int) -> tuple[np.ndarray, np.ndarray]:
    """(image, text) pairs to re-rank: the k_c best texts of each image, the k_i best images of each text.

    Ties go to the lower index, so the result does not depend on the sort's mood.
    """

    def best(x: Tensor, k: int) -> np.ndarray:
        order = torch.sort(x, dim=1, descending=True, stable=True).indices
        return order[:, : min(k, x.shape[1])].cpu().numpy()

    texts, images = best(coarse_IS, k_c), best(coarse_IS.T, k_i)
    of_image = np.stack([np.repeat(np.arange(len(texts)), texts.shape[1]), texts.ravel()], 1)
    of_text = np.stack([images.ravel(), np.repeat(np.arange(len(images)), images.shape[1])], 1)
    return of_image, of_text


class UnimodalCache:
    """Unimodal states of a split: the re-ranker needs only the multimodal layers for each pair.

    With merged attention these are the embedded inputs, tags among them, and `coarse_IS` is zero.
    """

    def __init__(self, task: Retrieval, model: Mvptr, rows: np.ndarray, batch_size: int = 128) -> None:
        self.model = model
        device = device_of(model)
        owners = task.image_ids(rows)
        self.images = sorted(set(owners))
        number = {image: i for i, image in enumerate(self.images)}
        self.image_of_row = [number[o] for o in owners]
        self.text_states: list[Tensor] = [torch.empty(0)] * len(rows)
        self.image_states: list[Tensor] = [torch.empty(0)] * len(self.images)
        self.tag_states = list(self.image_states)
        texts = torch.empty(len(rows), model.architecture.hidden_size, device=device)
        images = torch.empty(len(self.images), model.architecture.hidden_size, device=device)
        order = np.argsort(task.collator.text_lengths(rows), kind="stable")
        for at in np.array_split(order, max(1, len(order) // batch_size)):
            batch = task.collator(rows[at], [owners[a] for a in at]).to(device)
            states = model.encode_text(batch)
            texts[at] = torch.nn.functional.normalize(model.text_projection(states[:, 0]), dim=-1)
            for a, state, mask in zip(at, states, batch.text_mask_BL, strict=True):
                self.text_states[a] = state[mask]
        for at in np.array_split(np.arange(len(self.images)), max(1, len(self.images) // batch_size)):
            # Any text will do: the visual sequence does not depend on it.
            batch = task.collator(np.repeat(rows[:1], len(at)), [self.images[a] for a in at]).to(device)
            states = model.encode_image(batch)
            images[at] = torch.nn.functional.normalize(model.visual_projection(states[:, 0]), dim=-1)
            tags, regions = states.split([batch.tag_ids_BT.shape[1], batch.regions_BRF.shape[1]], dim=1)
            for a, state, mask in zip(at, regions, batch.region_mask_BR, strict=True):
                self.image_states[a] = state[mask]
            for a, state, mask in zip(at, tags, batch.tag_mask_BT, strict=True):
                self.tag_states[a] = state[mask]
        self.coarse_IS = images @ texts.T if not model.merged else torch.zeros(len(images), len(texts))

    def match_probabilities(self, pairs: np.ndarray, batch_size: int = 512) -> np.ndarray:
        """ITM probability of each (image, text) pair; pairs of similar length share a batch."""
        length = np.array([len(self.text_states[s]) + len(self.image_states[i]) for i, s in pairs])
        order, result = np.argsort(length, kind="stable"), np.empty(len(pairs), np.float64)
        for begin in range(0, len(order), batch_size):
            at = order[begin : begin + batch_size]
            text, text_mask = _pad([self.text_states[s] for s in pairs[at, 1]])
            regions, region_mask = _pad([self.image_states[i] for i in pairs[at, 0]])
            tags = _pad([self.tag_states[i] for i in pairs[at, 0]]) if self.model.merged else (None, None)
            last = self.model.multimodal(text, text_mask, regions, region_mask, *tags, cls_only=True)[-1]
            result[at] = self.model.itm_logits(last).float().softmax(-1)[:, MATCH].cpu().numpy()
        return result


def _pad(states: list[Tensor]) -> tuple[Tensor, Tensor]:
    padded = torch.nn.utils.rnn.pad_sequence(states, batch_first=True)
    lengths = torch.tensor([len(s) for s in states], device=padded.device)
    return padded, torch.arange(padded.shape[1], device=padded.device) < lengths[:, None]
