"""`vlp regions import`: VinVL/Oscar files into a region store, for an experiment or alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from vlp.cli.options import Overrides, with_regions
from vlp.cli.region_results import add_truth, print_quality, record, tell_skipped
from vlp.cli.region_stores import Out

app = typer.Typer()


@app.command("import")
def import_(
    out: Out,
    tsv: Annotated[
        Path | None, typer.Option(help="Folder of features.tsv and predictions.tsv, instead of --config.")
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="With --tsv: first part of the image ids.")] = None,
    images: Annotated[
        Path | None, typer.Option(help="With --tsv: the images, whose sizes count, not the annotated ones.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="With --tsv: train, val or test. gt_objects are kept of train only.")
    ] = None,
    on_bad_image: Annotated[str | None, typer.Option(help="skip or stop.")] = None,
    max_lost: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="With --tsv: share of images, tags that may be lost; else 0.2."),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="Experiment file (YAML).")] = None,
    tables: Annotated[Path | None, typer.Option(help="Folder of the tables.")] = None,
    quality: Annotated[Path | None, typer.Option(help="Where to write the counts (JSON); with --tsv OUT.json.")] = None,
    overrides: Overrides = None,
) -> None:
    """Read VinVL/Oscar files (features.tsv, predictions.tsv) into a region store: of --tsv DIR, or of an experiment.

    With several data sets in an experiment each has its folder in regions.tsv, and all go into one store.
    """
    from vlp.config.regions import Regions
    from vlp.errors import ConfigError

    bad = {} if on_bad_image is None else {"on_bad_image": on_bad_image}
    try:
        mode = Regions.model_validate(bad).on_bad_image
    except ValueError as error:  # pydantic's
        raise ConfigError(" ".join(str(error).split())) from error
    if tsv is not None:
        if dataset is None or config is not None or tables is not None:
            raise ConfigError("--tsv: give --dataset too, and no --config or --tables")
        if split not in (None, "train", "val", "test"):
            raise ConfigError(f"--split {split}: wanted train, val or test")
        quality = quality or out.with_suffix(".json")
        _import_folder(tsv, dataset, images, split or "", mode, out, quality, max_lost)
        return
    if config is None or tables is None or quality is None:
        raise ConfigError("give --tsv DIR and --dataset, or --config, --tables and --quality")
    if dataset is not None or images is not None or split is not None:
        raise ConfigError("--dataset, --images and --split go with --tsv: an experiment's tables know them")
    if max_lost is not None:
        raise ConfigError("--max-lost goes with --tsv: an experiment has data.max_lost")
    _import_experiment(
        config, [*(overrides or ()), *(f"regions.{k}={v}" for k, v in bad.items())], tables, out, quality
    )


def _import_folder(
    tsv: Path,
    dataset: str,
    images: Path | None,
    split: str,
    mode: Literal["skip", "stop"],
    out: Path,
    quality: Path,
    max_lost: float | None,
) -> None:
    from vlp.files import write_json
    from vlp.images.decode import Skipped
    from vlp.regions.store import RegionStore
    from vlp.regions.tsv_records import annotated, of_files
    from vlp.regions.vinvl_tsv import MAX_LOST, import_tsv

    skipped = Skipped(mode)
    limit = MAX_LOST if max_lost is None else max_lost
    if images is None:
        found = annotated(tsv, dataset, split, skipped, limit)
    else:
        found = of_files(tsv, dataset, split, images, skipped, limit)
    value = import_tsv(tsv, found, dataset, out, skipped, limit)
    write_json(quality, value)
    tell_skipped(skipped.images)
    counts, store = value["tsv"], RegionStore(out)
    print(f"{out}: {len(store):,} images, {store.rows:,} regions; rows of {counts['row']} numbers, {counts['dtype']}")
    for key, count in counts.items():
        if key not in ("row", "dtype", "objects") and count:
            print(f"{key}: {count}")


def _import_experiment(config: Path, overrides: list[str], tables: Path, out: Path, quality: Path) -> None:
    from vlp.data.tables import rows, table_path
    from vlp.errors import ConfigError
    from vlp.files import write_json
    from vlp.images.decode import Skipped, records
    from vlp.regions.vinvl_tsv import import_sets
    from vlp.tracking import track

    chosen = with_regions(config, overrides)
    folders = chosen.tsv_folders
    if not folders:
        raise ConfigError(f"{config}: regions.tsv: name the folder with features.tsv and predictions.tsv")
    inputs = {"images": table_path(tables, "images")}
    for name, folder in folders.items():
        inputs |= {f"{name}.{file}": folder / file for file in ("features.tsv", "predictions.tsv")}
    outputs = {"store": out, "quality": quality}
    with track(
        chosen,
        rule="regions",
        inputs=inputs,
        outputs=outputs,
        params={"source": "vinvl_tsv"},
        tags={"stage": "regions"},
    ) as run:
        skipped = Skipped(chosen.regions.on_bad_image)
        images = records(rows(tables, "images"), chosen.data_root)
        held = {image.image_id.partition("/")[0] for image in images}
        value = import_sets({n: f for n, f in folders.items() if n in held}, images, out, skipped, chosen.data.max_lost)
        add_truth(chosen, out, tables)  # gt_objects of the files come first
        write_json(quality, value)
        record(run, value, quality)
    tell_skipped(skipped.images)
    print_quality(value)
