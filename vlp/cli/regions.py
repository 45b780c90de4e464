"""`vlp regions`: train a detector, extract, import and inspect region stores."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlp.cli.options import ConfigPath, Overrides, experiment

if TYPE_CHECKING:
    from vlp.regions.images import Skipped
    from vlp.tracking.run import Run

app = typer.Typer()

Tables = Annotated[Path, typer.Option(help="Folder of the tables.", show_default=False)]
Out = Annotated[Path, typer.Option(help="The region store to write.", show_default=False)]
Quality = Annotated[Path, typer.Option(help="Where to write counts, recall and precision (JSON).", show_default=False)]
Store = Annotated[Path, typer.Argument(help="A region store (.h5).", show_default=False)]


@app.command()
def train(
    config: ConfigPath,
    tables: Tables,
    out: Annotated[Path, typer.Option(help="The detector to write (.safetensors).", show_default=False)],
    overrides: Overrides = None,
) -> None:
    """Train the detector on the object boxes of the train images; its facts stand in the .json beside it."""
    from vlp.data.tables import rows, table_path
    from vlp.regions import detector as detectors
    from vlp.regions.images import Skipped, records
    from vlp.regions.train import Examples, examples
    from vlp.regions.train import train as fit
    from vlp.tracking import track

    chosen = experiment(config, overrides)
    dials, threads = chosen.regions.detector, chosen.launch.cpu_threads
    inputs = {name: table_path(tables, name) for name in ("images", "objects")}
    outputs = {"detector": out, "facts": out.with_suffix(".json")}
    with track(chosen, rule="detector", inputs=inputs, outputs=outputs, params=dials.model_dump()) as run:
        skipped = Skipped(chosen.regions.on_bad_image)
        images = records(rows(tables, "images", "train"), chosen.data_root)
        found, names = examples(images, rows(tables, "objects", "train"), dials.train_images, str(inputs["objects"]))

        def log(step: int, losses: Mapping[str, float]) -> None:
            for key, value in losses.items():
                run.series(key, step, value)

        data = Examples(found, skipped)
        model, facts = fit(dials, data, len(found), names, chosen.seed, threads, log)
        detectors.save(out, model, {**facts, "skipped": skipped.images})
        run.artifact(out.with_suffix(".json"))
    _tell_skipped(skipped)
    print(
        f"{out}: {len(names)} classes, {facts['images']} images, {facts['steps']} steps, loss {facts['last_loss']:.3f}"
    )


@app.command()
def extract(
    config: ConfigPath,
    tables: Tables,
    detector: Annotated[Path, typer.Option(help="The detector (.safetensors).", show_default=False)],
    out: Out,
    quality: Quality,
    overrides: Overrides = None,
) -> None:
    """Find the regions of every image of the tables; recall and precision are those of the written store."""
    from vlp.data.tables import rows, table_path
    from vlp.files import write_json
    from vlp.regions import detector as detectors
    from vlp.regions.annotate import annotate as add_truth
    from vlp.regions.annotate import truth_tags
    from vlp.regions.extract import extract as find
    from vlp.regions.extract import report, store_facts
    from vlp.regions.images import Skipped, records
    from vlp.tracking import track

    chosen = experiment(config, overrides)
    inputs = {"detector": detector, **{name: table_path(tables, name) for name in ("images", "objects")}}
    outputs = {"store": out, "quality": quality}
    with track(chosen, rule="regions", inputs=inputs, outputs=outputs, params={"source": "detector"}) as run:
        model, facts = detectors.load(detector)
        skipped = Skipped(chosen.regions.on_bad_image)
        images = records(rows(tables, "images"), chosen.data_root)
        result = find(model, images, out, skipped, store_facts(model, facts["sha256"]), chosen.launch.cpu_threads)
        if chosen.pretraining.tag_source == "ground_truth":
            train = [record.image_id for record in images if record.split == "train"]
            add_truth(out, truth_tags(train, rows(tables, "objects", "train")), out)
        value = report(out, images, rows(tables, "objects"), skipped, result)
        write_json(quality, value)
        run.metric("images_per_second", result.images_per_second)
        _record(run, value, quality)
    _tell_skipped(skipped)
    _print_quality(value)


@app.command()
def info(store: Store) -> None:
    """Print what a region store holds and where it comes from."""
    import numpy as np

    from vlp.regions.store import RegionStore

    opened = RegionStore(store)
    counts = np.array([len(opened.regions(image_id)) for image_id in opened.image_ids] or [0])
    lines = {
        "images": f"{len(opened):,}",
        "regions": f"{opened.rows:,} ({counts.min()} to {counts.max()} an image, mean {counts.mean():.1f})",
        "feature size": opened.feature_size,
        "classes": f"{len(opened.class_names)}: {', '.join(opened.class_names[:20])}",
        "bytes": f"{opened.bytes:,}",
        **opened.facts,
    }
    for key, value in lines.items():
        print(f"{key:18}{value}")


@app.command()
def verify(store: Store) -> None:
    """Compare every image's bytes with its checksum; name the damaged images and exit with 1 if there are any."""
    from vlp.regions.store import RegionStore

    opened = RegionStore(store)
    damaged = list(opened.damaged())
    for image_id in damaged:
        print(f"{store}: {image_id}: the bytes do not give the checksum; extract or import the regions again")
    print(f"{store}: {len(opened) - len(damaged):,} of {len(opened):,} images are whole")
    if damaged:
        raise typer.Exit(1)


