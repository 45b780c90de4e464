"""Write the embedded data set in the published formats."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from PIL import Image

from vlp.config.data import Shapes
from vlp.data.shapes import formats
from vlp.data.shapes.render import image
from vlp.data.shapes.sample import SPLITS, Sample, samples
from vlp.errors import InputError
from vlp.files import raise_if_full, sha256, to_json, write_json

_MARK = ".made-by-vlp-data-shapes"
_FOLDERS = ("images", "annotations", "Sentences", "Annotations")
_QUALITY = 90

Progress = Callable[[str, int, int], None]


def generate(dials: Shapes, out: str | Path, progress: Progress = lambda part, done, of: None) -> dict[str, Any]:
    """Make the data set in folder `out` and give its manifest, which is written last.

    Equal dials give equal bytes (with the same versions of numpy and Pillow, which the manifest names). What an earlier
    call wrote into `out` is replaced.

    Args:
        progress: told (part, done, of how many) as the work goes on.

    Raises:
        InputError: `out` holds files that are not of this generator, or the disk is full.
        ConfigError: the dials leave no room for so many different scenes.
    """
    out = Path(out)
    _clear(out)
    try:
        made = samples(dials, lambda part: progress(part, 0, 0))
        files = _write_annotations(made, dials, out)
        for n, sample in enumerate(made, 1):
            picture = Image.fromarray(image(sample.scene, dials))
            picture.save(out / "images" / sample.file_name, quality=_QUALITY, subsampling=0)
            progress("images", n, len(made))
    except OSError as error:
        raise_if_full(error, out / "images")
        raise
    files["images"] = len(made)
    progress("digests", 0, 0)
    manifest = {
        "dataset": "shapes",
        "generator": dials.model_dump(mode="json"),
        "made_with": {"numpy": np.__version__, "pillow": PIL.__version__},
        "counts": counts(made),
        "files": {name: {"records": n, "sha256": sha256(out / name)} for name, n in sorted(files.items())},
    }
    write_json(out / "manifest.json", manifest)
    return manifest


def counts(made: Sequence[Sample]) -> dict[str, dict[str, int]]:
    """Records per split."""
    result: dict[str, dict[str, int]] = {}
    for split in SPLITS:
        part = [s for s in made if s.split == split]
        result[split] = {
            "images": len(part),
            "objects": sum(len(s.scene.things) for s in part),
            "captions": sum(len(s.captions) for s in part),
            "phrases": sum(len(t.mentions) for s in part for t in s.captions),
            "questions": sum(len(s.questions) for s in part),
            "hypotheses": sum(len(s.hypotheses) for s in part),
            "expressions": sum(len(texts) for s in part for texts in s.referring.values()),
        }
    return result


def _clear(out: Path) -> None:
    mark = out / _MARK
    strangers = [p.name for p in out.iterdir() if not p.name.startswith(".snakemake")] if out.is_dir() else []
    if strangers and not mark.exists():
        raise InputError(
            out,
            f"the folder holds files that are not of this generator ({', '.join(sorted(strangers)[:3])}).",
            "Choose an empty or a new folder.",
        )
    out.mkdir(parents=True, exist_ok=True)
    mark.touch()
    (out / "manifest.json").unlink(missing_ok=True)
    for folder in _FOLDERS:
        if (out / folder).is_dir():
            shutil.rmtree(out / folder)
    for folder in _FOLDERS:
        (out / folder).mkdir(exist_ok=True)


def _write_annotations(made: Sequence[Sample], dials: Shapes, out: Path) -> dict[str, int]:
    """Every file but the images; its name -> how many records it holds."""
    first: dict[int, int] = {}
    total = 1
    for s in made:
        first[s.number] = total
        total += len(s.scene.things)
    written: dict[str, int] = {}

    def write(name: str, value: Any, records: int) -> None:
        (out / name).write_text(to_json(value, ensure_ascii=False) + "\n", encoding="utf-8")
        written[name] = records

    def write_lines(name: str, rows: Sequence[Any]) -> None:
        lines = "".join(to_json(row, ensure_ascii=False) + "\n" for row in rows)
        (out / name).write_text(lines, encoding="utf-8")
        written[name] = len(rows)

    write("dataset_shapes.json", formats.karpathy(made), len(made))
    for split in SPLITS:
        part = [s for s in made if s.split == split]
        captions, boxes = formats.coco_captions(part), formats.instances(part, dials, first)
        questions, answers = formats.vqa_questions(part, split), formats.vqa_annotations(part, split)
        write(f"annotations/captions_{split}.json", captions, len(captions["annotations"]))
        write(f"annotations/instances_{split}.json", boxes, len(boxes["annotations"]))
        write(f"v2_OpenEnded_questions_{split}.json", questions, len(questions["questions"]))
        write(f"v2_annotations_{split}.json", answers, len(answers["annotations"]))
        write_lines(f"snli_ve_{split}.jsonl", formats.snli_ve(part))
    refs = formats.refs(made, dials, first)
    write("refs.json", refs, len(refs))
    write_lines("truth.jsonl", [formats.truth(s) for s in made])
    for s in made:
        (out / "Sentences" / f"{s.name}.txt").write_text(formats.entities_sentences(s), encoding="utf-8")
        (out / "Annotations" / f"{s.name}.xml").write_text(formats.entities_annotation(s), encoding="utf-8")
    return {**written, "Sentences": len(made), "Annotations": len(made)}
