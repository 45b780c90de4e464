"""Unimodal states once for each image and text, the multimodal encoder on pairs of them (paper 4.2.1)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from vlp.methods.mvptr.model import Mvptr
from vlp.models.device import device_of
from vlp.objectives.classification import MATCH

if TYPE_CHECKING:
    from vlp.methods.mvptr.reader import Collator

POSITIONS = 16_384
"""Sequence positions of one multimodal pass, all pairs together."""


class Ragged:
    """The valid states of N sequences, end to end: what `add` was given, found again by row."""

    def __init__(self, rows: int) -> None:
        self.parts: list[Tensor] = []
        self.size = 0
        self.start_N, self.count_N = np.zeros(rows, np.int64), np.zeros(rows, np.int64)

    def add(self, rows: np.ndarray, states_BLD: Tensor, mask_BL: Tensor) -> None:
        count = mask_BL.sum(1).cpu().numpy()
        self.start_N[rows], self.count_N[rows] = self.size + np.cumsum(count) - count, count
        self.parts.append(states_BLD[mask_BL])
        self.size += len(self.parts[-1])


class UnimodalCache:
    """Unimodal states of texts and images: the re-ranker then needs only the multimodal layers for each pair.

    With merged attention these are the embedded inputs, tags among them, and there is no `coarse_IS`.
    """

    def __init__(
        self, model: Mvptr, collator: Collator, rows: np.ndarray, images: Sequence[str], batch_size: int = 128
    ) -> None:
        """
        Args:
            rows: the texts, rows of the collator's text set.
            images: the images' ids.
        """
        self.model, self.images = model, list(images)
        self.texts, self.regions = Ragged(len(rows)), Ragged(len(self.images))
        self.tags = Ragged(len(self.images))
        texts_SD = self._encode_texts(collator, rows, batch_size)
        images_ID = self._encode_images(collator, batch_size)
        parts = [self.texts, self.regions, *([self.tags] if model.merged else [])]
        self._flat_ND = torch.cat([state for part in parts for state in part.parts])
        at = 0
        for part in parts:
            part.start_N += at
            at += part.size
            part.parts.clear()
        self.coarse_IS: np.ndarray | None = None if model.merged else (images_ID @ texts_SD.T).float().cpu().numpy()
        """Cosine of each image with each text."""

    def _encode_texts(self, collator: Collator, rows: np.ndarray, size: int) -> Tensor:
        """Global vectors [S,D]; texts of similar length together."""
        m, device = self.model, device_of(self.model)
        vectors = torch.empty(len(rows), m.architecture.hidden_size, device=device)
        order = np.argsort(collator.sizes(rows), kind="stable")
        for at in np.array_split(order, max(1, -(-len(order) // size))):
            batch = collator.of_texts(rows[at]).to(device)
            states = m.encode_text(batch)
            vectors[torch.as_tensor(at, device=device)] = normalised(m.text_projection(states[:, 0])).float()
            self.texts.add(at, states, batch.text_mask_BL)
        return vectors

    def _encode_images(self, collator: Collator, size: int) -> Tensor:
        """Global vectors [I,D]."""
        m, device = self.model, device_of(self.model)
        vectors = torch.empty(len(self.images), m.architecture.hidden_size, device=device)
        order = np.arange(len(self.images))
        for at in np.array_split(order, max(1, -(-len(order) // size))):
            batch = collator.of_images([self.images[a] for a in at]).to(device)
            states = m.encode_image(batch)
            vectors[torch.as_tensor(at, device=device)] = normalised(m.visual_projection(states[:, 0])).float()
            tags, regions = states.split([batch.tag_ids_BT.shape[1], batch.regions_BRF.shape[1]], dim=1)
            self.regions.add(at, regions, batch.region_mask_BR)
            if m.merged:
                self.tags.add(at, tags, batch.tag_mask_BT)
        return vectors

    def match(self, pairs_N2: np.ndarray, positions: int = POSITIONS) -> np.ndarray:
        """ITM probability [N] of each (image, text) pair: only the multimodal layers run, the last one for [CLS] alone.

        Pairs of equal length stand together and each is laid without a gap, so that next to nothing is padding.
        """
        parts = [(self.texts, pairs_N2[:, 1]), (self.regions, pairs_N2[:, 0])]
        parts += [(self.tags, pairs_N2[:, 0])] if self.model.merged else []
        start_NP = np.stack([part.start_N[rows] for part, rows in parts], 1)
        count_NP = np.stack([part.count_N[rows] for part, rows in parts], 1)
        length_N = count_NP.sum(1)
        result = np.empty(len(pairs_N2), np.float32)
        for at in groups(length_N, positions):
            x_BLD, mask_BL = self._gather(start_NP[at], count_NP[at])
            none = x_BLD[:, :0], mask_BL[:, :0]
            last = self.model.multimodal(x_BLD, mask_BL, *none, *(none if self.model.merged else ()), cls_only=True)[-1]
            result[at] = self.model.itm_logits(last).float().softmax(-1)[:, MATCH].cpu().numpy()
        return result

    def _gather(self, start_BP: np.ndarray, count_BP: np.ndarray) -> tuple[Tensor, Tensor]:
        """B sequences, each of P runs of the flat states end to end: [B,L,D] and what of it is valid."""
        place_L = np.arange(count_BP.sum(1).max())
        index_BL, before_B1 = np.zeros((len(start_BP), len(place_L)), np.int64), np.zeros((len(start_BP), 1), np.int64)
        for start_B, count_B in zip(start_BP.T, count_BP.T, strict=True):
            here = (place_L >= before_B1) & (place_L < before_B1 + count_B[:, None])
            index_BL = np.where(here, start_B[:, None] + place_L - before_B1, index_BL)
            before_B1 = before_B1 + count_B[:, None]
        device = self._flat_ND.device
        mask_BL = torch.from_numpy(place_L < before_B1).to(device)
        return self._flat_ND[torch.from_numpy(index_BL).to(device)], mask_BL


def normalised(x_BD: Tensor) -> Tensor:
    return torch.nn.functional.normalize(x_BD, dim=-1)


def groups(length_N: np.ndarray, positions: int) -> Iterator[np.ndarray]:
    """Indices in order of length, cut so that a group padded to its longest has at most `positions` positions."""
    order = np.argsort(length_N, kind="stable")
    begin = 0
    while begin < len(order):
        end = begin + max(1, positions // int(length_N[order[begin]]))
        # The group's longest is its last; shrink until it fits, which lengths so alike do at once.
        while end > begin + 1 and int(length_N[order[min(end, len(order)) - 1]]) * (end - begin) > positions:
            end = begin + max(1, positions // int(length_N[order[min(end, len(order)) - 1]]))
        yield order[begin:end]
        begin = end
