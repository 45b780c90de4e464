"""Our training step against a plain padded PyTorch version of the same model, interleaved in one run.

Paper's shapes, random inputs: 35 + 5 text positions, 20 tags, 50 regions; a sample has 8-20 words, 1-3 phrases and
20-50 regions. Base size, float32, forward and backward, dropout on, no optimizer.

    OMP_NUM_THREADS=2 python -m benchmarks.training --stage stage1 --stage stage2

The plain version pads to the full lengths, runs matched pairs and negatives in two calls, and has its vocabulary heads
on all text or tag positions. Times are medians over the clean steps (the process got 95% of its threads), or over all
where none is. A shared machine makes single times worthless and leaves the ratio of neighbours.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlp.batching.batch import Batch, Targets
from vlp.batching.collate import add_negative_noise
from vlp.models.layers import Packing, SelfAttention
from vlp.models.mvptr import Architecture, Mvptr, set_dropout
from vlp.objectives import LossSum, hard_negatives, itm, mcr, mlm, s_wpg, similarity, vsc, wpg
from vlp.training import flops
from vlp.training.flops import Sizes
from vlp.training.loop import total_loss
from vlp.training.steps import PretrainingStep

STAGES = {
    "stage1": ("mcr_visual", "mcr_text", "vsc"),
    "stage2": ("mcr_visual", "mcr_text", "vsc", "mlm", "itm", "wpg"),
}
WORDS, PHRASES, TAGS, REGIONS = 35, 5, 20, 50
CLS, SEP, MASK, FIRST_WORD = 1, 2, 3, 10


def base(layers: int, word_rows: int, phrase_rows: int, size: int) -> Architecture:
    return Architecture(
        hidden_size=size,
        num_heads=size // 64,
        intermediate_size=4 * size,
        text_layers=layers,
        visual_layers=layers,
        multimodal_layers=layers,
        max_positions=512,
        dropout=0.0,
        attention_dropout=0.0,
        region_layer_norm=False,
        contrast_projection=False,
        grounding_layer=max(1, layers // 2),
        use_phrases=True,
        use_tags=True,
        word_rows=word_rows,
        phrase_rows=phrase_rows,
        region_size=2054,
    )


def random_batch(size: int, a: Architecture, seed: int, full: bool) -> Batch:
    """`full`: padded to the caps, as the plain version has it; else to the longest sample, as our collator does.

    Both hold the same samples."""
    g = np.random.default_rng(seed)
    words, phrases = g.integers(8, 21, size), g.integers(1, 4, size)
    tags, regions = g.integers(8, TAGS - 1, size), g.integers(20, REGIONS + 1, size)
    length = WORDS + PHRASES if full else int((words + phrases).max()) + 2
    width, count = (TAGS, REGIONS) if full else (int(tags.max()) + 2, int(regions.max()))
    text, tag_ids = np.zeros((size, length), np.int64), np.zeros((size, width), np.int64)
    features = np.zeros((size, count, a.region_size), np.float32)
    places = np.zeros((size, PHRASES), np.int64)
    masked: dict[str, list[tuple[int, int, int]]] = {"words": [], "phrases": [], "tags": []}
    for b, (n, m, k, r) in enumerate(zip(words, phrases, tags, regions, strict=True)):
        text[b, : n + 1] = [CLS, *g.integers(FIRST_WORD, a.word_rows, n)]
        text[b, n + 1 : n + m + 2] = [*g.integers(a.word_rows, a.word_rows + a.phrase_rows, m), SEP]
        tag_ids[b, : k + 2] = [CLS, *g.integers(FIRST_WORD, a.word_rows, k), SEP]
        features[b, :r] = g.normal(size=(r, a.region_size))
        places[b, :m] = np.arange(n + 1, n + m + 1)
        for name, ids, first, number, rate, offset in (
            ("words", text, 1, n, 0.15, 0),
            ("phrases", text, n + 1, m, 0.15, a.word_rows),
            ("tags", tag_ids, 1, k, 0.25, 0),
        ):
            for p in first + np.flatnonzero(g.random(number) < rate):
                masked[name].append((b, int(p), int(ids[b, p]) - offset))
                ids[b, p] = MASK

    def valid(number: np.ndarray, of: int) -> Tensor:
        return torch.from_numpy(np.arange(of) < number[:, None])

    batch = Batch(
        text_ids_BL=torch.from_numpy(text),
        text_mask_BL=valid(words + phrases + 2, length),
        tag_ids_BT=torch.from_numpy(tag_ids),
        tag_mask_BT=valid(tags + 2, width),
        regions_BRF=torch.from_numpy(features),
        region_mask_BR=valid(regions, count),
        phrase_positions_BP=torch.from_numpy(places),
        phrase_mask_BP=torch.from_numpy(places > 0),
        image_B=torch.arange(size),
        text_B=torch.arange(size),
        words=_targets(masked["words"]),
        phrases=_targets(masked["phrases"]),
        tags=_targets(masked["tags"]),
    )
    return add_negative_noise(batch, seed, 0, 0)


def _targets(found: list[tuple[int, int, int]]) -> Targets:
    sample, position, label = torch.tensor(found or np.zeros((0, 3)), dtype=torch.int64).reshape(-1, 3).T
    return Targets(sample, position, label, torch.arange(len(found)))


class Plain(nn.Module):
    """The same weights and losses as plain PyTorch has them: nothing packed, nothing gathered, two multimodal calls."""

    def __init__(self, model: Mvptr, losses: tuple[str, ...]) -> None:
        super().__init__()
        self.model, self.losses = model, losses

    def forward(self, batch: Batch) -> dict[str, LossSum]:
        m = self.model
        assert batch.words is not None and batch.phrases is not None and batch.tags is not None
        s = m.unimodal(batch)
        text, image = m.contrast_vectors(s)
        found = {
            "mcr_visual": _over_all(m.tag_logits, s.tags_BTD, batch.tags, mcr),
            "mcr_text": _over_all(m.phrase_logits, s.text_BLD, batch.phrases, mcr),
            "vsc": vsc(text, image, m.scale(), batch.image_B, batch.text_B, None, None),
        }
        if "mlm" not in self.losses:
            return found
        assert batch.gumbel_2BG is not None and batch.replace_image_B is not None
        coarse = m.scale() * similarity(text, image)
        text_B, image_B, valid_B, _ = hard_negatives(
            coarse, batch.image_B, batch.text_B, batch.gumbel_2BG, batch.replace_image_B, None
        )
        masks = batch.text_mask_BL, batch.region_mask_BR
        pairs = [
            m.multimodal(s.text_BLD, masks[0], s.regions_BRD, masks[1]),
            m.multimodal(s.text_BLD[text_B], masks[0][text_B], s.regions_BRD[image_B], masks[1][image_B]),
        ]
        size, length = len(batch), batch.text_ids_BL.shape[1]
        found["mlm"] = _over_all(m.mlm_logits, pairs[0][-1][:, :length], batch.words, lambda x, y, *_: mlm(x, y))
        logits = torch.cat([m.itm_logits(p[-1]) for p in pairs])
        matched = torch.arange(2 * size) < size
        found["itm"] = itm(logits, matched, torch.cat([torch.ones_like(valid_B), valid_B]))
        scores = []
        for p, regions in zip(pairs, (masks[1], masks[1][image_B]), strict=True):
            x = p[m.architecture.grounding_layer - 1]
            at = batch.phrase_positions_BP[..., None].expand(-1, -1, x.shape[-1])
            scores.append(s_wpg(x.gather(1, at), batch.phrase_mask_BP, x[:, length:], regions))
        kept = batch.replace_image_B & valid_B & batch.phrase_mask_BP.any(1)
        found["wpg"] = wpg(scores[0], scores[1], kept)
        return found


def _over_all(
    head: Callable[[Tensor], Tensor], states_BND: Tensor, t: Targets, loss: Callable[..., LossSum]
) -> LossSum:
    """The head on every position; its logits picked where they are needed."""
    logits_BNV = head(states_BND)
    return loss(logits_BNV[t.sample_M, t.position_M], t.label_M, t.concept_M, t.sample_M)


@dataclass
class Times:
    seconds: list[float]
    cpu: list[float]
    """CPU seconds of all threads: what another process takes away does not count, what a waiting thread burns does."""
    clean: list[bool]

    def __init__(self) -> None:
        self.seconds, self.cpu, self.clean = [], [], []

    def run(self, work: Callable[[], object], threads: int) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        self.seconds.append(wall)
        self.cpu.append(cpu)
        self.clean.append(cpu >= 0.95 * threads * wall)

    @property
    def median(self) -> float:
        chosen = [s for s, c in zip(self.seconds, self.clean, strict=True) if c]
        return statistics.median(chosen or self.seconds)


def product_rate(size: int, threads: int) -> float:
    """FLOP/s of matrix products of the model's feed-forward shape; the best of three."""
    x, w = torch.randn(800, size), torch.randn(size, 4 * size)
    times = Times()
    for _ in range(4):
        times.run(lambda: [F.linear(x, w.T) for _ in range(4)], threads)
    return 4 * flops.linear(800, size, 4 * size) / min(times.seconds[1:])


