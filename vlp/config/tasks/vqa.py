"""Visual question answering (paper 4.2.2, A.3.2)."""

from typing import Self

from pydantic import Field, model_validator

from vlp.config.base import stated
from vlp.config.tasks.base import Facts, Task


class Vqa(Task):
    answers: str | None = None
    """File with the answer list (JSON, index = label); None: the answers of the train split."""
    min_answer_count: int = Field(default=9, ge=1)
    minival: int | None = Field(default=None, ge=1, json_schema_extra=stated("ours"))
    """Selection reads so many images of val, the same ones in every run; None: all of val."""
    train_on_val: bool = Field(default=False, json_schema_extra=stated("paper A.3.2"))
    """The final run: val is trained on too, but for the images of minival."""

    @model_validator(mode="after")
    def _something_selects(self) -> Self:
        if self.train_on_val and self.minival is None:
            raise ValueError("train_on_val: selection would read what is trained on; name minival, a number of images")
        return self


FACTS = Facts(
    name="vqa",
    title="Visual question answering",
    explained="The public VQA accuracy: ten annotators, averaged over the subsets of nine. Chance always gives the "
    "answer that is most frequent in train (for a type: in that type).",
    config=Vqa,
    table="questions",
    texts="questions",
    columns=("question_id", "image_id", "answer_type", "answer", "answers"),
    given=(("image_id", "image_id"), ("answer_type", "answer_type"), ("answers", "answers")),
    kinds=(("answer", "text"),),
    headlines=(("accuracy", "Questions"),),
    samples="vlp.tasks.classification:Vqa",
    place=20,
    compared=(("VQA", "fine-tuned", "accuracy"),),
)
