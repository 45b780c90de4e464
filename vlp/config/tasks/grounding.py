"""Phrase grounding (paper 4.2.4, A.3.4)."""

from vlp.config.tasks.base import Facts, Task


class Grounding(Task):
    pass


FACTS = Facts(
    name="grounding",
    title="Phrase grounding",
    explained="A phrase is right if its box's IoU with a true one is greater than 0.5. Blind is the best way to choose "
    "a box without the phrase; of boxes chosen among many, chance is a random one, upper bound: some is right. "
    "By layer and reading: the states that a phrase is read from; the one that is best on val gives the accuracy.",
    config=Grounding,
    table="phrase_boxes",
    texts="grounding",
    columns=("phrase_id", "image_id", "phrase_type", "box", "boxes", "num_regions", "covered", "random_hit"),
    given=(("image_id", "image_id"), ("phrase_type", "phrase_type"), ("boxes", "boxes")),
    kinds=(
        ("box", "box"),
        ("num_regions", "count"),
        ("covered", "flag"),
        ("random_hit", "share"),
        ("readings_boxes", "boxes"),
        ("ranked", "boxes"),
    ),
    headlines=(("accuracy", "Grounding"),),
    samples="vlp.tasks.grounding:Grounding",
    place=40,
    nullable=frozenset({"num_regions", "covered", "random_hit"}),
    needs=frozenset({"boxes"}),
    compared=(
        ("grounding pre-trained", "pre-trained", "accuracy"),
        ("grounding fine-tuned", "fine-tuned", "accuracy"),
    ),
    excluded_by_paper=True,
)