def measure(stage: str, o: argparse.Namespace) -> None:
    torch.manual_seed(0)
    a = base(o.layers, o.word_rows, o.phrase_rows, o.size)
    names = STAGES[stage]
    model = Mvptr(a).train()
    ours, plain = PretrainingStep(model, names), Plain(model, names)
    narrow, wide = (random_batch(o.batch, a, 0, full) for full in (False, True))
    check(ours, plain, narrow, wide)
    set_dropout(model, 0.1)
    for module in model.modules():
        if isinstance(module, SelfAttention):
            module.attention_dropout = 0.1

    def step(module: nn.Module, batch: Batch) -> None:
        model.zero_grad(set_to_none=True)
        total_loss(module(batch))[0].backward()

    ours_times, plain_times, rates = Times(), Times(), []
    for i in range(o.steps + 1):
        if i == 1:
            ours_times, plain_times, rates = Times(), Times(), []
        rates.append(product_rate(o.size, o.threads))
        ours_times.run(lambda: step(ours, narrow), o.threads)
        with unpacked():
            plain_times.run(lambda: step(plain, wide), o.threads)
        print(
            f"{stage} step {i}: ours {ours_times.seconds[-1]:.2f} s, plain {plain_times.seconds[-1]:.2f} s", flush=True
        )
    report(stage, a, narrow, wide, ours_times, plain_times, statistics.median(rates), o)
    for name, seconds in loss_times(model, narrow, names).items():
        print(f"  forward of {name:12}{seconds:8.3f} s  {seconds / ours_times.median:7.2%} of a step")


