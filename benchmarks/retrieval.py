"""Re-ranking from cached states against the reference protocol, interleaved in one run; what that means for COCO 5k.

    OMP_NUM_THREADS=2 python -m benchmarks.retrieval

Both give the ITM probability of the same (image, text) pairs with the same base-size model (6 layers in each encoder,
float32, random weights); the largest difference is printed. Random inputs: a text has 8-20 words and 1-3 phrases, an
image 8-18 tag pieces and 20-50 regions.

reference   every pair runs through all three encoders, padded to the lengths of A.3.1 (50 words, 5 phrases, 30 tags,
            50 regions), all rows of the last layer: what the released evaluation does
trimmed     the same, padded only to the longest of the batch
cached      ours: unimodal states once for each image and text, pairs of equal length together, [CLS] alone in the last
            layer. Its rate includes the unimodal passes, spread over the pairs of COCO 5k: (5,000 x 128 + 25,000 x 64)
            pairs for 5,000 images and 25,000 texts, none scored twice
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.plain import base, random_batch
from vlp.methods.mvptr.batch import Batch, Images, Texts
from vlp.methods.mvptr.config import Lengths
from vlp.methods.mvptr.model import Architecture, Mvptr
from vlp.methods.mvptr.reranking import UnimodalCache
from vlp.objectives.classification import MATCH

LENGTHS = Lengths(words=50, phrases=5, regions=50, tags=30)
COCO_IMAGES, COCO_TEXTS, COCO_PAIRS = 5_000, 25_000, 5_000 * 128 + 25_000 * 64
TEXTS_PER_IMAGE = 5


class Samples:
    """Texts and images of one random batch, handed out as the collator does: any text with any image."""

    def __init__(self, a: Architecture, texts: int, lengths: Lengths = LENGTHS) -> None:
        self.whole, self.lengths = random_batch(texts, a, 0, full=False), lengths

    def sizes(self, rows: np.ndarray) -> np.ndarray:
        return self.whole.text_mask_BL[rows].sum(1).numpy()

    def of_texts(self, rows: np.ndarray) -> Texts:
        whole = self(rows, ["0"] * len(rows))
        return Texts(whole.text_ids_BL, whole.text_mask_BL)

    def of_images(self, images: list[str]) -> Images:
        w = self(np.zeros(len(images), np.int64), images)
        return Images(w.tag_ids_BT, w.tag_mask_BT, w.regions_BRF, w.region_mask_BR)

    def __call__(self, rows: np.ndarray, images: list[str], full: bool = False) -> Batch:
        """`full`: padded to the caps; else to the longest."""
        w, texts, pictures = self.whole, torch.as_tensor(rows), torch.tensor([int(i) for i in images])
        most = self.lengths.words + self.lengths.phrases, self.lengths.tags, self.lengths.regions
        masks = w.text_mask_BL[texts], w.tag_mask_BT[pictures], w.region_mask_BR[pictures][:, : most[2]]
        longest = [int(m.sum(1).max()) for m in masks]
        widths = most if full else longest

        def to(x: torch.Tensor, width: int) -> torch.Tensor:
            pad = (0, 0) * (x.ndim - 2) + (0, max(0, width - x.shape[1]))
            return F.pad(x, pad)[:, :width]

        return Batch(
            text_ids_BL=to(w.text_ids_BL[texts], widths[0]),
            text_mask_BL=to(masks[0], widths[0]),
            tag_ids_BT=to(w.tag_ids_BT[pictures], widths[1]),
            tag_mask_BT=to(masks[1], widths[1]),
            regions_BRF=to(w.regions_BRF[pictures], widths[2]),
            region_mask_BR=to(masks[2], widths[2]),
            phrase_positions_BP=w.phrase_positions_BP[texts],
            phrase_mask_BP=w.phrase_mask_BP[texts],
            image_B=pictures,
            text_B=texts,
        )


def reencoded(model: Mvptr, batch: Batch) -> np.ndarray:
    """ITM probabilities of the batch's own pairs, every encoder run for each."""
    return model.itm_logits(model.joint(batch)[-1]).softmax(-1)[:, MATCH].numpy()


@torch.inference_mode()
def measure(a: Architecture, images: int, size: int, repeats: int) -> dict[str, list[float]]:
    """Seconds of `size` pairs by each way, and of all unimodal passes.

    Raises:
        AssertionError: the ways give different scores, and the ratio would say nothing.
    """
    model, texts = Mvptr(a).eval(), images * TEXTS_PER_IMAGE
    samples = Samples(a, texts)
    names = [str(i) for i in range(images)]
    began = time.perf_counter()
    cache = UnimodalCache(model, samples, np.arange(texts), names)  # type: ignore[arg-type]
    found: dict[str, list[float]] = {"reference": [], "trimmed": [], "cached": []}
    found["unimodal"], gap, g = [time.perf_counter() - began], 0.0, np.random.default_rng(0)
    for repeat in range(repeats + 1):
        # Pairs as the re-ranker meets them: sorted by length, so a batch is of equal ones.
        drawn = g.choice(images * texts, min(images * texts, size * 8), replace=False)
        pairs = np.stack(np.divmod(drawn, texts), 1)
        length = cache.texts.count_N[pairs[:, 1]] + cache.regions.count_N[pairs[:, 0]]
        at = int(g.integers(0, 7)) * size
        pairs = pairs[np.argsort(length, kind="stable")[at : at + size]]
        rows, pictures = pairs[:, 1], [str(i) for i in pairs[:, 0]]
        scores: dict[str, np.ndarray] = {}
        ways: dict[str, Callable[[], np.ndarray]] = {
            "reference": lambda r=rows, p=pictures: reencoded(model, samples(r, p, full=True)),
            "trimmed": lambda r=rows, p=pictures: reencoded(model, samples(r, p)),
            "cached": lambda p=pairs: cache.match(p),
        }
        for name, way in ways.items():
            began = time.perf_counter()
            scores[name] = way()
            if repeat:  # the first round warms up
                found[name].append(time.perf_counter() - began)
        gap = max(gap, *(float(np.abs(scores[n] - scores["cached"]).max()) for n in ("reference", "trimmed")))
    assert gap <= 1e-5, f"scores differ by {gap:.1e}"
    print(f"largest difference of a score: {gap:.1e}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--pairs", type=int, default=64, help="scored by each way in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--hidden-size", type=int, default=768)
    o = parser.parse_args()
    threads = torch.get_num_threads()
    a = base(o.layers, 30_522, 20_000, o.hidden_size)
    found = measure(a, o.images, o.pairs, o.rounds)
    per_pair = {name: statistics.median(t) / o.pairs for name, t in found.items() if name != "unimodal"}
    # Texts and images stand 5 to 1 here as in COCO, so the whole pass scales by its number of images.
    unimodal = found["unimodal"][0] / o.images * COCO_IMAGES
    per_pair["cached"] += unimodal / COCO_PAIRS
    print(f"{o.layers} layers in each encoder, {o.hidden_size} wide, {threads} threads, medians of {o.rounds} rounds")
    for name, seconds in per_pair.items():
        print(f"{name:10} {1 / seconds:8.1f} pairs/s   COCO 5k (2.24 M pairs): {seconds * COCO_PAIRS / 3600:8.1f} h")
    for name in ("reference", "trimmed"):
        rounds = [x / y for x, y in zip(found[name], found["cached"], strict=True)]
        ratio = per_pair[name] / per_pair["cached"]
        print(f"cached is {ratio:.2f} x {name} (rounds, without the unimodal passes: {statistics.median(rounds):.2f})")


if __name__ == "__main__":
    main()
