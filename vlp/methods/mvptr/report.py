"""What the report says of MVPTR: titles, notes and figure numbers of its paper. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from vlp.methods.facts import Attention, Facts, Figure, Levels, Map

REGIONS = 10
"""Of a map of attention, those that anything attends to most; a map of fifty columns shows nothing."""


def attention(pair: Mapping[str, Any]) -> Attention:
    """A pair of Figure 4, from what `figures.py` keeps of it."""
    best = [max(range(len(row)), key=row.__getitem__) for row in pair["phrase_to_region"]]
    joint = [*pair["phrase_to_region"], *pair["word_to_region"]]
    weight = [max(row[r] for row in joint) for r in range(len(pair["boxes"]))]
    kept = sorted(sorted(range(len(weight)), key=lambda r: -weight[r])[:REGIONS])
    named = [f"{r + 1} {name}".strip() for r, name in enumerate(pair["region_classes"])]
    maps = (
        Map("phrase to word, text encoder", pair["phrases"], pair["words"], pair["phrase_to_word"]),
        Map(
            "region to tag, visual encoder",
            named[: len(pair["region_to_tag"])],
            pair["tags"],
            pair["region_to_tag"],
        ),
        Map(
            "phrase and word (a column each) to region, multimodal encoder",
            [named[r] for r in kept],
            [*pair["phrases"], *pair["words"]],
            [[row[r] for row in joint] for r in kept],
        ),
    )
    return Attention([pair["boxes"][r] for r in best], maps)


def describe(model: Any) -> str:
    layers = f"{model.text_layers} text + {model.visual_layers} visual + {model.multimodal_layers} multimodal layers"
    start = f", started from {model.init_from}" if model.init_from else ""
    return f"{layers}, hidden size {model.hidden_size}{start}"


FACTS = Facts(
    paper="MVPTR, ACM Multimedia 2022",
    release="Junction4Nako/mvp_pytorch",
    products="regions, phrases and tags",
    detector="vinvl",
    curves={"mcr_visual": "MCR, tags", "mcr_text": "MCR, phrases"},
    levels=(
        Levels("Tags and regions", {"region_tag": "a tag's most similar region shows it"}),
        Levels(
            "Phrases and regions",
            {"phrase_region_unimodal": "unimodal encoders", "phrase_region": "multimodal layer of WPG"},
        ),
        Levels("Images and texts", {"image_text": "R@1 of the unimodal vectors", "itm": "pairs told right by ITM"}),
    ),
    levels_note="The paper's losses are to align tags and phrases with regions and texts with images; it does not "
    "measure that.",
    figures={
        "attention": Figure(
            "Learned attention",
            "In the pre-trained model: last layer of each encoder, mean over heads; each row sums to 1. In the "
            "picture: the region that each phrase attends to most. Regions are numbered by the detector's score.",
            "the paper's Figure 4",
        ),
        "grounding": Figure(
            "Figure 5: annotated phrases, and phrases extracted from the text",
            Markup(
                "<b>Left</b>, where there are any: the phrases that annotators marked, read from their words. "
                "<b>Right</b>: the phrase concepts that our parser extracted from the caption, each a token of the "
                "model's input. Full line: the region most similar to the phrase of that colour, by cosine in the "
                "layer of WPG; dashed: the true box. An attribute's truth is the box of the annotated phrase that all "
                "its words stand in, a relation's that of either thing it names."
            ),
        ),
        "embedding": Figure(
            "Embeddings of tags and phrases",
            Markup(
                "t-SNE (cosine) of the rows of the joint table in the pre-trained model, before any context: "
                '<span class="legend tag">a common tag</span> <span class="legend phrase">a frequent phrase that '
                "contains it</span> in the tag's colour; one that contains two of them has the colour of the first."
            ),
            "the paper's Figure 6",
        ),
    },
    attention=attention,
    statistics={"phrases": "the figures of the paper's Table 8: 54,950 kinds, 1.58 per text, 2.74 per image"},
    describe=describe,
)