def check(ours: nn.Module, plain: nn.Module, narrow: Batch, wide: Batch) -> None:
    """Both compute the same losses (without dropout), or the ratio would say nothing."""
    with torch.no_grad():
        left = total_loss(ours(narrow))[1]
        with unpacked():
            right = total_loss(plain(wide))[1]
    for name, value in left.items():
        assert abs(value - right[name]) <= 1e-4 * max(1.0, abs(value)), (name, value, right[name])


@contextmanager
def unpacked() -> Iterator[None]:
    packed = Packing.of
    Packing.of = classmethod(lambda cls, mask: None)  # type: ignore[method-assign]
    try:
        yield
    finally:
        Packing.of = packed  # type: ignore[method-assign]


def report(
    stage: str,
    a: Architecture,
    narrow: Batch,
    wide: Batch,
    ours: Times,
    plain: Times,
    rate: float,
    o: argparse.Namespace,
) -> None:
    names = STAGES[stage]
    useful = flops.training(flops.pretraining(a, Sizes.of(narrow), names, o.batch))
    padded = sum(flops.training(flops.pretraining(a, Sizes.of(wide, padded=True), names, o.batch)).values())
    together = sum(useful.values())
    clean = f"{sum(ours.clean)} + {sum(plain.clean)} clean"
    print(f"\n{stage}: batch {o.batch}, {o.threads} threads, {o.steps} steps, {clean}")
    for name, t in (("ours", ours), ("plain", plain)):
        print(f"  {name:6}{t.median:7.2f} s a step, {o.batch / t.median:6.2f} samples/s")
    for kind in ("seconds", "cpu"):
        ratios = [p / q for p, q in zip(getattr(plain, kind), getattr(ours, kind), strict=True)]
        name = {"seconds": "wall", "cpu": "CPU"}[kind]
        print(f"  plain / ours, {name} time: median {statistics.median(ratios):.2f}", end="")
        print(f", from {min(ratios):.2f} to {max(ratios):.2f}")
    share = together / ours.median / rate
    print(f"  useful {together / 1e9:,.0f} GFLOP a step; the same padded to the caps {padded / together:.2f} x")
    print(f"  CPU seconds a step: ours {statistics.median(ours.cpu):.2f}, plain {statistics.median(plain.cpu):.2f}")
    print(f"  matrix products {rate / 1e9:,.1f} GFLOP/s measured; ours {share:.0%} of it in useful FLOPs")
    print("  FLOPs: " + ", ".join(f"{part} {x / together:.2%}" for part, x in useful.items()))
    concepts = sum(useful.get(n, 0.0) for n in flops.CONCEPT_LOSSES) / together
    print(f"  MCR + VSC + WPG {concepts:.2%} of the FLOPs")


