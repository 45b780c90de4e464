"""A tiny data set in every published format, written into a folder; a test then damages one thing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image

from vlp.config import Experiment, build

STEMS = ("01", "02", "03", "04")
SPLITS = ("train", "train", "val", "test")
CAPTIONS = ("Two men in red hats run .", 'A dog says " hi " to a cat .')
MARKED = (
    "[/EN#1/people Two men] in [/EN#2/clothing red hats] run .",
    'A [/EN#3/animals dog] says " hi " to [/EN#0/notvisual a cat] .',
)
BOXES = {"1": [(1, 1, 20, 30), (11, 5, 40, 30)], "2": [(3, 2, 10, 10)]}

PRETRAINING = {
    stage: {"epochs": 1, "batch_size": 2, "learning_rate": 1e-4, "losses": ["vsc"]} for stage in ("stage1", "stage2")
}
SOURCES: dict[str, Any] = {
    "captions": {"format": "karpathy", "files": {"captions": "karpathy.json"}},
    "questions": {"format": "vqa_v2", "files": {"questions": "q_{split}.json", "annotations": "a_{split}.json"}},
    "entailment": {"format": "snli_ve", "files": {"pairs": "ve_{split}.jsonl"}},
    "phrase_boxes": {
        "format": "flickr30k_entities",
        "files": {"sentences": "Sentences", "annotations": "Annotations"},
    },
    "objects": {"format": "coco_instances", "files": {"instances": "instances_{split}.json"}},
    "referring": {"format": "refcoco", "files": {"refs": "refs.json", "instances": "instances_{split}.json"}},
}
COCO_CAPTIONS = {"format": "coco_captions", "files": {"captions": "captions_{split}.json"}}


def experiment(root: Path, **data: Any) -> Experiment:
    """An experiment on `root`; keys of `data` replace those of the config's part. One record is much of so few."""
    own = {"name": "toy", "root": str(root), "images": ["images"], "max_lost": 1}
    part = {**own, **SOURCES, **data}
    regions = {"source": "vinvl_tsv", "tsv": "unused"}  # so that data.objects may be absent
    value = {"name": "toy", "results": str(root.parent / "results"), "data": part, "pretraining": PRETRAINING}
    return build({**value, "regions": regions}, "test")


def load(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def save(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


def write(root: Path, size: tuple[int, int] = (60, 40)) -> Path:
    """Four images (two of train, one of val, one of test), two captions each, and every kind of annotation."""
    for folder in ("images", "Sentences", "Annotations"):
        (root / folder).mkdir(parents=True)
    numbers = [int(stem) for stem in STEMS]
    for shade, stem in enumerate(STEMS):
        Image.new("RGB", size, (50 * shade, 10, 10)).save(root / "images" / f"{stem}.jpg")
        (root / "Sentences" / f"{stem}.txt").write_text("\n".join(MARKED) + "\n", encoding="utf-8")
        (root / "Annotations" / f"{stem}.xml").write_text(_xml(size), encoding="utf-8")
    images = [
        {
            "filename": f"{stem}.jpg",
            "imgid": i,
            "split": split,
            "sentences": [{"raw": text, "imgid": i, "sentid": 2 * i + j} for j, text in enumerate(CAPTIONS)],
        }
        for i, (stem, split) in enumerate(zip(STEMS, SPLITS, strict=True))
    ]
    save(root / "karpathy.json", {"images": images, "dataset": "toy"})
    for split in ("train", "val", "test"):
        ours = [(n, stem) for n, stem, s in zip(numbers, STEMS, SPLITS, strict=True) if s == split]
        listed = [{"id": n, "file_name": f"{stem}.jpg", "width": size[0], "height": size[1]} for n, stem in ours]
        captions = [
            {"id": 10 * n + j, "image_id": n, "caption": text} for n, _ in ours for j, text in enumerate(CAPTIONS)
        ]
        save(root / f"captions_{split}.json", {"images": listed, "annotations": captions})
        boxes = [
            {"id": 100 + n, "image_id": n, "category_id": 7, "bbox": [5, 6, 20.5, 10], "iscrowd": 0} for n, _ in ours
        ]
        save(
            root / f"instances_{split}.json",
            {"images": listed, "annotations": boxes, "categories": [{"id": 7, "name": "dog"}]},
        )
        save(
            root / f"q_{split}.json",
            {"questions": [{"question_id": n * 1000, "image_id": n, "question": "How many men?"} for n, _ in ours]},
        )
        answers = [{"answer": "2" if i < 8 else "two", "answer_id": i, "answer_confidence": "yes"} for i in range(10)]
        annotation = {"answer_type": "number", "question_type": "how many", "multiple_choice_answer": "2"}
        save(
            root / f"a_{split}.json",
            {
                "annotations": [
                    {"question_id": n * 1000, "image_id": n, "answers": answers, **annotation} for n, _ in ours
                ]
            },
        )
        pairs = [
            {"Flickr30K_ID": stem, "pairID": f"{stem}.jpg#0r1e", "sentence2": "Men run.", "gold_label": "entailment"}
            for _, stem in ours
        ]
        (root / f"ve_{split}.jsonl").write_text("".join(json.dumps(p) + "\n" for p in pairs), encoding="utf-8")
    sentences = [{"sent_id": 1, "raw": "The dog", "sent": "the dog"}, {"sent_id": 2, "sent": "brown dog"}]
    save(
        root / "refs.json",
        [{"ref_id": n, "ann_id": 100 + n, "image_id": n, "split": "testA", "sentences": sentences} for n in numbers],
    )
    return root


def _xml(size: tuple[int, int]) -> str:
    objects = ""
    for chain, boxes in BOXES.items():
        for box in boxes:
            corners = "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
            objects += f"<object><name>{chain}</name><bndbox>{corners}</bndbox></object>\n"
    objects += "<object><name>3</name><scene>0</scene><nobndbox>1</nobndbox></object>\n"
    shape = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"
    return f"<annotation>\n{shape}\n{objects}</annotation>\n"
