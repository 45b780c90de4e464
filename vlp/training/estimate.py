"""What an experiment will cost: FLOPs, hours, memory and disk of each stage, before anything is run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vlp.config.tasks import known
from vlp.errors import ConfigError
from vlp.methods.mvptr import flops
from vlp.methods.mvptr.flops import Sizes
from vlp.training.schedule import samples_seen

if TYPE_CHECKING:
    from vlp.config import Experiment
    from vlp.config.phrases import Lengths
    from vlp.config.training import Optimisation
    from vlp.methods.mvptr.model import Architecture

TERA, GIGA, HOUR = 1e12, 1e9, 3600.0
UTILISATION = 0.4
"""Share of the peak rate that a training reaches: assumed (docs/estimate.md)."""
WORDS, TAGS, REGIONS = 14.0, 16.0, 38.0
"""Mean word pieces, pieces of tags and regions of a sample: assumed."""
PHRASES = 1.58
"""Mean phrases of a text: paper C.1, Table 8."""
WORD_ROWS, PHRASE_ROWS = 30_522, 54_950
"""BERT's word pieces and the paper's phrases (C.1), where the experiment has no vocabulary yet."""
FEATURE = 2048
ANSWERS = 3129
"""Paper 4.2.2."""


@dataclass(frozen=True)
class Gpu:
    """Peak rate of dense matrix products, FLOP/s, and memory, bytes (docs/estimate.md has the sources)."""

    half: float
    """bf16 or fp16 with tensor cores."""
    single: float
    """float32 without TF32."""
    memory: float


GPUS = {
    "H200": Gpu(989.5 * TERA, 67 * TERA, 141 * GIGA),
    "H100": Gpu(989.5 * TERA, 67 * TERA, 80 * GIGA),
    "A100": Gpu(312 * TERA, 19.5 * TERA, 80 * GIGA),
    "L40S": Gpu(362 * TERA, 91.6 * TERA, 48 * GIGA),
    "V100": Gpu(125 * TERA, 15.7 * TERA, 32 * GIGA),
}


@dataclass(frozen=True)
class Machines:
    count: int
    name: str
    gpu: Gpu

    @classmethod
    def parse(cls, text: str) -> Machines:
        """`8xH200` or `H200`.

        Raises:
            ConfigError: another form, or a GPU without known rates.
        """
        found = re.fullmatch(r"(?:([1-9]\d*)x)?(\w+)", text)
        if found is None or found[2].upper() not in GPUS:
            raise ConfigError(f"--gpus {text}: write COUNTxNAME, for example 8xH200; NAME is one of {', '.join(GPUS)}")
        name = found[2].upper()
        return cls(int(found[1] or 1), name, GPUS[name])

    def rate(self, precision: str) -> float:
        """Peak of all together, FLOP/s."""
        return self.count * (self.gpu.single if precision == "fp32" else self.gpu.half)


@dataclass(frozen=True)
class Cost:
    """Of one stage. Hours are at the assumed share of the peak rate."""

    name: str
    samples: float | None
    """None: the number of samples is not known; FLOPs are of one sample, hours of none."""
    batch: int
    padded: float
    """FLOPs where every sequence has its full length."""
    useful: float
    hours_padded: float | None
    hours_useful: float | None
    memory: float
    """Bytes of each GPU."""
    shares: dict[str, float]
    """Part of the useful FLOPs."""

    @property
    def steps(self) -> int | None:
        return None if self.samples is None else round(self.samples / self.batch)


def trainings(e: Experiment, name: str) -> int:
    """How often a stage or a task is trained: a task once for each variant and seed."""
    settings = getattr(e.tasks, name, None)
    return 1 if settings is None else settings.trainings


def architecture(e: Experiment) -> Architecture:
    from vlp.models.directory import architecture as of

    return of(e, WORD_ROWS, PHRASE_ROWS if e.model.use_phrases else 0, FEATURE + 6)


def mean_sizes(e: Experiment, cap: Lengths, padded: bool, masked: bool) -> Sizes:
    """One sample at the caps, or at the mean lengths of this file, no longer than the caps."""
    phrases_cap, tags_cap = (cap.phrases if e.model.use_phrases else 0), (cap.tags - 2 if e.model.use_tags else 0)
    mean = (min(WORDS, cap.words - 2), min(PHRASES, phrases_cap), min(TAGS, tags_cap), min(REGIONS, cap.regions))
    m = e.masking
    rates = (m.words * mean[0], m.phrases * mean[1], m.tags * mean[2]) if masked else (0.0, 0.0, 0.0)
    return Sizes.uniform(*(cap.words - 2, phrases_cap, tags_cap, cap.regions) if padded else mean, masked=rates)


def stages(e: Experiment, machines: Machines, counts: Mapping[str, int]) -> list[Cost]:
    """Both stages of pre-training and each task's fine-tuning (one variant of it).

    Args:
        counts: train rows of each table, as far as they are known.
    """
    a, found = architecture(e), []
    for name in ("stage1", "stage2"):
        o = getattr(e.pretraining, name)
        if o is not None:
            every = o.wpg_negatives == "all"
            both = [
                flops.pretraining(
                    a, mean_sizes(e, e.lengths, p, True), o.losses, o.contrast_group or o.batch_size, every
                )
                for p in (True, False)
            ]
            found.append(_cost(e, a, name, o, both, machines, e.lengths, counts.get("captions")))
    for task, chosen in e.tasks_set.items():
        cap, both = chosen.lengths or e.lengths, []
        for padded in (True, False):
            s = mean_sizes(e, cap, padded, False)
            if task == "retrieval":
                both.append(flops.retrieval(a, s, chosen.optimisation.batch_size))
            else:
                rows = ANSWERS if task == "vqa" else 3
                both.append(flops.classification(a, s, rows, whole_last_layer="boxes" in known()[task].needs))
        found.append(_cost(e, a, task, chosen.optimisation, both, machines, cap, counts.get(known()[task].texts)))
    return found


def _cost(
    e: Experiment,
    a: Architecture,
    name: str,
    o: Optimisation,
    forward: list[dict[str, float]],
    machines: Machines,
    cap: Lengths,
    rows: int | None,
) -> Cost:
    padded, useful = (flops.training(f) for f in forward)
    known = o.epoch_size or rows
    samples = None if known is None else samples_seen(o, known)
    times = 1.0 if samples is None else samples
    rate = machines.rate(o.precision) * UTILISATION
    totals = [sum(x.values()) * times for x in (padded, useful)]
    hours = [None if samples is None else t / rate / HOUR for t in totals]
    together = sum(useful.values())
    trained = _trained(a, name == "stage1" and "multimodal_matched" not in useful)
    memory = state_bytes(sum(flops.parameters(a).values()), trained, o, machines.count)
    size = -(-o.batch_size // (machines.count * o.accumulation))
    joint = "multimodal_matched" in useful
    memory += size * activation_bytes(e, a, cap, o.precision, joint, 2 if "multimodal_negative" in useful else 1)
    shares = {part: x / together for part, x in useful.items()}
    return Cost(name, samples, o.batch_size, totals[0], totals[1], hours[0], hours[1], memory, shares)


def _trained(a: Architecture, without_multimodal: bool) -> int:
    parts = flops.parameters(a)
    return sum(parts.values()) - (parts["multimodal"] if without_multimodal else 0)


def state_bytes(parameters: int, trained: int, o: Optimisation, ranks: int) -> float:
    """Weights, gradients and AdamW's state of one GPU, with ZeRO's shares.

    Half precision: 2 bytes a weight and a gradient, 12 for the float32 copy and both moments; float32: 4, 4 and 8.
    """
    weight, gradient, state = (4, 4, 8) if o.precision == "fp32" else (2, 2, 12)
    of = [ranks if o.zero_stage >= stage else 1 for stage in (3, 2, 1)]
    return parameters * weight / of[0] + trained * (gradient / of[1] + state / of[2])


def activation_bytes(e: Experiment, a: Architecture, cap: Lengths, precision: str, joint: bool, pairs: int) -> float:
    """Kept for the backward pass, of one padded sample: (8 h + 2 f) numbers and 2 h dropout flags a position and layer.

    Attention is fused, so it keeps no map; the logits of the masked rows are kept in float32 too.
    """
    s = mean_sizes(e, cap, True, True)
    positions = a.text_layers * s.text_B + a.visual_layers * (s.tags_B + s.regions_B)
    if joint:
        positions = positions + pairs * a.multimodal_layers * (s.text_B + s.regions_B)
    number, h, f = (4 if precision == "fp32" else 2), a.hidden_size, a.intermediate_size
    layers = float(positions.sum()) * ((8 * h + 2 * f) * number + 2 * h)
    logits = (s.masked_words + s.masked_tags) * a.word_rows + s.masked_phrases * a.phrase_rows
    return layers + logits * (number + 8)


def disk(e: Experiment, images: int | None) -> dict[str, float | None]:
    """Bytes of the large files: the published feature files, the region store, a stage's checkpoints, the models."""
    regions = min(REGIONS, e.lengths.regions)
    weights, o = sum(flops.parameters(architecture(e)).values()), e.pretraining.stage2
    per = 12 if o.precision == "fp32" else 14
    models = 2 + sum(task.trainings for task in e.tasks_set.values())
    tsv = e.regions.source == "vinvl_tsv"
    return {
        **({"feature files (TSV)": _of(images, regions * (FEATURE + 6) * 4 * 4 / 3)} if tsv else {}),
        "region store": _of(images, regions * (FEATURE * 2 + 32)),
        "checkpoints": float(o.keep_checkpoints + 1) * weights * per,
        "models": models * weights * 4.0,
    }


def _of(count: int | None, each: float) -> float | None:
    return None if count is None else count * each