def loss_times(model: Mvptr, batch: Batch, names: tuple[str, ...]) -> dict[str, float]:
    """Forward time of each loss on given states; of MCR the head and, apart, the matching."""
    assert batch.words is not None and batch.phrases is not None and batch.tags is not None
    tags, phrases, words = batch.tags, batch.phrases, batch.words
    with torch.no_grad():
        s = model.unimodal(batch)
        text, image = model.contrast_vectors(s)
        logits = model.tag_logits(tags.gather(s.tags_BTD)), model.phrase_logits(phrases.gather(s.text_BLD))
    work: dict[str, Callable[[], object]] = {
        "mcr_visual": lambda: mcr(
            model.tag_logits(tags.gather(s.tags_BTD)), tags.label_M, tags.concept_M, tags.sample_M
        ),
        "mcr_text": lambda: mcr(
            model.phrase_logits(phrases.gather(s.text_BLD)), phrases.label_M, phrases.concept_M, phrases.sample_M
        ),
        "vsc": lambda: vsc(text, image, model.scale(), batch.image_B, batch.text_B, None, None),
        "mlm": lambda: mlm(model.mlm_logits(words.gather(s.text_BLD)), words.label_M),
        "itm": lambda: model.itm_logits(torch.cat([s.text_BLD, s.text_BLD])),
        "wpg": lambda: s_wpg(s.text_BLD[:, 1:6], batch.phrase_mask_BP, s.regions_BRD, batch.region_mask_BR),
    }
    found = {name: _fastest(work[name]) for name in names}
    for loss, x, t in (("tags", logits[0], tags), ("phrases", logits[1], phrases)):
        found[f"matching of {loss}"] = _fastest(lambda x=x, t=t: _matching(x, t))
    return found


def _matching(logits: Tensor, t: Targets) -> object:
    from scipy.optimize import linear_sum_assignment

    p = logits.detach().softmax(-1)
    rows = [np.flatnonzero(t.sample_M.numpy() == b) for b in np.unique(t.sample_M.numpy())]
    costs = [1 - p[r][:, t.label_M[r]].numpy() for r in rows if len(r) > 1]
    began = time.perf_counter()
    for cost in costs:
        linear_sum_assignment(cost)
    return time.perf_counter() - began


def _fastest(work: Callable[[], object]) -> float:
    """Of three; a piece of work that times itself is believed."""
    found = []
    with torch.no_grad():
        for _ in range(3):
            began = time.perf_counter()
            result = work()
            found.append(result if isinstance(result, float) else time.perf_counter() - began)
    return min(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--stage", action="append", choices=list(STAGES))
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--size", type=int, default=768)
    parser.add_argument("--word-rows", type=int, default=30_522)
    parser.add_argument("--phrase-rows", type=int, default=54_950)
    o = parser.parse_args()
    torch.set_num_threads(o.threads)
    for stage in o.stage or STAGES:
        measure(stage, o)


if __name__ == "__main__":
    main()
