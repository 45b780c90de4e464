"""Which loss sees what: the six pre-training losses as data; a test holds `PretrainingStep` to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

View = Literal["masked", "clean", "unseen"]
States = Literal["text encoder", "visual encoder", "both encoders", "multimodal: grounding layer", "multimodal: last"]

TEXT = ("embeddings", "positions", "types", "embedding_norm", "text_encoder")
VISUAL = ("embeddings", "positions", "types", "embedding_norm", "region_projection", "visual_encoder")
BOTH = (*TEXT, "region_projection", "visual_encoder")


@dataclass(frozen=True)
class Row:
    """What one loss reads. Views are of what the encoders are given: both stages are one pass over the masked input."""

    loss: str
    equation: int
    stages: tuple[int, ...]
    words: View
    phrases: View
    tags: View
    """The multimodal encoder is not given tags; they reach its regions through the visual encoder."""
    regions: View
    samples: str
    states: States
    normaliser: str
    """What the sum is divided by, counted over all ranks."""
    trains: tuple[str, ...]
    """Parts of the model that get a gradient; of the multimodal encoder the layers up to the one that is read."""


TABLE = (
    Row(
        loss="mcr_visual",
        equation=2,
        stages=(1, 2),
        words="unseen",
        phrases="unseen",
        tags="masked",
        regions="clean",
        samples="all",
        states="visual encoder",
        normaliser="masked tags",
        trains=(*VISUAL, "tag_head"),
    ),
    Row(
        loss="mcr_text",
        equation=3,
        stages=(1, 2),
        words="masked",
        phrases="masked",
        tags="unseen",
        regions="unseen",
        samples="all",
        states="text encoder",
        normaliser="masked phrases",
        trains=(*TEXT, "phrase_head"),
    ),
    Row(
        loss="vsc",
        equation=5,
        stages=(1, 2),
        words="masked",
        phrases="masked",
        tags="masked",
        regions="clean",
        samples="matchable",
        states="both encoders",
        normaliser="matchable samples",
        trains=(*BOTH, "logit_scale"),
    ),
    Row(
        loss="mlm",
        equation=9,
        stages=(2,),
        words="masked",
        phrases="masked",
        tags="masked",
        regions="clean",
        samples="all, each with its own image",
        states="multimodal: last",
        normaliser="masked word pieces",
        trains=(*BOTH, "multimodal_encoder", "mlm_head"),
    ),
    Row(
        loss="itm",
        equation=8,
        stages=(2,),
        words="masked",
        phrases="masked",
        tags="masked",
        regions="clean",
        samples="matchable, and a hard negative for each",
        states="multimodal: last",
        normaliser="matchable samples and their negatives",
        trains=(*BOTH, "multimodal_encoder", "pooler", "itm_head"),
    ),
    Row(
        loss="wpg",
        equation=7,
        stages=(2,),
        words="masked",
        phrases="masked",
        tags="masked",
        regions="clean",
        samples="matchable texts with a phrase whose image was replaced (`wpg_negatives: all`: each with a hard image)",
        states="multimodal: grounding layer",
        normaliser="these texts",
        trains=(*BOTH, "multimodal_encoder"),
    ),
)


def markdown() -> str:
    """The table as `vlp/methods/mvptr/equations.md` prints it."""
    head = ("loss", "eq.", "stages", "words", "phrases", "tags", "regions", "samples", "states", "divided by", "trains")
    lines = [head, ("---",) * len(head)]
    for r in TABLE:
        stages, trains = ", ".join(map(str, r.stages)), ", ".join(f"`{part}`" for part in r.trains)
        view = (r.words, r.phrases, r.tags, r.regions)
        lines.append((f"`{r.loss}`", str(r.equation), stages, *view, r.samples, r.states, r.normaliser, trains))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
