"""Samples as the records of the published formats, one function per file. The package docstring names the fields."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from vlp.config.data import Shapes
from vlp.data.shapes.language import Mention
from vlp.data.shapes.questions import prefix
from vlp.data.shapes.sample import Sample
from vlp.data.shapes.vocabulary import KINDS, Vocabulary

Records = dict[str, Any]


def _info(description: str) -> Records:
    return {"description": description, "version": "1.0", "url": "", "contributor": "vlp data shapes"}


def _images(samples: Sequence[Sample]) -> list[Records]:
    return [
        {"id": s.number, "file_name": s.file_name, "width": s.scene.pixels, "height": s.scene.pixels} for s in samples
    ]


def coco_captions(samples: Sequence[Sample]) -> Records:
    rows = [
        {"image_id": s.number, "id": _caption_number(s, k), "caption": text.text}
        for s in samples
        for k, text in enumerate(s.captions)
    ]
    return {"info": _info("shapes: captions"), "licenses": [], "images": _images(samples), "annotations": rows}


def _caption_number(sample: Sample, k: int) -> int:
    return sample.scene.index * len(sample.captions) + k


def karpathy(samples: Sequence[Sample]) -> Records:
    images = []
    for s in samples:
        sentences = [
            {"tokens": t.text.replace(",", "").split(), "raw": t.text, "imgid": s.scene.index, "sentid": n}
            for n, t in ((_caption_number(s, k), t) for k, t in enumerate(s.captions))
        ]
        images.append(
            {
                "sentids": [x["sentid"] for x in sentences],
                "imgid": s.scene.index,
                "sentences": sentences,
                "split": s.split,
                "filename": s.file_name,
                "cocoid": s.number,
            }
        )
    return {"images": images, "dataset": "shapes"}


def vqa_questions(samples: Sequence[Sample], split: str) -> Records:
    rows = [
        {"image_id": s.number, "question": q.candidate.text, "question_id": s.number * 1000 + k}
        for s in samples
        for k, q in enumerate(s.questions)
    ]
    head = {"info": _info("shapes: questions"), "task_type": "Open-Ended", "data_type": "shapes"}
    return {**head, "license": {}, "data_subtype": split, "questions": rows}


def vqa_annotations(samples: Sequence[Sample], split: str) -> Records:
    rows = []
    for s in samples:
        for k, q in enumerate(s.questions):
            answers = [
                {"answer": a, "answer_confidence": "yes" if a == q.candidate.answer else "maybe", "answer_id": n}
                for n, a in enumerate(q.answers, 1)
            ]
            rows.append(
                {
                    "question_type": prefix(q.candidate.text),
                    "multiple_choice_answer": Counter(q.answers).most_common(1)[0][0],
                    "answers": answers,
                    "image_id": s.number,
                    "answer_type": q.candidate.type,
                    "question_id": s.number * 1000 + k,
                }
            )
    head = {"info": _info("shapes: answers"), "data_type": "shapes", "license": {}}
    return {**head, "data_subtype": split, "annotations": rows}


def snli_ve(samples: Sequence[Sample]) -> list[Records]:
    """The caption goes along as `sentence1`, in SNLI-VE's manner; the label is that of image and hypothesis."""
    return [
        {
            "annotator_labels": [h.answer],
            "captionID": f"{s.file_name}#{k % len(s.captions)}",
            "gold_label": h.answer,
            "pairID": f"{s.file_name}#{k % len(s.captions)}r{k}{h.answer[0]}",
            "sentence1": s.captions[k % len(s.captions)].text,
            "sentence2": h.text,
            "Flickr30K_ID": s.name,
        }
        for s in samples
        for k, h in enumerate(s.hypotheses)
    ]


def instances(samples: Sequence[Sample], dials: Shapes, first: dict[int, int]) -> Records:
    """COCO boxes: x, y, width, height. `first[image number]` is the id of its first annotation."""
    shapes = Vocabulary.of(dials).values["shape"]
    rows = []
    for s in samples:
        for n, (thing, label) in enumerate(zip(s.scene.things, s.labels, strict=True)):
            x1, y1, x2, y2 = thing.box
            rows.append(
                {
                    "id": first[s.number] + n,
                    "image_id": s.number,
                    "category_id": shapes.index(label) + 1,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": 0,
                    "attributes": [thing.value(k) for k in KINDS[:-1]],
                }
            )
    categories = [{"id": n, "name": name, "supercategory": "shape"} for n, name in enumerate(shapes, 1)]
    head = {"info": _info("shapes: boxes"), "licenses": []}
    return {**head, "images": _images(samples), "annotations": rows, "categories": categories}


