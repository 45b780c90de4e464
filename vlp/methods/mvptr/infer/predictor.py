"""What a model directory of MVPTR says of raw images and texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from vlp.batching.vocabulary import Vocabulary
from vlp.config.tasks.entailment import LABELS
from vlp.errors import InputError
from vlp.files import read_json
from vlp.finite import demand
from vlp.methods.answers import Box, Filled, Grounded, GroundedConcept, Said, does
from vlp.methods.mvptr import directory
from vlp.methods.mvptr.batch import Batch
from vlp.methods.mvptr.config import Lengths
from vlp.methods.mvptr.infer.image import (
    Detectors,
    Gallery,
    OneImage,
    Store,
    Tags,
    check_store,
    detect,
    scale_between,
)
from vlp.methods.mvptr.infer.text import Reader, Text, text_set
from vlp.methods.mvptr.model import Mvptr
from vlp.methods.mvptr.reader import Collator
from vlp.methods.mvptr.reading import Reading, read_from
from vlp.methods.mvptr.reranking import UnimodalCache
from vlp.methods.mvptr.steps import span_similarity
from vlp.models.device import device_of
from vlp.objectives.classification import MATCH
from vlp.phrases.vocabulary import PhraseVocabulary

if TYPE_CHECKING:
    from PIL.Image import Image

    from vlp.regions.store import RegionStore

PRETRAINING = ("mcr_visual", "mcr_text", "vsc", "mlm", "itm", "wpg")
TRAINED_BY = {
    "words": {"mlm"},
    "match": {"itm", "retrieval"},
    "cosine": {"vsc", "retrieval"},
    "phrases": {"wpg", "grounding"},
    "concepts": {"wpg"},
    "answers": {"vqa"},
    "entailment": {"entailment"},
}
"""Part of an answer -> the objectives of which one must have been trained for it (`inputs.json`)."""


class Predictor:
    """Fills masks, scores the match and grounds phrases; or answers, or tells entailment.

    A phrase is read as in the task `grounding`: from its phrase concepts, else from its words, at WPG's layer; by a
    model fine-tuned for grounding from its words, at the layer of the fine-tuning. Its box is that of the region with
    the best cosine.
    """

    remedy = "; one after stage 2 fills, scores and grounds"

    def __init__(self, folder: Path, detector: Path | None = None) -> None:
        self.folder = folder
        self._record: dict[str, Any] = read_json(folder / "inputs.json")
        self._detectors = Detectors(folder, self._record, detector)
        self.model: Mvptr = directory.load(folder).float().eval()
        self.model.to("cuda" if torch.cuda.is_available() else "cpu")
        self._lengths = Lengths.model_validate(self._record["lengths"])
        rows = self.model.architecture.head_size
        self._answers = self._record.get("answers") or [f"answer {i}" for i in range(rows)]
        if self.model.architecture.head == "vqa" and len(self._answers) != rows:
            problem = f"lists {len(self._answers)} answers, the model's head has {rows} rows."
            raise InputError(folder / "inputs.json", problem, "Take the file that the model was saved with.")

    @property
    def abilities(self) -> frozenset[str]:
        head = self.model.architecture.head
        # A directory that does not tell (an imported checkpoint) has the pre-training heads, or its task's.
        trained = set(self._record.get("objectives") or ([head] if head else PRETRAINING))
        return frozenset(name for name, objectives in TRAINED_BY.items() if objectives & trained)

    @property
    def reading(self) -> Reading:
        """The states that phrases are read from."""
        layer = self._record.get("grounding_layer")
        if layer is not None:
            return Reading(layer, "tokens")
        return Reading(self.model.architecture.grounding_layer, "concepts")

    def answer(
        self, picture: Image | None, name: str, text: str, regions: str | Path | None, image_id: str | None, top_k: int
    ) -> Said:
        seen = self._reader(text)
        store, name, scale = self._store(picture, name, regions, image_id)
        collator = self._collator([seen], store)
        batch = collator(np.zeros(1, np.int64), [name])
        return Said(seen.text, self._answer(seen, store, collator, batch, name, top_k), _notes(seen), scale)

    def batch(self, picture: Image, text: str) -> Batch:
        return self._collator([self._reader(text)], self.see(picture))(np.zeros(1, int), [""])

    # -- search -----------------------------------------------------------------------------------------------
    def see(self, picture: Image) -> OneImage:
        """The regions of a picture by the model's detector."""
        return detect(self._detectors.detector, picture)

    def gallery(self, seen: Mapping[str, OneImage]) -> Gallery:
        return Gallery(seen)

    def open(self, regions: Path) -> RegionStore:
        """Raises InputError: it is of another detector than the model's."""
        from vlp.regions.store import RegionStore

        store = RegionStore(regions)
        check_store(store, self._record)
        return store

    def scorer(self, texts: Sequence[str], gallery: Store, images: Sequence[str]) -> UnimodalCache:
        collator = self._collator([self._reader(t) for t in texts], gallery)
        return UnimodalCache(self.model, collator, np.arange(len(texts)), images)

    # -- inputs -----------------------------------------------------------------------------------------------
    @cached_property
    def tokenizer(self) -> Any:
        from vlp.phrases.tokenizer import load

        return load(self.folder / "tokenizer")

    @cached_property
    def _phrases(self) -> PhraseVocabulary:
        return PhraseVocabulary.load(self.folder / "phrases.json")

    @cached_property
    def _reader(self) -> Reader:
        from vlp.phrases.parser import SceneGraphParser

        use_phrases = self.model.architecture.use_phrases
        parser = SceneGraphParser(self._record["parser"])
        return Reader(parser, self.tokenizer, self._phrases, self._lengths, use_phrases)

    def _store(
        self, picture: Image | None, name: str, regions: str | Path | None, image_id: str | None
    ) -> tuple[Store, str, tuple[float, float]]:
        """The store, the image's id in it, and what takes its pixels to the picture's."""
        from vlp.regions.store import RegionStore

        if regions is None:
            if picture is None:
                raise InputError("image", "none is given.", "Give --image, or --regions with --image-id.")
            return detect(self._detectors.detector, picture), name, (1.0, 1.0)
        if image_id is None:
            raise InputError(regions, "which image of the store?", "Give --image-id.")
        store: RegionStore = RegionStore(regions)
        check_store(store, self._record)
        stored_id = store.named(image_id)
        scale = scale_between(store.image_size(stored_id), picture, name) if picture is not None else (1.0, 1.0)
        return store, stored_id, scale

    def _collator(self, texts: Sequence[Text], store: Store) -> Collator:
        a = self.model.architecture
        vocabulary = Vocabulary.of(self.folder / "tokenizer" / "tokenizer.json", self._phrases.rows)
        tags: Any = Tags(store, self.tokenizer)
        stored: Any = store
        return Collator(tags, text_set(texts), stored, vocabulary, self._lengths, a.use_phrases, a.use_tags)

    # -- answers ----------------------------------------------------------------------------------------------
    @torch.inference_mode()
    def _answer(
        self, seen: Text, store: Store, collator: Collator, batch: Batch, name: str, top_k: int
    ) -> dict[str, Any]:
        can, m = self.abilities, self.model
        batch = batch.to(device_of(m))
        found: dict[str, Any] = {}
        layers = m.joint(batch)
        last = layers[-1]
        self._demand_finite(last, "states", name)  # of the others' NaN it has some too
        masks = np.flatnonzero(seen.tokens == collator.vocabulary.mask)
        if "words" in can:
            found["words"] = self._fill(last[0, masks + 1], seen, masks, top_k)
        elif len(masks):
            raise InputError(self.folder, f"this model fills no masks: it {does(can)}.", "Use a model of stage 2.")
        if "match" in can:
            found["match"] = float(m.itm_logits(last).float().softmax(-1)[0, MATCH])
        if "cosine" in can:
            text, image = m.contrast_vectors(m.unimodal(batch))
            found["cosine"] = float((text * image).sum())
        if "phrases" in can:
            found |= self._ground(layers, seen, store, collator, batch, name, "concepts" in can)
        if "answers" in can:
            logits_BA = m.answer_logits(last).float()
            self._demand_finite(logits_BA, "answers' scores", name)  # of an infinite one the sigmoid makes a sure 1
            best = logits_BA.sigmoid()[0].topk(min(top_k, m.architecture.head_size))
            found["answers"] = [
                (self._answers[i], p) for p, i in zip(best.values.tolist(), best.indices.tolist(), strict=True)
            ]
        if "entailment" in can:
            p = m.class_logits(last).float().softmax(-1)[0].tolist()
            found["entailment"] = dict(zip(LABELS, p, strict=True))
        return found

    def _demand_finite(self, values: Tensor, what: str, name: str) -> None:
        """Raises InputError: a number is not finite, so that no answer can be chosen."""
        demand(values, self.folder, f"its {what}", "Look at the model, and at the image's regions.", row=name)

    def _fill(self, states_MD: Tensor, seen: Text, masks: np.ndarray, top_k: int) -> list[Filled]:
        best = self.model.mlm_logits(states_MD).float().softmax(-1).topk(top_k)
        filled = []
        for mask, p, ids in zip(masks, best.values.tolist(), best.indices.tolist(), strict=True):
            pieces = self.tokenizer.convert_ids_to_tokens(ids)
            filled.append(Filled(int(seen.spans[mask, 0]), tuple(zip(pieces, p, strict=True))))
        return filled

    def _ground(
        self,
        layers: list[Tensor],
        seen: Text,
        store: Store,
        collator: Collator,
        batch: Batch,
        name: str,
        with_concepts: bool,
    ) -> dict[str, Any]:
        reading, length, regions = self.reading, batch.text_ids_BL.shape[1], store.regions(name, self._lengths.regions)
        at = [read_from(collator, 0, (p.start, p.end), reading.source) for p in seen.noun_phrases]
        concepts = seen.concepts if with_concepts else ()
        at += [np.array([len(seen.tokens) + 1 + c]) for c in range(len(concepts))]
        spans = torch.zeros(1, len(at), length, dtype=torch.bool, device=batch.text_ids_BL.device)
        for g, positions in enumerate(at):
            spans[0, g, positions] = True
        if not at or not len(regions):
            return {"phrases": [], **({"concepts": []} if with_concepts else {})}
        cosine = span_similarity(layers[reading.layer - 1], length, spans, batch.region_mask_BR)[0]
        scores, chosen = (x.tolist() for x in cosine.max(-1))
        boxes: list[Box] = [tuple(map(float, b)) for b in regions.boxes[chosen]]  # type: ignore[misc]
        classes = [store.class_names[c] if c >= 0 else None for c in regions.classes[chosen].tolist()]
        n = len(seen.noun_phrases)
        phrases = [
            Grounded(p.text, p.start, p.end, boxes[g], scores[g], chosen[g], classes[g])
            for g, p in enumerate(seen.noun_phrases)
        ]
        grounded = [
            GroundedConcept(c.parts, c.kind, boxes[n + g], scores[n + g], chosen[n + g]) for g, c in enumerate(concepts)
        ]
        return {"phrases": phrases, **({"concepts": grounded} if with_concepts else {})}


def _notes(seen: Text) -> tuple[str, ...]:
    notes = []
    if seen.cut:
        notes.append(f"the text is too long for the model, which does not see its end: {seen.cut!r}")
    if seen.concepts_cut:
        listed = "; ".join(", ".join(c.parts) for c in seen.concepts_cut)
        notes.append(f"more phrase concepts than the model reads; left out: {listed}")
    return tuple(notes)
