"""The batch: what the collator makes and the model reads."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vlp.batching import batch as batching


@dataclass
class Texts(batching.Batch):
    """One side of a `Batch`, by the same names: texts without images."""

    text_ids_BL: Tensor
    text_mask_BL: Tensor

    def __len__(self) -> int:
        return self.text_ids_BL.shape[0]


@dataclass
class Images(batching.Batch):
    """The other side: images without texts."""

    tag_ids_BT: Tensor
    tag_mask_BT: Tensor
    regions_BRF: Tensor
    region_mask_BR: Tensor

    def __len__(self) -> int:
        return self.tag_ids_BT.shape[0]


@dataclass
class Batch(batching.Batch):
    """B samples; L text positions, T tag positions, R regions, F = D + 6 region numbers, P phrases.

    Text is `[CLS] words phrases [SEP] pad`, tags `[CLS] tags [SEP] pad`; masks are True at valid positions.
    The targets stand in flat form: M masked positions, with their sample, position, label and concept number.
    """

    text_ids_BL: Tensor
    text_mask_BL: Tensor
    tag_ids_BT: Tensor
    tag_mask_BT: Tensor
    regions_BRF: Tensor
    region_mask_BR: Tensor
    phrase_positions_BP: Tensor
    """Position of each phrase in the text sequence; 0 where there is none."""
    phrase_mask_BP: Tensor
    image_B: Tensor
    """A number per image: equal numbers are the same image."""
    text_B: Tensor
    """A number per text: equal numbers are equal texts."""
    matchable_B: Tensor | None = None
    """False where the text does not describe the image (a question): such samples take no part in VSC, ITM and WPG, but
    in MCR and MLM. None: all match."""
    words: Targets | None = None
    phrases: Targets | None = None
    tags: Targets | None = None
    gumbel_2BG: Tensor | None = None
    """Noise for drawing hard negatives, [2, B, B]: of images, of texts; -inf where nothing may be drawn."""
    hardness: Tensor | None = None
    """Negatives are drawn from p to this power: 1 is the paper's p, 0 uniform."""
    replace_image_B: Tensor | None = None
    """True where the negative pair keeps the text and gets another image: ceil(B/2) samples."""
    labels_B: Tensor | None = None
    scores_BA: Tensor | None = None
    """VQA: soft score of each answer."""
    span_mask_BGL: Tensor | None = None
    """Grounding: text positions of each of G phrases."""
    iou_BGR: Tensor | None = None
    grounded_BG: Tensor | None = None
    """Grounding: True for phrases that have a box."""

    def __len__(self) -> int:
        return self.text_ids_BL.shape[0]


@dataclass
class Targets:
    """M masked positions. `concept_M` numbers the masked concepts: all pieces of a tag share one number.

    Sample and concept numbers stay on the host, where the matching problems are made; `row_M` is the sample number
    on the device.
    """

    sample_M: Tensor
    position_M: Tensor
    label_M: Tensor
    concept_M: Tensor
    row_M: Tensor | None = None

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Targets:
        return Targets(
            self.sample_M,
            self.position_M.to(device, non_blocking=non_blocking),
            self.label_M.to(device, non_blocking=non_blocking),
            self.concept_M,
            self.sample_M.to(device, non_blocking=non_blocking),
        )

    def pin_memory(self) -> Targets:
        """Of what goes to the device."""
        row = None if self.row_M is None else self.row_M.pin_memory()
        position, label = self.position_M.pin_memory(), self.label_M.pin_memory()
        return Targets(self.sample_M.pin_memory(), position, label, self.concept_M, row)

    def gather(self, states_BND: Tensor) -> Tensor:
        """Rows [M,D] of the masked positions."""
        return states_BND[self.sample_M if self.row_M is None else self.row_M, self.position_M]
