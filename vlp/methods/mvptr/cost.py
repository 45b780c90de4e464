"""What an experiment with MVPTR will cost, from its architecture and the mean lengths of its inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from vlp.config.tasks import known
from vlp.methods.mvptr import flops
from vlp.methods.mvptr.flops import Sizes
from vlp.training.estimate import Bill, Cost, Machines, cost, kept, state_bytes

if TYPE_CHECKING:
    from vlp.config import Experiment
    from vlp.config.training import Plan
    from vlp.methods.mvptr.config import Lengths
    from vlp.methods.mvptr.model import Architecture

WORDS, TAGS, REGIONS = 14.0, 16.0, 38.0
"""Mean word pieces, pieces of tags and regions of a sample: assumed."""
PHRASES = 1.58
"""Mean phrases of a text: paper C.1, Table 8."""
WORD_ROWS, PHRASE_ROWS = 30_522, 54_950
"""BERT's word pieces and the paper's phrases (C.1), where the experiment has no vocabulary yet."""
FEATURE = 2048
ANSWERS = 3129
"""Paper 4.2.2."""
ASSUMED = (
    f"mean lengths (assumed but for phrases): {WORDS:g} words, {PHRASES:g} phrases, "
    f"{TAGS:g} pieces of tags, {REGIONS:g} regions"
)


def bill(e: Experiment, machines: Machines, counts: Mapping[str, int]) -> Bill:
    """`counts`: train rows of each table and all images, as far as they are known."""
    return Bill(stages(e, machines, counts), disk(e, counts.get("images")), ASSUMED)


def architecture(e: Experiment) -> Architecture:
    from vlp.methods.mvptr.directory import architecture as of

    return of(e, WORD_ROWS, PHRASE_ROWS if e.model.use_phrases else 0, FEATURE + 6)


def mean_sizes(e: Experiment, cap: Lengths, padded: bool, masked: bool) -> Sizes:
    """One sample at the caps, or at the mean lengths of this file, no longer than the caps."""
    phrases_cap, tags_cap = (cap.phrases if e.model.use_phrases else 0), (cap.tags - 2 if e.model.use_tags else 0)
    mean = (min(WORDS, cap.words - 2), min(PHRASES, phrases_cap), min(TAGS, tags_cap), min(REGIONS, cap.regions))
    m = e.masking
    rates = (m.words * mean[0], m.phrases * mean[1], m.tags * mean[2]) if masked else (0.0, 0.0, 0.0)
    return Sizes.uniform(*(cap.words - 2, phrases_cap, tags_cap, cap.regions) if padded else mean, masked=rates)


def stages(e: Experiment, machines: Machines, counts: Mapping[str, int]) -> list[Cost]:
    """Each stage of pre-training and each task's fine-tuning (one variant of it).

    Args:
        counts: train rows of each table, as far as they are known.
    """
    a, found = architecture(e), []
    for name, o in e.stages.items():
        every, group = o.wpg_negatives == "all", o.contrast_group or o.batch_size
        both = [
            flops.pretraining(a, mean_sizes(e, e.lengths, padded, True), o.losses, group, every)
            for padded in (True, False)
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
    o: Plan,
    forward: list[dict[str, float]],
    machines: Machines,
    cap: Lengths,
    rows: int | None,
) -> Cost:
    useful = forward[1]
    trained = _trained(a, name in e.stages and "multimodal_matched" not in useful)
    memory = state_bytes(parameters(e), trained, o, machines.count)
    size = -(-o.batch_size // (machines.count * o.accumulation))
    joint = "multimodal_matched" in useful
    memory += size * activation_bytes(e, a, cap, o.precision, joint, 2 if "multimodal_negative" in useful else 1)
    return cost(name, o, forward, flops.LEADING, machines, rows, memory)


def _trained(a: Architecture, without_multimodal: bool) -> int:
    parts = flops.parameters(a)
    return sum(parts.values()) - (parts["multimodal"] if without_multimodal else 0)


def parameters(e: Experiment) -> int:
    return sum(flops.parameters(architecture(e)).values())


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
    tsv = e.regions.source == "vinvl_tsv"
    return {
        **({"feature files (TSV)": _of(images, regions * (FEATURE + 6) * 4 * 4 / 3)} if tsv else {}),
        "region store": _of(images, regions * (FEATURE * 2 + 32)),
        **kept(e, e.pretraining.stage2, parameters(e), 2),
    }


def _of(count: int | None, each: float) -> float | None:
    return None if count is None else count * each
