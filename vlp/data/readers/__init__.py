"""Published formats -> tables. One file per format; this one knows which format fills which table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from vlp.config import Experiment
from vlp.config.presets import mark_of
from vlp.data.coverage import coverage
from vlp.data.readers import (
    captions_jsonl,
    coco_captions,
    coco_instances,
    conceptual_captions,
    flickr30k_entities,
    gqa,
    karpathy,
    localized_narratives,
    openimages,
    refcoco,
    sbu,
    snli_ve,
    visual_genome,
    vqa_v2,
)
from vlp.data.readers.common import Report
from vlp.data.readers.images import Entry, Images, add_texts, choose
from vlp.data.readers.job import Job
from vlp.data.readers.losses import check, check_images
from vlp.data.readers.source import TEXT_KEYS, Files, Place, places
from vlp.data.tables import SCHEMAS, SPLITS, to_table, write_arrow
from vlp.errors import ConfigError, InputError
from vlp.files import write_json

__all__ = ["FORMATS", "named_files", "read_experiment", "read_images", "source_files"]


@dataclass(frozen=True)
class Format:
    keys: tuple[str, ...]
    """Keys of a data set that it may stand under."""
    roles: tuple[str, ...]
    """What `files` of the source must name."""
    optional: tuple[str, ...] = ()
    texts: Callable[[Files], list[Entry]] | None = None
    """Reads images and their texts."""
    annotations: Callable[[Job], Iterator[dict[str, Any]]] | None = None


FORMATS: dict[str, Format] = {
    "karpathy": Format(("captions",), karpathy.ROLES, texts=karpathy.read),
    "coco_captions": Format(("captions",), coco_captions.ROLES, texts=coco_captions.read),
    "gqa_questions": Format(TEXT_KEYS, gqa.ROLES, gqa.OPTIONAL, texts=gqa.read),
    "visual_genome_questions": Format(TEXT_KEYS, visual_genome.ROLES, visual_genome.OPTIONAL, texts=visual_genome.read),
    "vqa_v2_questions": Format(
        ("texts", "questions"), vqa_v2.TEXT_ROLES, texts=vqa_v2.read_texts, annotations=vqa_v2.read_unanswered
    ),
    "conceptual_captions": Format(("captions",), conceptual_captions.ROLES, texts=conceptual_captions.read),
    "sbu": Format(("captions",), sbu.ROLES, sbu.OPTIONAL, texts=sbu.read),
    "openimages": Format(("captions",), openimages.ROLES, texts=openimages.read),
    "localized_narratives": Format(TEXT_KEYS, localized_narratives.ROLES, texts=localized_narratives.read),
    "captions_jsonl": Format(TEXT_KEYS, captions_jsonl.ROLES, texts=captions_jsonl.read),
    "vqa_v2": Format(("questions",), vqa_v2.ROLES, annotations=vqa_v2.read),
    "snli_ve": Format(("entailment",), snli_ve.ROLES, annotations=snli_ve.read),
    "flickr30k_entities": Format(("phrase_boxes",), flickr30k_entities.ROLES, annotations=flickr30k_entities.read),
    "coco_instances": Format(("objects",), coco_instances.ROLES, annotations=coco_instances.read),
    "openimages_labels": Format(("labels",), openimages.LABEL_ROLES, annotations=openimages.read_labels),
    "refcoco": Format(("captions", "referring"), refcoco.ROLES, texts=refcoco.read_images, annotations=refcoco.read),
}

_KEYS = (*TEXT_KEYS, *(name for name in SCHEMAS if name not in ("images", "captions")))


def read_experiment(experiment: Experiment, out: str | Path, progress: bool = False) -> dict[str, Any]:
    """Read every source of the config; write the tables and `summary.json` into `out`; give the summary.

    Nothing is written before all has been read, and `summary.json` is written last.

    Raises:
        InputError: a file is missing or damaged, no image is left, more than `data.max_lost` of a table or split is
            bad, or a bad record where the config says to stop.
        ConfigError: a format that cannot fill the table, a role without a path, a missing image folder.
    """
    data, root, out = experiment.data, experiment.data_root, Path(out)
    if not root.is_dir():
        raise InputError(root, "the folder of the raw data is missing.", "Check data.root, or run: vlp data shapes.")
    report = Report(root, stop=data.on_bad_record == "stop")
    parts: dict[str, list[Any]] = {name: [] for name in SCHEMAS}
    offered: Counter[tuple[str, str]] = Counter()
    for place, files in _present(experiment, report):
        read = _read(place, files, report, progress, offered)
        check(place, files, read, report, data.max_lost)
        for name, table in read.items():
            parts[name].append(table)
    tables = {name: pa.concat_tables(found) for name, found in parts.items()}
    summary = {"name": data.name, "counts": {name: _per_split(table) for name, table in tables.items()}}
    summary["coverage"] = coverage(tables["captions"], data.corpus, offered)
    summary.update(report.summary())
    for name, table in tables.items():
        write_arrow(out, name, table)
    write_json(out / "summary.json", summary)
    return summary


def _read(
    place: Place, files: dict[str, Files], report: Report, progress: bool, offered: Counter[tuple[str, str]]
) -> dict[str, pa.Table]:
    """The tables of one data set; `offered` counts the texts that its files list of the splits in use."""
    entries = _texts(files["captions"])
    used = place.settings.split.rename
    offered[place.name, mark_of(files["captions"].source.format, "captions")] += sum(
        len(entry.captions) for entry in entries if entry.split in used
    )
    if "texts" in files:
        more = _texts(files["texts"])
        offered[place.name, mark_of(files["texts"].source.format, "texts")] += sum(len(e.captions) for e in more)
        add_texts(entries, more, report)
    images = choose(entries, place, _paths(files["captions"]), report, progress)
    del entries
    found = {name: to_table(name, ()) for name in SCHEMAS}
    found["images"] = to_table("images", map(_image, images))
    found["captions"] = to_table("captions", _captions(images, report))
    for key, source in files.items():
        read = FORMATS[source.source.format].annotations
        if key not in TEXT_KEYS and read is not None:
            found[key] = to_table(key, read(Job(source, images, report, place.name)))
    return found


def _texts(files: Files) -> list[Entry]:
    read = FORMATS[files.source.format].texts
    assert read is not None  # _checked
    return read(files)


def _paths(files: Files) -> list[Path]:
    return [path for role in files.source.files for _, path in files.of(role)]


def read_images(experiment: Experiment, name: str, progress: bool = False) -> tuple[pa.Table, dict[str, Any]]:
    """The rows of the table `images` that data set `name` gives, before its texts are there; and what was skipped.

    Raises:
        ConfigError: there is no such data set. InputError: as `read_experiment`.
    """
    report = Report(experiment.data_root, stop=experiment.data.on_bad_record == "stop")
    for place, files in _checked(experiment, report):
        if place.name == name:
            source = files["captions"]
            images = choose(_texts(source), place, _paths(source), report, progress)
            table = to_table("images", map(_image, images))
            check_images(place, source, table, report, experiment.data.max_lost)
            return table, report.summary()
    raise ConfigError(f"{name}: the experiment has no such data set; it has {', '.join(experiment.data.each())}")


def source_files(experiment: Experiment, made: bool = True) -> dict[str, Path]:
    """`key.role[.split]` -> path of every file or folder that is read, images not among them; errors as above.

    With several data sets the name of the set stands before the key.

    Args:
        made: also the captions that the experiment itself writes.
    """
    found: dict[str, Path] = {}
    several = any(experiment.data.sets.values())
    for place, files in _present(experiment, Report(experiment.data_root)):
        for key, source in files.items():
            if not made and source.is_made:
                continue
            form = FORMATS[source.source.format]
            for role in (*form.roles, *form.optional):
                for split, path in source.of(role):
                    name = f"{key}.{role}" if split is None else f"{key}.{role}.{split}"
                    found[f"{place.name}.{name}" if several else name] = path
    return found


def named_files(experiment: Experiment, of: str | None = None) -> list[Path]:
    """Every annotation file that the config names, there or not: for what has to say which are missing.

    Args:
        of: only those that say which images this data set has.

    Raises:
        ConfigError: as `source_files`.
    """
    found = [
        path
        for place, files in _checked(experiment, Report(experiment.data_root))
        for key, source in files.items()
        if not source.is_made and (of is None or (place.name, key) == (of, "captions"))
        for role in source.source.files
        for path in source.named(role)
    ]
    return list(dict.fromkeys(found))


def _present(experiment: Experiment, report: Report) -> Iterator[tuple[Place, dict[str, Files]]]:
    """As `_checked`; of an `available` corpus only what is on disk, the rest is noted.

    Raises:
        InputError: nothing is on disk.
    """
    if experiment.data.corpus != "available":
        yield from _checked(experiment, report)
        return
    found = 0
    for place, files in _checked(experiment, report):
        lacking = {key: _lacking(source) for key, source in files.items()}
        for key, path in lacking.items():
            if path is not None:
                report.note(f"{place.name}: {key} is not on disk ({report.name(path)} is missing)")
        if lacking["captions"] is None:
            found += 1
            yield place, {key: source for key, source in files.items() if lacking[key] is None}
    if not found:
        raise InputError(experiment.data_root, "it holds none of the data sets in data.sets.", "vlp doctor tells more.")


def _lacking(source: Files) -> Path | None:
    """A file that a source needs and that is missing; of one file a split it needs one."""
    for role in source.source.files:
        named = source.named(role)
        if not any(path.exists() for path in named):
            return named[0]
    return None


def _checked(experiment: Experiment, report: Report) -> Iterator[tuple[Place, dict[str, Files]]]:
    """Each data set with its sources by key."""
    for place in places(experiment):
        for split, ours in place.settings.split.rename.items():
            if ours not in SPLITS:
                raise ConfigError(f"{place.where}.split.rename.{split}: {ours!r} is none of {', '.join(SPLITS)}")
        if place.root != place.base:
            report.root(place.name, place.root)
        files: dict[str, Files] = {}
        for key in _KEYS:
            source = getattr(place.settings, key)
            if source is None:
                continue
            form = FORMATS[source.format]
            if key not in form.keys:
                fit = " or ".join(name for name, other in FORMATS.items() if key in other.keys)
                raise ConfigError(f"{place.where}.{key}.format: {source.format} holds no {key}; use {fit}")
            files[key] = Files(key, place, report)
            files[key].check(form.roles, form.optional)
        yield place, files


def _image(image: Any) -> dict[str, Any]:
    return {
        "image_id": image.image_id,
        "path": image.path,
        "width": image.width,
        "height": image.height,
        "split": image.split,
    } | asdict(image.origin)


def _captions(images: Images, report: Report) -> Iterator[dict[str, Any]]:
    for image in images:
        sound = 0
        for index, caption in enumerate(image.captions):
            with report.record("captions", image.file, caption.row):
                report.split, report.used = image.split, True
                if not isinstance(caption.text, str):
                    raise caption.text
                sound += 1
                yield {
                    "caption_id": image.caption_id(index),
                    "image_id": image.image_id,
                    "text": caption.text,
                    "kind": caption.kind,
                    "split": image.split,
                }
        if not sound:
            report.change("images", image.file, "image kept without a caption")


def _per_split(table: pa.Table) -> dict[str, int]:
    splits = table["split"].to_pylist()
    return {split: splits.count(split) for split in SPLITS}
