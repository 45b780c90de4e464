"""Image-text retrieval (paper 4.2.1, A.3.1)."""

from pydantic import Field

from vlp.config.base import stated
from vlp.config.tasks.base import Facts, Task


class Retrieval(Task):
    captions_reranked: int = Field(default=128, ge=1, json_schema_extra=stated("paper 4.2.1"))
    """k_c: captions kept for each image (paper 4.2.1)."""
    images_reranked: int = Field(default=64, ge=1, json_schema_extra=stated("paper 4.2.1"))
    """k_i: images kept for each caption."""
    folds: int = Field(default=1, ge=1, json_schema_extra=stated("ours"))
    """Each so-many-th part of the images is ranked by itself too, and the mean is given: 5 of COCO's 5k test images
    are "COCO 1k". 1: only the whole."""
    exhaustive: bool = Field(default=False, json_schema_extra=stated("ours"))
    """Score every pair, and tell what is lost by re-ranking only the coarse candidates."""


FACTS = Facts(
    name="retrieval",
    title="Image-text retrieval",
    explained="TR finds captions for an image, IR images for a caption. Candidates come from the unimodal encoders "
    "and are re-ranked by the image-text-matching probability alone; a right answer that was not kept is a miss. "
    "Uni- rows are the unimodal order without re-ranking. RSUM adds the six recalls.",
    config=Retrieval,
    table="captions",
    texts="captions",
    columns=("direction", "query_id", "candidate_id", "coarse", "score", "positive"),
    kinds=(
        ("direction", "text"),
        ("query_id", "text"),
        ("candidate_id", "text"),
        ("coarse", "number"),
        ("score", "number"),
        ("positive", "flag"),
        ("fold", "count"),
        ("pruned", "flag"),
    ),
    headlines=(
        ("IR@1", "Text to image, R@1"),
        ("IR@10", "Text to image, R@10"),
        ("TR@1", "Image to text, R@1"),
        ("TR@10", "Image to text, R@10"),
    ),
    samples="vlp.tasks.retrieval:Retrieval",
    place=10,
    nullable=frozenset({"coarse"}),
    compared=(("RSUM", "fine-tuned", "RSUM"), ("Uni-RSUM", "fine-tuned", "Uni-RSUM")),
    excluded_by_paper=True,
)
