"""`vlp regions`, commands on stores that are there: inspect, compare, export, annotate, cut, copy, bound."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vlp.cli.options import ConfigPath, Overrides, with_regions

app = typer.Typer()

Tables = Annotated[Path, typer.Option(help="Folder of the tables.", show_default=False)]
Out = Annotated[Path, typer.Option(help="The region store to write.", show_default=False)]
Store = Annotated[Path, typer.Argument(help="A region store: a file (.h5) or a folder.", show_default=False)]


@app.command()
def info(store: Store) -> None:
    """Print what a region store holds and where it comes from."""
    from vlp.regions.store import RegionStore

    opened = RegionStore(store)
    counts = opened.counts
    spread = f"({counts.min()} to {counts.max()} an image, mean {counts.mean():.1f})" if len(counts) else ""
    lines = {
        "images": f"{len(opened):,}",
        "regions": f"{opened.rows:,} {spread}",
        "feature size": opened.feature_size,
        "classes": f"{len(opened.class_names)}: {', '.join(opened.class_names[:20])}",
        "attributes": len(opened.attribute_names) or "none",
        "ground truth": f"{len(opened.truth_names)} tag names" if opened.has_truth else "none",
        "bytes": f"{opened.bytes:,}",
        **opened.facts,
    }
    for key, value in lines.items():
        print(f"{key:20}{value}")


@app.command()
def verify(store: Store) -> None:
    """Compare every image's bytes with its checksum, and see that its numbers are finite; name the images where it is
    not so, and exit with 1 if there are any."""
    from vlp.regions.store import RegionStore

    opened, damaged = RegionStore(store), 0
    for fault in opened.faults():
        print(fault)
        damaged += 1
    print(f"{store}: {len(opened) - damaged:,} of {len(opened):,} images are whole")
    if damaged:
        raise typer.Exit(1)


@app.command()
def compare(
    store: Store,
    reference: Annotated[
        Path, typer.Option(help="Another store, or old VinVL files: features.tsv beside predictions.tsv.")
    ],
    limit: Annotated[int | None, typer.Option(min=1, help="Only the best so many regions of an image.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the rows (CSV) too.")] = None,
) -> None:
    """How close regions are to a reference's: IoU of matched boxes, cosine of features, agreement of tags."""
    from vlp.regions.compare import compare as beside
    from vlp.regions.compare import open_reference, write_csv
    from vlp.regions.store import RegionStore

    opened = RegionStore(store)
    with open_reference(reference, opened) as (other, skipped):
        made = beside(opened, other, limit)
    for row in made.rows:
        print(f"{row.metric:20}{row.value:12.4f}{row.n:12,}")
    print("farthest: " + ", ".join(f"{image_id} ({found:.2f} found)" for image_id, found in made.farthest))
    if skipped:
        print(f"not read from the reference: {len(skipped)} images, the first {skipped[0]['image_id']}: ", end="")
        print(skipped[0]["reason"])
    if out is not None:
        write_csv(out, made.rows)


@app.command()
def export(
    store: Store,
    out: Annotated[Path, typer.Option(help="The folder to write.", show_default=False)],
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
    from vlp.regions.annotate import annotate_train

    print(f"{out}: {annotate_train(store, tables, out):,} images have ground-truth tags")


@app.command()
def manifest(folder: Annotated[Path, typer.Argument(help="Folder of shards (*.h5).", show_default=False)]) -> None:
    """Make one store of a folder of shards: check every byte, write the manifest."""
    from vlp.files import sha256
    from vlp.regions.folder import write_manifest

    written = write_manifest(folder)
    images = written.shards[-1].stop
    print(f"{written.path}: {len(written.shards):,} files, {images:,} images, sha256 {sha256(folder)}")


@app.command()
def stage(
    store: Store, folder: Annotated[Path, typer.Argument(help="Folder on the local disk.", show_default=False)]
) -> None:
    """Copy a store to a local disk, comparing digests; what is there already is kept. Prints the copy's path."""
    from vlp.regions.staging import stage as copy

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
    from vlp.data.tables import table_path
    from vlp.regions.store import RegionStore
    from vlp.report.bounds import upper_bounds
    from vlp.report.results import write
    from vlp.tracking import track

    chosen = with_regions(config, overrides)
    inputs = {"store": store, "phrase_boxes": table_path(tables, "phrase_boxes")}
    with track(chosen, rule="bound", inputs=inputs, outputs={"bounds": out}, tags={"stage": "regions"}) as run:
        found = upper_bounds(chosen, RegionStore(store), tables)
        write(out, found)
        for row in found:
            run.metric(f"{row.split}/{row.protocol}", row.value)
    for row in found:
        print(f"{row.split:5} {row.protocol}: {row.value:.2f} [{row.ci_low:.2f}, {row.ci_high:.2f}], {row.n} phrases")
