"""Published formats -> tables. One file per format; this one knows which format fills which table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vlp.config import Experiment
from vlp.data.readers import (
    coco_captions,
    coco_instances,
    flickr30k_entities,
    karpathy,
    refcoco,
    snli_ve,
    vqa_v2,
)
from vlp.data.readers.common import Report
from vlp.data.readers.images import Entry, Images, choose
from vlp.data.readers.source import Files, Job
from vlp.data.tables import SCHEMAS, SPLITS, write_table
from vlp.errors import ConfigError, InputError
from vlp.files import write_json

__all__ = ["FORMATS", "read_experiment", "source_files"]


@dataclass(frozen=True)
class Format:
    table: str
    roles: tuple[str, ...]
    """What `files` of the source must name."""
    captions: Callable[[Files], list[Entry]] | None = None
    annotations: Callable[[Job], Iterator[dict[str, Any]]] | None = None


FORMATS: dict[str, Format] = {
    "karpathy": Format("captions", karpathy.ROLES, captions=karpathy.read),
    "coco_captions": Format("captions", coco_captions.ROLES, captions=coco_captions.read),
    "vqa_v2": Format("questions", vqa_v2.ROLES, annotations=vqa_v2.read),
    "snli_ve": Format("entailment", snli_ve.ROLES, annotations=snli_ve.read),
    "flickr30k_entities": Format("phrase_boxes", flickr30k_entities.ROLES, annotations=flickr30k_entities.read),
    "coco_instances": Format("objects", coco_instances.ROLES, annotations=coco_instances.read),
    "refcoco": Format("referring", refcoco.ROLES, annotations=refcoco.read),
}

_SOURCES = tuple(name for name in SCHEMAS if name != "images")


def read_experiment(experiment: Experiment, out: str | Path, progress: bool = False) -> dict[str, Any]:
    """Read every source of the config; write the seven tables and `summary.json` into `out`; give the summary.

    Nothing is written before all has been read, and `summary.json` is written last.

    Raises:
        InputError: a file is missing or damaged, no image is left, or a bad record where the config says to stop.
        ConfigError: a format that cannot fill the table, a role without a path, a missing image folder.
    """
    data, root, out = experiment.data, experiment.data_root, Path(out)
    if not root.is_dir():
        raise InputError(root, "the folder of the raw data is missing.", "Check data.root, or run: vlp data shapes.")
    report = Report(root, stop=data.on_bad_record == "stop")
    files = _checked(experiment, report)
    entries = FORMATS[data.captions.format].captions
    assert entries is not None  # _checked
    images = choose(entries(files["captions"]), data, root, report, progress)
    records: dict[str, list[dict[str, Any]]] = {name: [] for name in SCHEMAS}
    records["images"] = [
        {"image_id": i.image_id, "path": i.path, "width": i.width, "height": i.height, "split": i.split}
        | asdict(i.origin)
        for i in images
    ]
    records["captions"] = list(_captions(images, report))
    for table, source in files.items():
        read = FORMATS[source.source.format].annotations
        if read is not None:
            records[table] = list(read(Job(source, images, report, data.name)))
    summary = {"name": data.name, "counts": {name: _per_split(rows) for name, rows in records.items()}}
    summary.update(report.summary())
    for name in SCHEMAS:
        write_table(out, name, records[name])
    write_json(out / "summary.json", summary)
    return summary


def source_files(experiment: Experiment) -> dict[str, Path]:
    """`table.role[.split]` -> path of every file or folder that is read, images not among them; errors as above."""
    found: dict[str, Path] = {}
    files = _checked(experiment, Report(experiment.data_root))
    for table, source in files.items():
        for role in FORMATS[source.source.format].roles:
            for split, path in source.of(role):
                found[f"{table}.{role}" if split is None else f"{table}.{role}.{split}"] = path
    return found


def _checked(experiment: Experiment, report: Report) -> dict[str, Files]:
    """Table -> its files, of the tables that have a source."""
    files: dict[str, Files] = {}
    for split, ours in experiment.data.split.rename.items():
        if ours not in SPLITS:
            raise ConfigError(f"data.split.rename.{split}: {ours!r} is none of {', '.join(SPLITS)}")
    for table in _SOURCES:
        source = getattr(experiment.data, table)
        if source is None:
            continue
        if FORMATS[source.format].table != table:
            fit = " or ".join(name for name, form in FORMATS.items() if form.table == table)
            raise ConfigError(f"data.{table}.format: {source.format} holds no {table}; use {fit}")
        files[table] = Files(table, experiment.data, experiment.data_root, report)
        files[table].check(FORMATS[source.format].roles)
    return files


def _captions(images: Images, report: Report) -> Iterator[dict[str, Any]]:
    for image in images:
        sound = 0
        for index, caption in enumerate(image.captions):
            with report.record("captions", image.file, caption.row):
                if not isinstance(caption.text, str):
                    raise caption.text
                sound += 1
                yield {
                    "caption_id": image.caption_id(index),
                    "image_id": image.image_id,
                    "text": caption.text,
                    "split": image.split,
                }
        if not sound:
            report.change("images", image.file, "image kept without a caption")


def _per_split(rows: list[dict[str, Any]]) -> dict[str, int]:
    return {split: sum(row["split"] == split for row in rows) for split in SPLITS}
