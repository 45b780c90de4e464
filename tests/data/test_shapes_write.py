from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vlp.config.data import Shapes
from vlp.data.shapes import generate
from vlp.errors import InputError
from vlp.files import sha256

DIALS = Shapes(train_images=24, val_images=6, test_images=6)
SPLITS = ("train", "val", "test")


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shapes") / "raw"
    generate(DIALS, folder)
    return folder


def load(path: Path) -> Any:
    return json.loads(path.read_text())


def truths(raw: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (raw / "truth.jsonl").read_text().splitlines()]


def test_equal_dials_give_equal_bytes(tmp_path: Path) -> None:
    dials = Shapes(train_images=8, val_images=2, test_images=2)
    first, second = generate(dials, tmp_path / "a"), generate(dials, tmp_path / "b")
    assert first == second and sha256(tmp_path / "a") == sha256(tmp_path / "b")
    assert generate(dials, tmp_path / "a") == first  # over an earlier one, of more images or the same
    other = generate(dials.model_copy(update={"seed": 1}), tmp_path / "b")
    assert other["files"]["images"]["sha256"] != first["files"]["images"]["sha256"]


def test_manifest_names_every_file(raw: Path) -> None:
    manifest = load(raw / "manifest.json")
    assert Shapes(**manifest["generator"]) == DIALS
    for name, entry in manifest["files"].items():
        assert sha256(raw / name) == entry["sha256"], name
    known = {Path(name).parts[0] for name in manifest["files"]}
    assert {p.name for p in raw.iterdir() if not p.name.startswith(".")} == known | {"manifest.json"}
    assert manifest["counts"]["train"]["images"] == 24 and manifest["counts"]["test"]["captions"] == 30


def test_a_folder_of_others_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "mine.jpg").write_text("mine")
    with pytest.raises(InputError, match="not of this generator"):
        generate(DIALS, tmp_path)
    assert (tmp_path / "images" / "mine.jpg").read_text() == "mine"


def test_what_an_earlier_call_left_is_replaced(tmp_path: Path) -> None:
    generate(Shapes(train_images=5, val_images=1, test_images=1), tmp_path)
    generate(Shapes(train_images=2, val_images=1, test_images=1), tmp_path)
    assert len(list((tmp_path / "images").iterdir())) == len(list((tmp_path / "Sentences").iterdir())) == 4


def test_captions_agree_in_all_their_files(raw: Path) -> None:
    karpathy = load(raw / "dataset_shapes.json")["images"]
    assert Counter(r["split"] for r in karpathy) == {"train": 24, "val": 6, "test": 6}
    texts = {t["image_id"]: [c["text"] for c in t["captions"]] for t in truths(raw)}
    for record in karpathy:
        name = record["filename"].removesuffix(".jpg")
        assert str(record["cocoid"]) == name
        assert [s["raw"] for s in record["sentences"]] == texts[name]
        assert record["sentids"] == [s["sentid"] for s in record["sentences"]]
        assert all(s["tokens"] == re.findall(r"[a-z]+", s["raw"]) for s in record["sentences"])
    ids: list[int] = []
    for split in SPLITS:
        coco = load(raw / f"annotations/captions_{split}.json")
        names = {i["id"]: i["file_name"] for i in coco["images"]}
        assert {Path(n).stem for n in names.values()} == {t["image_id"] for t in truths(raw) if t["split"] == split}
        grouped: dict[str, list[str]] = {}
        for a in coco["annotations"]:
            grouped.setdefault(Path(names[a["image_id"]]).stem, []).append(a["caption"])
            ids.append(a["id"])
        assert all(grouped[name] == texts[name] for name in grouped)
    assert len(set(ids)) == len(ids) == 5 * 36


def test_images_and_boxes(raw: Path) -> None:
    first_ids: list[int] = []
    scenes = {t["image_id"]: t for t in truths(raw)}
    for split in SPLITS:
        coco = load(raw / f"annotations/instances_{split}.json")
        classes = {c["id"]: c["name"] for c in coco["categories"]}
        boxes: dict[str, list[tuple[str, list[int]]]] = {}
        for a in coco["annotations"]:
            x, y, w, h = a["bbox"]
            boxes.setdefault(str(a["image_id"]), []).append((classes[a["category_id"]], [x, y, x + w, y + h]))
            assert a["area"] == w * h > 0
            first_ids.append(a["id"])
        for name, found in boxes.items():
            assert found == [(o["shape"], o["box"]) for o in scenes[name]["objects"]]
            with Image.open(raw / "images" / f"{name}.jpg") as picture:
                assert picture.size == (160, 160) and np.asarray(picture).std() > 5
    assert len(set(first_ids)) == len(first_ids)


