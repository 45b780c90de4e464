"""Tiny pre-training corpora in their published formats, side by side, and an experiment of all of them."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from tests.data import published
from tests.data.published import PRETRAINING, save
from vlp.config import Experiment, build
from vlp.data.addresses import file_name

CC = ("http://a.example/1.jpg", "https://b.example/2?x=1", "http://c.example/gone.png")
SBU = ("http://static.flickr.com/2723/4385058960_b0f291553e.jpg", "http://static.flickr.com/1/12_ab.jpg")
ONLY_TRAIN = {"rename": {"train": "train"}}
SETS: dict[str, dict[str, Any]] = {
    "toy": {
        **published.SOURCES,
        "texts": {"format": "vqa_v2_questions", "files": {"questions": "q_train.json"}},
    },
    "gqa": {
        "split": ONLY_TRAIN,
        "captions": {
            "format": "gqa_questions",
            "files": {"questions": "{split}_balanced_questions.json", "images": "image_data.json"},
        },
        "texts": {"format": "visual_genome_questions", "files": {"questions": "question_answers.json"}},
    },
    "cc": {
        "split": {"rename": {"train": "train", "val": "val"}},
        "captions": {"format": "conceptual_captions", "files": {"captions": "{split}.tsv"}},
    },
    "sbu": {"captions": {"format": "sbu", "files": {"captions": "sbu-captions-all.json"}}},
    "openimages": {
        "split": {"rename": {"train": "train", "validation": "val"}},
        "captions": {"format": "openimages", "files": {"images": "{split}-images.csv"}},
        "texts": {"format": "captions_jsonl", "files": {"captions": "captions.jsonl"}},
        "labels": {
            "format": "openimages_labels",
            "files": {"labels": "{split}-labels.csv", "classes": "class-descriptions.csv"},
        },
    },
    "narratives": {"captions": {"format": "localized_narratives", "files": {"captions": "narratives.jsonl"}}},
    "refcoco": {
        "captions": {"format": "refcoco", "files": {"refs": "refs(unc).p", "instances": "instances.json"}},
        "referring": {"format": "refcoco", "files": {"refs": "refs(unc).p", "instances": "instances.json"}},
    },
}


def experiment(
    base: Path, only: str | None = None, changed: Mapping[str, Any] | None = None, **data: Any
) -> Experiment:
    """An experiment of all sets, or of one, whose keys `changed` replaces; `data`: keys beside the sets."""
    sets = SETS if only is None else {only: SETS[only] | dict(changed or {})}
    part = {"name": only or "toy", "root": str(base), "sets": sets, "max_lost": 1, **data}
    value = {"name": "several", "results": str(base.parent / "results"), "data": part, "pretraining": PRETRAINING}
    return build({**value, "regions": {"source": "vinvl_tsv", "tsv": "unused"}}, "test")


def write(base: Path) -> Path:
    published.write(base / "toy")
    _visual_genome(base / "gqa")
    _photos(base / "cc", [file_name(a) for a in CC[:2]])
    lines = {"train": f"a dog runs\t{CC[0]}\na cat\t{CC[1]}\textra\n\nlost\t{CC[2]}\n", "val": f"dog again\t{CC[0]}x\n"}
    _photos(base / "cc", [file_name(CC[0] + "x")])
    for split, text in lines.items():
        (base / "cc" / f"{split}.tsv").write_text(text, encoding="utf-8")
    _photos(base / "sbu", [file_name(SBU[0]), "12_ab.jpg"])
    save(
        base / "sbu" / "sbu-captions-all.json",
        {"image_urls": [*SBU, SBU[0]], "captions": ["My dog.", "A boat", "My dog again"], "user_ids": ["a", "b", "a"]},
    )
    _openimages(base / "openimages")
    _photos(base / "narratives", ["7.jpg"])
    told = [
        {"dataset_id": "flickr30k", "image_id": "7", "annotator_id": n, "caption": f"In this image {n}."}
        for n in (1, 2)
    ]
    (base / "narratives" / "narratives.jsonl").write_text("".join(json.dumps(t) + "\n" for t in told), encoding="utf-8")
    _refcoco(base / "refcoco")
    return base


def _photos(folder: Path, names: list[str], size: tuple[int, int] = (60, 40)) -> None:
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for shade, name in enumerate(names):
        Image.new("RGB", size, (40 * shade, 90, 10)).save(folder / "images" / name)


def _visual_genome(folder: Path) -> None:
    _photos(folder, ["101.jpg", "102.jpg", "n1.jpg"])
    asked = {
        "0201": {
            "imageId": "101",
            "question": "Is the dog brown?",
            "answer": "yes",
            "semantic": [{"operation": "select"}],
        },
        "0202": {"imageId": "101", "question": "What is it?", "answer": "dog", "annotations": {"question": {"0": "9"}}},
        "0203": {"imageId": "n1", "question": "Who runs?", "answer": "man"},
    }
    save(folder / "train_balanced_questions.json", asked)
    save(
        folder / "image_data.json",
        [
            {"image_id": 101, "coco_id": 42, "flickr_id": 77, "width": 60, "height": 40},
            {"image_id": 102, "coco_id": None, "flickr_id": None},
        ],
    )
    answers = [{"qa_id": 9, "image_id": 101, "question": "Where is the dog?", "answer": "outside"}]
    save(folder / "question_answers.json", [{"id": 101, "qas": answers}])


def _openimages(folder: Path) -> None:
    _photos(folder, ["0a1b.jpg", "0c2d.jpg"])
    header = "ImageID,Subset,OriginalURL,OriginalLandingURL,Title\n"
    landing = "https://www.flickr.com/photos/someone/15611395595"
    for split, name in (("train", "0a1b"), ("validation", "0c2d")):
        row = f'{name},{split},https://c2.staticflickr.com/6/5606/1_ab_o.jpg,{landing},"a title, with a comma"\n'
        (folder / f"{split}-images.csv").write_text(header + row, encoding="utf-8")
    labels = "ImageID,Source,LabelName,Confidence\n"
    train = ("verification,/m/1,1", "crowdsource-verification,/m/1,1", "verification,/m/2,0", "machine,/m/2,0.9")
    (folder / "train-labels.csv").write_text(labels + "".join(f"0a1b,{row}\n" for row in train), encoding="utf-8")
    (folder / "validation-labels.csv").write_text(labels + "0c2d,verification,/m/2,1\n", encoding="utf-8")
    (folder / "class-descriptions.csv").write_text(
        'LabelName,DisplayName\n/m/1,Dog\n/m/2,"Cat, big"\n', encoding="utf-8"
    )
    lines = [{"image_id": "openimages/0a1b", "caption": "a dog on a lawn"}, {"image_id": "0c2d", "caption": "a cat"}]
    (folder / "captions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def _refcoco(folder: Path) -> None:
    names = [f"COCO_train2014_{n:012d}.jpg" for n in (5, 6)]
    _photos(folder, names)
    images = [{"id": n, "file_name": name, "width": 60, "height": 40} for n, name in zip((5, 6), names, strict=True)]
    boxes = [{"id": 100 + n, "image_id": n, "category_id": 1, "bbox": [1, 2, 20, 10], "iscrowd": 0} for n in (5, 6)]
    save(folder / "instances.json", {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "dog"}]})
    refs = [
        {"ref_id": n, "ann_id": 100 + n, "image_id": n, "split": split, "sentences": [{"sent_id": n, "raw": "the dog"}]}
        for n, split in ((5, "train"), (6, "testB"))
    ]
    (folder / "refs(unc).p").write_bytes(pickle.dumps(refs, protocol=2))
