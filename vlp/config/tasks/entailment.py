"""Visual entailment (paper 4.2.3, A.3.3)."""

from vlp.config.tasks.base import Facts, Task

LABELS = ("contradiction", "neutral", "entailment")
"""In the order of the class indices (the release's, reference 5.3)."""


class Entailment(Task):
    pass


FACTS = Facts(
    name="entailment",
    title="Visual entailment",
    explained="Three classes. Chance always says the most frequent class of train; for a single class it picks one of "
    "three.",
    config=Entailment,
    table="entailment",
    texts="entailment",
    columns=("pair_id", "image_id", "label", "prediction"),
    given=(("image_id", "image_id"), ("label", "label")),
    kinds=(("prediction", "text"),),
    headlines=(("accuracy", "Entailment"),),
    samples="vlp.tasks.classification:Entailment",
    place=30,
    excluded_by_paper=True,
)
