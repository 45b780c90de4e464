"""A finished experiment made up without any model: small pictures, tables, regions, predictions with known answers."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from PIL import Image, ImageDraw
from typer.testing import CliRunner

from vlp.cli import report as cli
from vlp.config import Experiment, build
from vlp.data.coverage import coverage
from vlp.data.tables import SCHEMAS, to_table, write_table
from vlp.files import write_json
from vlp.regions.store import RegionWriter
from vlp.tracking import journal as journals
from vlp.tracking import track

SIDE = 120
COLOURS = ("crimson", "seagreen", "royalblue", "goldenrod", "purple", "teal")
SHAPES = ("circle", "square", "bar")


def config(results: Path, **over: Any) -> Experiment:
    optimisation = {"epochs": 1, "batch_size": 4, "learning_rate": 1e-3}
    stage = {**optimisation, "losses": ["vsc"]}
    task = {"optimisation": optimisation}
    value = {
        "name": "fabricated",
        "results": str(results),
        "seed": 7,
        "data": {
            "name": "shapes",
            "generator": {},
            "captions": {"format": "karpathy"},
            "questions": {"format": "vqa_v2"},
            "entailment": {"format": "snli_ve"},
            "phrase_boxes": {"format": "flickr30k_entities"},
            "objects": {"format": "coco_instances"},
        },
        "pretraining": {"stage1": stage, "stage2": stage},
        "tasks": {"retrieval": task, "vqa": task, "entailment": task, "grounding": {**task, "variants": ["full"]}},
        "tracking": {"enabled": False},
    }
    return build(value | over, "fabricated")


class Scene:
    """Two coloured shapes side by side; which ones follows from the number."""

    def __init__(self, number: int, split: str) -> None:
        self.id, self.split = f"shapes/{number:06d}", split
        self.colours = (COLOURS[number % 6], COLOURS[(number // 6 + number + 1) % 6])
        self.shapes = (SHAPES[number % 3], SHAPES[(number // 3) % 3])
        lift = 5 * (number % 5)
        self.boxes = [[10.0, 30.0 + lift, 50.0, 70.0 + lift], [66.0, 20.0, 110.0, 64.0]]

    @property
    def captions(self) -> list[str]:
        a, b = (f"{c} {s}" for c, s in zip(self.colours, self.shapes, strict=True))
        return [f"a {a} beside a {b}", f"the {b} is right of the {a}"]

    def draw(self, path: Path) -> None:
        picture = Image.new("RGB", (SIDE, SIDE), "#d8dee6")
        pen = ImageDraw.Draw(picture)
        for box, colour, shape in zip(self.boxes, self.colours, self.shapes, strict=True):
            (pen.ellipse if shape == "circle" else pen.rectangle)(box, fill=colour, outline="black")
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)


def experiment(results: Path, images: int = 6, **over: Any) -> Experiment:
    """Write everything but results.csv and the report; `images` in each of train and test."""
    made = config(results, **over)
    folder = made.folder
    scenes = [Scene(i, "train" if i < images else "test") for i in range(2 * images)]
    for scene in scenes:
        scene.draw(folder / "raw" / f"{scene.id}.png")
    tables(folder / "tables", folder / "raw", scenes)
    store(folder / "regions" / "regions.h5", scenes)
    found = {
        "recall": 0.9,
        "precision": 0.75,
        "recall_any_class": 0.95,
        "objects": 2 * images,
        "detections": 3 * images,
    }
    write_json(
        folder / "regions" / "quality.json",
        {
            "splits": {"train": found, "test": found},
            "without_detection": ["shapes/000001"],
            "skipped": [{"reason": "cut short"}],
        },
    )
    test = [scene for scene in scenes if scene.split == "test"]
    for variant in ("full", "blind"):
        retrieval(folder / "predictions" / f"retrieval.{variant}.test.parquet", test, right=variant == "full")
        vqa(folder / "predictions" / f"vqa.{variant}.test.parquet", test, right=variant == "full")
        entailment(folder / "predictions" / f"entailment.{variant}.test.parquet", test, right=variant == "full")
    for variant, right in (("full", True), ("pretrained", False)):
        grounding(folder / "predictions" / f"grounding.{variant}.test.parquet", test, right=right)
    for name in ("stage2", "retrieval.full", "vqa.full", "entailment.full", "grounding.full"):
        path = folder / "models" / name / "model.safetensors"
        path.parent.mkdir(parents=True)
        path.write_bytes(name.encode())
    runs(made)
    return made


def finish(made: Experiment, root: Path, between: Callable[[], object] = lambda: None) -> tuple[Path, Path]:
    """A copy of the experiment below `root` with results and, after `between`, report: its config, its folder."""
    folder = root / made.name
    shutil.copytree(made.folder, folder)
    config = folder / "experiment.yaml"
    config.write_text(yaml.safe_dump({**made.model_dump(mode="json"), "results": str(root)}))
    call = ["--config", str(config)]
    arguments = ["--predictions", f"{folder}/predictions"]
    arguments += ["--models", f"{folder}/models", "--tables", f"{folder}/tables", "--out", f"{folder}/results.csv"]
    arguments += ["--costs", f"{folder}/costs.csv", "--statistics", f"{folder}/statistics.json"]
    if made.region_store is not None:
        arguments += ["--regions", f"{folder}/regions/regions.h5", "--quality", f"{folder}/regions/quality.json"]
    page = ["--results", f"{folder}/results.csv", "--out", f"{folder}/report.html"]
    for command in (["results", *call, *arguments], ["html", *call, *page]):
        ran = CliRunner().invoke(cli.app, command, catch_exceptions=False)
        assert ran.exit_code == 0, ran.output
        between()
    return config, folder


def tables(folder: Path, raw: Path, scenes: list[Scene]) -> None:
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in SCHEMAS}
    for s in scenes:
        own = {"image_id": s.id, "split": s.split}
        rows["images"].append({**own, "path": str(raw / f"{s.id}.png"), "width": SIDE, "height": SIDE})
        for k, text in enumerate(s.captions):
            rows["captions"].append({**own, "caption_id": f"{s.id}#{k}", "text": text})
        for k, (kind, answer) in enumerate((("yes/no", "yes"), ("number", "2"), ("other", s.colours[0]))):
            question = {
                "text": f"question {k}?",
                "answer_type": kind,
                "question_type": "what",
                "answers": [answer] * 10,
            }
            rows["questions"].append({**own, **question, "question_id": f"{s.id}?{k}"})
        for k, label in enumerate(("contradiction", "neutral", "entailment", "entailment")):
            rows["entailment"].append({**own, "pair_id": f"{s.id}!{k}", "text": s.captions[0], "label": label})
        for k, (box, shape) in enumerate(zip(s.boxes, s.shapes, strict=True)):
            rows["objects"].append({**own, "object_id": f"{s.id}@{k}", "class_name": shape, "box": box})
        for k, boxes in enumerate([[s.boxes[0]], [s.boxes[1]], s.boxes, []]):
            words = [f"a {c} {shape}" for c, shape in zip(s.colours, s.shapes, strict=True)] + [s.captions[0], "a"]
            start = s.captions[0].rindex(words[k]) if k == 1 else 0
            phrase = {"text": words[k], "start": start, "end": start + len(words[k])}
            phrase["phrase_type"] = "shapes" if k < 2 else "scene"
            ids = {"phrase_id": f"{s.id}#0/{k}", "caption_id": f"{s.id}#0"}
            rows["phrase_boxes"].append({**own, **phrase, **ids, "boxes": boxes})
    for name, records in rows.items():
        write_table(folder, name, records)
    counts = {
        name: {split: sum(r["split"] == split for r in rows[name]) for split in ("train", "val", "test")}
        for name in rows
    }
    skipped = [{"table": "images", "file": "raw/broken.png", "reason": "not readable", "count": 1}]
    texts = to_table("captions", rows["captions"])
    part = coverage(texts, None, {(rows["captions"][0]["image_id"].partition("/")[0], ""): len(texts) + 8})
    made = {"counts": counts, "coverage": part, "skipped_counts": skipped, "skipped": [], "notes": []}
    write_json(folder / "summary.json", made)


def store(path: Path, scenes: list[Scene]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with RegionWriter(path, 4, SHAPES, {"detector": "made up", "weights_sha256": "0" * 64}) as writer:
        for s in scenes:
            boxes = np.array([*s.boxes, [0, 0, SIDE, SIDE], [0, 0, 8, 8]], dtype=np.float32)
            classes = np.array([SHAPES.index(s.shapes[0]), SHAPES.index(s.shapes[1]), -1, -1])
            writer.add(s.id, (SIDE, SIDE), np.ones((4, 4)), boxes, classes, np.array([0.9, 0.8, 0.5, 0.4]))


def _write(path: Path, rows: list[dict[str, Any]], metadata: dict[str, str] | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows).replace_schema_metadata(metadata), path)


def retrieval(path: Path, test: list[Scene], *, right: bool) -> None:
    """Everything at rank 1, but each third query at rank 2; wrong: the positive is always last but one."""
    rows = []
    texts = [(f"{s.id}#{k}", s.id) for s in test for k in range(2)]
    for i, s in enumerate(test):
        for j, (text, owner) in enumerate(texts):
            positive = owner == s.id
            score = (0.9 if i % 3 else 0.5) if positive else 0.6 - j / 1000
            pair = {"coarse": 0.5 if positive else 0.1, "score": score if right else 1 - score, "positive": positive}
            rows.append({"direction": "i2t", "query_id": s.id, "candidate_id": text, **pair})
    for i, (text, owner) in enumerate(texts):
        for j, s in enumerate(test):
            positive = owner == s.id
            score = (
                (0.9 if i % 3 else 0.5)
                if positive
                else (0.6 if s is test[0] or owner == test[0].id else 0.2) - j / 1000
            )
            pair = {"coarse": 0.5 if positive else 0.1, "score": score if right else 1 - score, "positive": positive}
            rows.append({"direction": "t2i", "query_id": text, "candidate_id": s.id, **pair})
    _write(path, rows, {"num_texts": str(len(texts)), "num_images": str(len(test))})


def vqa(path: Path, test: list[Scene], *, right: bool) -> None:
    """Right: all yes/no and numbers, no other; wrong: only yes/no."""
    rows = []
    for s in test:
        answers = (("yes/no", "yes", "yes"), ("number", "2" if right else "3", "2"), ("other", "white", s.colours[0]))
        for k, (kind, answer, truth) in enumerate(answers):
            row = {"question_id": f"{s.id}?{k}", "image_id": s.id, "answer_type": kind, "answer": answer}
            rows.append({**row, "answers": [truth] * 10})
    _write(path, rows)


def entailment(path: Path, test: list[Scene], *, right: bool) -> None:
    """Right: three of four (neutral is taken for entailment); wrong: always entailment, two of four."""
    rows = []
    for s in test:
        for k, label in enumerate(("contradiction", "neutral", "entailment", "entailment")):
            guess = label if right and label != "neutral" else "entailment"
            p = {f"p_{name}": float(name == guess) for name in ("contradiction", "neutral", "entailment")}
            rows.append({"pair_id": f"{s.id}!{k}", "image_id": s.id, "label": label, "prediction": guess, **p})
    _write(path, rows)


def grounding(path: Path, test: list[Scene], *, right: bool) -> None:
    """Phrases of the left box, the right, both, none. Right: three are hit by a true box; wrong: only the second."""
    rows = []
    for s in test:
        for k, boxes in enumerate([[s.boxes[0]], [s.boxes[1]], s.boxes, []]):
            chosen = boxes[0] if right and boxes else (s.boxes[1] if k == 1 else [0.0, 0.0, 8.0, 8.0])
            row = {"phrase_id": f"{s.id}#0/{k}", "image_id": s.id, "phrase_type": "shapes" if k < 2 else "scene"}
            hit = len(boxes) / 4
            rows.append({**row, "box": chosen, "boxes": boxes, "num_regions": 4, "covered": hit > 0, "random_hit": hit})
    _write(path, rows)


def runs(made: Experiment) -> None:
    """A training journal of two stages, and the rules' journals."""
    for stage, losses in (("stage1", ("vsc", "mcr_visual")), ("stage2", ("vsc", "itm", "wpg"))):
        path = made.folder / "runs" / stage / "journal.jsonl"
        training = journals.Journal(path)
        for step in range(10, 210, 10):
            for k, name in enumerate(losses):
                training.write(
                    "metric", key=f"loss_{name}", step=step, value=(3 + k) / (1 + step / 50), time=1000.0 + step
                )
            training.write("metric", key="loss", step=step, value=5 / (1 + step / 50), time=1000.0 + step)
            training.write("metric", key="samples_per_second", step=step, value=100.0 + step, time=1000.0 + step)
            training.write("metric", key="mfu", step=step, value=0.3, time=1000.0 + step)
            training.write("metric", key="data_wait", step=step, value=1 / step, time=1000.0 + step)
        training.close()
        model = made.folder / "models" / stage
        with track(made, stage, outputs={"model": model}, tags={"stage": stage}) as run:
            run.adopt(path)
    for variant, score in (("full", 0.6), ("blind", 0.3)):
        training = journals.Journal(made.folder / "runs" / f"vqa.{variant}" / "journal.jsonl")
        for step in (50, 100):
            training.write("metric", key="loss_answers", step=step, value=4 - step / 50, time=1000.0)
            training.write("metric", key="val_score", step=step, value=score * step / 100, time=1000.0)
        training.close()