def _record(run: Run, value: dict[str, Any], quality: Path) -> None:
    for split, numbers in value["splits"].items():
        for key, number in numbers.items():
            if number is not None:
                run.metric(f"{split}/{key}", number)
    run.metric("skipped", len(value["skipped"]))
    run.artifact(quality)


def _tell_skipped(skipped: Skipped) -> None:
    import sys

    for row in skipped.images[:20]:
        print(f"skipped {row['image_id']}: {row['reason']} ({row['file']})", file=sys.stderr)
    if len(skipped.images) > 20:
        print(f"skipped {len(skipped.images) - 20} more", file=sys.stderr)


def _print_quality(value: dict[str, Any]) -> None:
    for split, numbers in value["splits"].items():
        shown = ((key, number) for key, number in numbers.items() if number is not None)
        print(f"{split:6} " + ", ".join(f"{key} {number:.3f}".removesuffix(".000") for key, number in shown))
    for key in ("without_detection", "whole_image", "skipped"):
        if value.get(key):
            print(f"{key}: {len(value[key])}")


# Stores from and to other forms, and what they can reach at best.
Folder = Annotated[Path, typer.Option(help="The folder to write.", show_default=False)]


@app.command("import")
def import_(
    config: ConfigPath,
    tables: Tables,
    out: Out,
    quality: Quality,
    dataset: Annotated[
        str | None, typer.Option(help="What stands before `/` in our ids of the file's images [data.name].")
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Read VinVL/Oscar files (features.tsv, predictions.tsv in regions.tsv) into a region store."""
    from vlp.data.tables import rows, table_path
    from vlp.errors import ConfigError
    from vlp.files import write_json
    from vlp.regions.images import Skipped, records
    from vlp.regions.vinvl_tsv import import_tsv
    from vlp.tracking import track

    chosen = experiment(config, overrides)
    folder = chosen.regions.tsv
    if folder is None:
        raise ConfigError(f"{config}: regions.tsv: name the folder with features.tsv and predictions.tsv")
    names = ("features.tsv", "predictions.tsv")
    inputs = {"images": table_path(tables, "images"), **{name: folder / name for name in names}}
    outputs = {"store": out, "quality": quality}
    with track(chosen, rule="regions", inputs=inputs, outputs=outputs, params={"source": "vinvl_tsv"}) as run:
        skipped = Skipped(chosen.regions.on_bad_image)
        images = records(rows(tables, "images"), chosen.data_root)
        value = import_tsv(folder, images, dataset or chosen.data.name, out, skipped)
        write_json(quality, value)
        _record(run, value, quality)
    _tell_skipped(skipped)
    _print_quality(value)


@app.command()
def export(
    store: Store,
    out: Folder,
    dataset: Annotated[str | None, typer.Option(help="Only this data set's images.", show_default=False)] = None,
) -> None:
    """Write a region store as VinVL/Oscar files: features.tsv, predictions.tsv and their indices."""
    from vlp.regions.store import RegionStore
    from vlp.regions.vinvl_export import export_tsv

    images = export_tsv(RegionStore(store), out, dataset)
    print(f"{out}: {images:,} images")


@app.command()
def annotate(store: Store, tables: Tables, out: Out) -> None:
    """Add ground-truth tags, for pre-training: the classes of the train images' annotated objects."""
    from vlp.data.tables import rows
    from vlp.regions.annotate import annotate as add
    from vlp.regions.annotate import truth_tags

    images = [row["image_id"] for row in rows(tables, "images", "train", ["image_id"])]
    count = add(store, truth_tags(images, rows(tables, "objects", "train")), out)
    print(f"{out}: {count:,} images have ground-truth tags")


@app.command()
def manifest(folder: Annotated[Path, typer.Argument(help="Folder of shards (*.h5).", show_default=False)]) -> None:
    """Make one store of a folder of shards: check every byte, write the manifest."""
    from vlp.files import sha256
    from vlp.regions.manifest import write_manifest

    written = write_manifest(folder)
    images = written.shards[-1].stop
    print(f"{written.path}: {len(written.shards):,} files, {images:,} images, sha256 {sha256(folder)}")


@app.command()
def stage(
    store: Store, folder: Annotated[Path, typer.Argument(help="Folder on the local disk.", show_default=False)]
) -> None:
    """Copy a store to a local disk, comparing digests; what is there already is kept. Prints the copy's path."""
    from vlp.regions.manifest import stage as copy

    print(copy(store, folder))


@app.command()
def bound(
    config: ConfigPath,
    store: Store,
    tables: Tables,
    out: Annotated[Path, typer.Option(help="Result rows to write (CSV).", show_default=False)],
    overrides: Overrides = None,
) -> None:
    """What grounding can reach at best: the share of phrases that some region covers at IoU 0.5."""
    from vlp.regions.store import RegionStore
    from vlp.report.bounds import upper_bounds
    from vlp.report.results import write

    found = upper_bounds(experiment(config, overrides), RegionStore(store), tables)
    write(out, found)
    for row in found:
        print(f"{row.split:5} {row.protocol}: {row.value:.2f} [{row.ci_low:.2f}, {row.ci_high:.2f}], {row.n} phrases")