def refs(samples: Sequence[Sample], dials: Shapes, first: dict[int, int]) -> list[Records]:
    shapes = Vocabulary.of(dials).values["shape"]
    rows: list[Records] = []
    sentence = 0
    for s in samples:
        for i, texts in s.referring.items():
            said = [{"tokens": t.split(), "raw": t, "sent_id": sentence + n, "sent": t} for n, t in enumerate(texts)]
            sentence += len(said)
            rows.append(
                {
                    "ref_id": len(rows),
                    "ann_id": first[s.number] + i,
                    "image_id": s.number,
                    "category_id": shapes.index(s.labels[i]) + 1,
                    "file_name": s.file_name,
                    "split": s.split,
                    "sent_ids": [x["sent_id"] for x in said],
                    "sentences": said,
                }
            )
    return rows


def _chains(sample: Sample) -> dict[tuple[str, tuple[int, ...]], int]:
    """Every thing or group that the captions mention, numbered from 1; 'a picture' is 0, as in Flickr30k Entities."""
    chains: dict[tuple[str, tuple[int, ...]], int] = {}
    for text in sample.captions:
        for m in text.mentions:
            chains.setdefault(_chain(m), 0 if m.type == "notvisual" else 1 + sum(n > 0 for n in chains.values()))
    return chains


def _chain(mention: Mention) -> tuple[str, tuple[int, ...]]:
    return mention.type, mention.objects


def entities_sentences(sample: Sample) -> str:
    """One caption a line, its noun phrases as `[/EN#number/type words]`."""
    chains = _chains(sample)
    lines = []
    for text in sample.captions:
        line, at = "", 0
        for m in sorted(text.mentions, key=lambda m: m.start):
            words = text.text[m.start : m.end]
            line += f"{text.text[at : m.start]}[/EN#{chains[_chain(m)]}/{m.type} {words}]"
            at = m.end
        lines.append(line + text.text[at:] + "\n")
    return "".join(lines)


def entities_annotation(sample: Sample) -> str:
    """Boxes of each chain; an object that belongs to several (itself, a group) has several names."""
    names: dict[int, list[int]] = {}
    unboxed: list[tuple[int, bool]] = []
    for (kind, objects), number in _chains(sample).items():
        for i in objects:
            names.setdefault(i, []).append(number)
        if not objects and number:
            unboxed.append((number, kind == "scene"))
    side = sample.scene.pixels
    lines = ["<annotation>", f"\t<filename>{sample.file_name}</filename>", "\t<size>"]
    lines += [f"\t\t<{k}>{v}</{k}>" for k, v in (("width", side), ("height", side), ("depth", 3))]
    lines.append("\t</size>")
    for i in sorted(names):
        lines += ["\t<object>", *(f"\t\t<name>{n}</name>" for n in names[i]), "\t\t<bndbox>"]
        x1, y1, x2, y2 = sample.scene.things[i].box
        # The published files count pixels from 1 and name the last one inside.
        box = (("xmin", x1 + 1), ("ymin", y1 + 1), ("xmax", x2), ("ymax", y2))
        lines += [*(f"\t\t\t<{k}>{v}</{k}>" for k, v in box), "\t\t</bndbox>", "\t</object>"]
    for number, scene in unboxed:
        lines += ["\t<object>", f"\t\t<name>{number}</name>", f"\t\t<scene>{int(scene)}</scene>"]
        lines += ["\t\t<nobndbox>1</nobndbox>", "\t</object>"]
    return "\n".join([*lines, "</annotation>"]) + "\n"


def truth(sample: Sample) -> Records:
    """The scene graph, and what each text says of it."""
    scene = sample.scene
    return {
        "image_id": sample.name,
        "split": sample.split,
        "width": scene.pixels,
        "height": scene.pixels,
        "background": {"tone": scene.tone, "pattern": scene.pattern},
        "objects": [
            {**{k: t.value(k) for k in KINDS}, "box": list(t.box), "inside": t.inside, "annotated": label}
            for t, label in zip(scene.things, sample.labels, strict=True)
        ],
        "relations": [list(r) for r in scene.relations()],
        "captions": [
            {
                "caption_id": f"{sample.name}#{k}",
                "text": text.text,
                "mentions": [_mention(sample, m) for m in text.mentions],
                "relations": [dict(vars(c)) for c in text.claims],
            }
            for k, text in enumerate(sample.captions)
        ],
        "questions": [
            {"question_id": sample.number * 1000 + k, "template": q.candidate.template, "answer": q.candidate.answer}
            for k, q in enumerate(sample.questions)
        ],
        "hypotheses": [
            {"pair_id": p["pairID"], "template": h.template, "label": h.answer}
            for p, h in zip(snli_ve([sample]), sample.hypotheses, strict=True)
        ],
    }


def _mention(sample: Sample, mention: Mention) -> Records:
    said = {w.kind: w.value for w in mention.words if w.kind in KINDS}
    fits = sample.scene.matching(said) if mention.objects else []
    return {**vars(mention), "words": [dict(vars(w)) for w in mention.words], "fits": fits}