def test_markup_and_boxes_of_phrases_parse_back(raw: Path) -> None:
    """In the manner of the published `flickr30k_entities_utils`: names of chains on one side, boxes on the other."""
    kinds: Counter[str] = Counter()
    groups = 0
    for scene in truths(raw):
        root = ElementTree.parse(raw / "Annotations" / f"{scene['image_id']}.xml").getroot()
        boxes: dict[str, list[list[int]]] = {}
        unboxed: dict[str, str | None] = {}
        for item in root.iter("object"):
            for name in item.findall("name"):
                box = item.find("bndbox")
                if box is None:
                    assert item.findtext("nobndbox") == "1"
                    unboxed[str(name.text)] = item.findtext("scene")
                else:
                    # Pixels count from 1, and the last one is inside.
                    x1, y1, x2, y2 = (int(str(box.findtext(k))) for k in ("xmin", "ymin", "xmax", "ymax"))
                    boxes.setdefault(str(name.text), []).append([x1 - 1, y1 - 1, x2, y2])
        lines = (raw / "Sentences" / f"{scene['image_id']}.txt").read_text().splitlines()
        for line, caption in zip(lines, scene["captions"], strict=True):
            assert re.sub(r"\[/EN#\d+/\w+ ([^]]*)\]", r"\1", line) == caption["text"]
            marks = re.findall(r"\[/EN#(\d+)/(\w+) ([^]]*)\]", line)
            mentions = sorted(caption["mentions"], key=lambda m: m["start"])
            for (number, kind, phrase), m in zip(marks, mentions, strict=True):
                kinds[kind] += 1
                groups += len(m["objects"]) > 1
                assert kind == m["type"] and phrase == caption["text"][m["start"] : m["end"]]
                wanted = [scene["objects"][i]["box"] for i in sorted(m["objects"])]
                assert sorted(boxes.get(number, [])) == sorted(wanted)
                assert kind != "notvisual" or number == "0"
                assert kind != "scene" or unboxed[number] == "1"
    assert kinds["other"] > 200 and kinds["notvisual"] > 5 and kinds["scene"] > 5 and groups > 3


def test_questions_and_answers(raw: Path) -> None:
    for split in SPLITS:
        questions = load(raw / f"v2_OpenEnded_questions_{split}.json")["questions"]
        annotations = load(raw / f"v2_annotations_{split}.json")["annotations"]
        assert [q["question_id"] for q in questions] == [a["question_id"] for a in annotations]
        assert questions
        for q, a in zip(questions, annotations, strict=True):
            assert q["image_id"] == a["image_id"] and q["question"].startswith(a["question_type"])
            assert a["answer_type"] in ("yes/no", "number", "other")
            given = [x["answer"] for x in a["answers"]]
            assert len(given) == 10 and Counter(given).most_common(1)[0][0] == a["multiple_choice_answer"]
            assert [x["answer_id"] for x in a["answers"]] == list(range(1, 11))


def test_hypotheses(raw: Path) -> None:
    pairs = [json.loads(x) for s in SPLITS for x in (raw / f"snli_ve_{s}.jsonl").read_text().splitlines()]
    assert len({p["pairID"] for p in pairs}) == len(pairs) > 50
    labels = Counter(p["gold_label"] for p in pairs)
    assert len(labels) == 3 and len(set(labels.values())) == 1
    texts = {t["image_id"]: [c["text"] for c in t["captions"]] for t in truths(raw)}
    assert all(p["sentence1"] in texts[p["Flickr30K_ID"]] and p["sentence2"] for p in pairs)


def test_refs_point_at_their_annotation(raw: Path) -> None:
    annotations = {a["id"]: a for s in SPLITS for a in load(raw / f"annotations/instances_{s}.json")["annotations"]}
    refs = load(raw / "refs.json")
    assert len(refs) > 50 and len({r["ref_id"] for r in refs}) == len(refs)
    for r in refs:
        assert annotations[r["ann_id"]]["image_id"] == r["image_id"]
        assert annotations[r["ann_id"]]["category_id"] == r["category_id"]
        assert [s["sent_id"] for s in r["sentences"]] == r["sent_ids"]
        assert all(s["sent"].split() == s["tokens"] for s in r["sentences"])


def test_label_noise_dial(tmp_path: Path, raw: Path) -> None:
    noisy = DIALS.model_copy(update={"label_noise": 0.3})
    generate(noisy, tmp_path)
    clean, dirty = truths(raw), truths(tmp_path)
    wrong = [o["annotated"] != o["shape"] for t in dirty for o in t["objects"]]
    assert np.mean(wrong) == pytest.approx(0.3, abs=0.12)
    assert all(o["annotated"] == o["shape"] for t in clean for o in t["objects"])
    for t in (*clean, *dirty):
        for o in t["objects"]:
            o.pop("annotated")
    assert clean == dirty  # the scenes and all texts are the same
    shapes = {o["shape"] for t in dirty for o in t["objects"]}
    labels = load(tmp_path / "annotations/instances_train.json")
    assert {c["name"] for c in labels["categories"]} >= shapes


def test_counts_of_texts_follow_the_dials(tmp_path: Path) -> None:
    dials = DIALS.model_copy(update={"captions_per_image": 2, "questions_per_image": 3, "hypotheses_per_image": 4})
    counts = generate(dials, tmp_path)["counts"]
    assert counts["train"]["captions"] == 2 * 24
    assert 0.5 * 3 * 24 < counts["train"]["questions"] <= 3 * 24
    assert 0.5 * 4 * 24 < counts["train"]["hypotheses"] <= 4 * 24
