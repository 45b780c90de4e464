"""Forms of JSON records that projects of the field use, known by their fields: what a reader says of a foreign file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple


class Form(NamedTuple):
    fields: tuple[str, ...]
    """Every record of the form has them."""
    name: str
    remedy: str


_AS_LINES = 'Write each as a line {"image_id": FILE NAME, "caption": TEXT} and use the format captions_jsonl.'
_FORMS = (
    # those with more telling fields come first
    Form(("question_id", "question", "image", "dataset"), "ALBEF's list of questions", "The format vqa_v2 reads the "
         "official questions and annotations that it was made of."),
    Form(("q", "an"), "Oscar's list of questions (q, an, o)", "The format vqa_v2 reads the official questions and "
         "annotations that it was made of."),
    Form(("img_id", "question_id", "sent"), "LXMERT's list of questions", "The format vqa_v2 reads the official "
         "questions and annotations that it was made of."),
    Form(("toked_question",), "UNITER's text database", "It holds token numbers: name the official files that it was "
         "made of."),
    Form(("input_ids", "img_fname"), "UNITER's text database", "It holds token numbers: name the official files that "
         "it was made of."),
    Form(("image", "sentence", "label"), "ALBEF's list of entailment pairs", "The format snli_ve reads the official "
         "snli_ve_*.jsonl that it was made of."),
    Form(("images", "sentence", "label"), "ALBEF's list of NLVR2 pairs", "NLVR2 is no task here."),
    Form(("image", "text", "ref_id"), "ALBEF's list of expressions", "The format refcoco reads refs and instances."),
    Form(("image", "caption"), "ALBEF's list of captions", _AS_LINES),
    Form(("image", "text"), "ALBEF's list of texts", _AS_LINES),
    Form(("objects", "image_h", "image_w"), "VinVL's predictions", "These are regions: name their folder in "
         "regions.tsv."),
    Form(("class", "rect"), "the objects of VinVL's predictions", "These are regions: name their folder in "
         "regions.tsv."),
    Form(("num_boxes", "features"), "Oscar's features for captioning, or bottom-up's", "These are regions: see "
         "docs/data.md."),
    Form(("filename", "sentences"), "Karpathy's form", "Use the format karpathy."),
    Form(("question_id", "answers"), "VQA's annotations", "Name them under `annotations` of the format vqa_v2."),
    Form(("question_id", "question"), "VQA's questions", "Use the format vqa_v2."),
    Form(("Flickr30K_ID", "gold_label"), "SNLI-VE's pairs", "Use the format snli_ve."),
    Form(("ref_id", "sentences"), "RefCOCO's refs", "Use the format refcoco."),
    Form(("imageId", "question"), "GQA's questions", "Use the format gqa_questions."),
    Form(("qas", "id"), "Visual Genome's questions", "Use the format visual_genome_questions."),
    Form(("image_id", "annotator_id", "caption"), "Localized Narratives", "Use the format localized_narratives."),
    Form(("category_id", "bbox"), "COCO's instances", "Use the format coco_instances."),
    Form(("image_id", "caption"), "a list of captions as Oscar has it, or COCO's results", _AS_LINES),
    Form(("image_urls", "captions"), "SBU's form", "Use the format sbu."),
)  # fmt: skip
_PARTS = (
    (("images", "annotations", "categories"), Form((), "COCO's instances", "Use the format coco_instances.")),
    (("images", "annotations"), Form((), "COCO's captions", "Use the format coco_captions.")),
    (("images", "dataset"), Form((), "Karpathy's form", "Use the format karpathy.")),
    (("questions",), Form((), "VQA's questions", "Use the format vqa_v2.")),
    (("annotations",), Form((), "VQA's annotations", "Name them under `annotations` of the format vqa_v2.")),
    (("captions", "image_urls"), Form((), "SBU's form", "Use the format sbu.")),
)
_LOOKED = 20
"""Records of a list that are looked at."""


def of_record(record: Any) -> Form | None:
    """The form that the fields of one record are those of; None: no known one."""
    if not isinstance(record, dict):
        return None
    return next((form for form in _FORMS if all(name in record for name in form.fields)), None)


def of_file(value: Any) -> Form | None:
    """The form of a whole JSON file."""
    if isinstance(value, dict):
        known = next((form for parts, form in _PARTS if all(name in value for name in parts)), None)
        return known or of_record(value) or _of_any(value.values())
    return _of_any(value) if isinstance(value, list) else None


def _of_any(records: Iterable[Any]) -> Form | None:
    looked = zip(range(_LOOKED), records, strict=False)
    return next((form for _, record in looked if (form := of_record(record)) is not None), None)
