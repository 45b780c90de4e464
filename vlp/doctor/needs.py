"""How many rows an experiment will have, for the estimate of its needs: from the tables, else from what is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vlp.config.presets import PRESETS
from vlp.files import read_json

if TYPE_CHECKING:
    from vlp.config import Experiment


def counts(experiment: Experiment) -> dict[str, int]:
    """Train rows of each table, `images`: of all splits. Of tables not read yet: what the generator's dials give, or
    the images that the corpus is published with; tables that nothing is known of are left out."""
    if read := known_counts(experiment):
        return read
    data = experiment.data
    if (dials := data.generator) is not None:
        train = dials.train_images
        return {
            "images": train + dials.val_images + dials.test_images,
            "captions": train * dials.captions_per_image,
            "questions": train * dials.questions_per_image,
            "entailment": train * dials.hypotheses_per_image,
            "grounding": train * dials.captions_per_image,
        }
    parts = PRESETS[data.corpus] if data.corpus else ()
    images = {name: max(p.images for p in parts if p.set == name) for name in {p.set for p in parts}}
    return {"images": sum(images.values())} if images else {}


def known_counts(experiment: Experiment) -> dict[str, int]:
    """Counts of the tables, once `vlp data read` has written them."""
    summary = experiment.place("tables/summary.json")
    if not summary.exists():
        return {}
    counts = read_json(summary)["counts"]
    return {table: sum(n.values()) if table == "images" else n["train"] for table, n in counts.items()}
