"""Referring expressions: RefCOCO, RefCOCO+, RefCOCOg. Not in the paper; the released code has it (reference 5.4)."""

from vlp.config.tasks.base import Facts, Task


class Referring(Task):
    pass


FACTS = Facts(
    name="referring",
    title="Referring expressions",
    explained="Right if the box's IoU with the true one is at least 0.5. Of boxes chosen among many, chance is "
    "a random one.",
    config=Referring,
    table="referring",
    texts="referring",
    columns=("ref_id", "image_id", "partition", "box", "boxes", "num_regions", "covered", "random_hit"),
    given=(("image_id", "image_id"), ("partition", "partition"), ("boxes", "box")),
    kinds=(
        ("box", "box"),
        ("num_regions", "count"),
        ("covered", "flag"),
        ("random_hit", "share"),
        ("readings_boxes", "boxes"),
        ("ranked", "boxes"),
    ),
    headlines=(("accuracy", "Referring"),),
    samples="vlp.tasks.referring:Referring",
    place=50,
    nullable=frozenset({"num_regions", "covered", "random_hit"}),
    needs=frozenset({"boxes"}),
)
