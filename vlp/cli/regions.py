"""`vlp regions`: train a detector, extract; importing is in `region_import.py`, what is done with stores in
`region_stores.py`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vlp.cli import region_import, region_stores
from vlp.cli.options import ConfigPath, Overrides, with_regions
from vlp.cli.region_results import add_truth, print_quality, record, tell_result, tell_skipped
from vlp.cli.region_stores import Tables

if TYPE_CHECKING:
    from vlp.config.regions import Regions, Selection, WithRegions
    from vlp.regions.extract import Extraction

app = typer.Typer()
app.add_typer(region_import.app)
app.add_typer(region_stores.app)

DETECTORS = "small, vinvl, a torchvision model's name, or a transformers model's directory"


@app.command()
def train(
    config: ConfigPath,
    tables: Tables,
    out: Annotated[Path, typer.Option(help="The detector to write (.safetensors).", show_default=False)],
    overrides: Overrides = None,
) -> None:
    """Train the detector on the object boxes of the train images; its facts stand in the .json beside it."""
    from vlp.data.tables import rows, table_path
    from vlp.images.decode import Skipped, records
    from vlp.regions import detector as detectors
    from vlp.regions.train import Examples, examples
    from vlp.regions.train import train as fit
    from vlp.tracking import track
    from vlp.tracking.digests import Part

    chosen = with_regions(config, overrides)
    dials, threads = chosen.regions.detector, chosen.launch.cpu_threads
    inputs = {name: table_path(tables, name) for name in ("images", "objects")}
    outputs = {"detector": out, "facts": out.with_suffix(".json")}
    with track(
        chosen, rule="detector", inputs=inputs, outputs=outputs, params=dials.model_dump(), tags={"stage": "regions"}
    ) as run:
        skipped = Skipped(chosen.regions.on_bad_image)
        images = records(rows(tables, "images", "train"), chosen.data_root)
        found, names = examples(images, rows(tables, "objects", "train"), dials.train_images, str(inputs["objects"]))
        run.reads(pixels=Part.of(chosen.data_root, (example.record.path for example in found)))

        def log(step: int, losses: Mapping[str, float]) -> None:
            for key, value in losses.items():
                run.series(key, step, value)

        data = Examples(found, skipped)
        model, facts = fit(dials, data, len(found), names, chosen.seed, threads, log)
        detectors.save(out, model, {**facts, "skipped": skipped.images})
        run.artifact(out.with_suffix(".json"))
    tell_skipped(skipped.images)
    print(
        f"{out}: {len(names)} classes, {facts['images']} images, {facts['steps']} steps, loss {facts['last_loss']:.3f}"
    )


@app.command()
def extract(
    out: Annotated[Path, typer.Option(help="The region store to write; with --images its folder.", show_default=False)],
    images: Annotated[
        Path | None, typer.Option(help="Folder or tar of images, instead of --config and --tables.")
    ] = None,
    detector: Annotated[str | None, typer.Option(help=f"Detector: {DETECTORS}. Default: the config's.")] = None,
    weights: Annotated[Path | None, typer.Option(help="The detector's weights.")] = None,
    shard: Annotated[str | None, typer.Option(help="Only this part of the images: I/N.")] = None,
    dataset: Annotated[str | None, typer.Option(help="First part of the image ids; else the folder's name.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Images that the detector gets at once.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Processes that decode images; a GPU waits for one.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads of the detector.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda.")] = None,
    on_bad_image: Annotated[str | None, typer.Option(help="skip or stop.")] = None,
    config: Annotated[Path | None, typer.Option(help="Experiment file (YAML).")] = None,
    tables: Annotated[Path | None, typer.Option(help="Folder of the tables.")] = None,
    quality: Annotated[Path | None, typer.Option(help="Where to write counts, recall and precision (JSON).")] = None,
    overrides: Overrides = None,
) -> None:
    """Find the regions of the images of a folder, or of an experiment's tables. A killed run goes on where it was.

    Of a folder: OUT/regions.h5, of a shard OUT/shards/I-of-N.h5, each with a .json that tells what was left out.
    """
    from vlp.config.regions import Extraction, Regions
    from vlp.errors import ConfigError

    given = {"batch_size": batch_size, "workers": workers, "device": device}
    given = {key: value for key, value in given.items() if value is not None}
    bad = {"on_bad_image": on_bad_image} if on_bad_image is not None else {}
    try:
        if images is not None:
            if detector is None or config is not None or tables is not None or quality is not None:
                raise ConfigError("--images: give --detector too, and no --config, --tables or --quality")
            settings = Regions.model_validate({"extraction": given, **bad})
            prefix = dataset or images.resolve().name.removesuffix(".tar")
            _extract_folder(images, out, detector, weights, shard, prefix, threads, settings)
            return
        if config is None or tables is None or quality is None:
            raise ConfigError("give --images DIR, or --config, --tables and --quality")
        chosen = with_regions(config, overrides)
        merged = Extraction.model_validate(chosen.regions.extraction.model_dump() | given)
        settings = chosen.regions.model_copy(update={"extraction": merged})
        settings = Regions.model_validate(settings.model_dump() | bad)
    except ValueError as error:  # pydantic's, of an option
        raise ConfigError(" ".join(str(error).split())) from error
    _extract_tables(chosen, settings, tables, out, quality, detector, weights, shard, threads)


def _extract_folder(
    folder: Path,
    out: Path,
    detector: str,
    weights: Path | None,
    shard: str | None,
    dataset: str,
    threads: int | None,
    settings: Regions,
) -> None:
    import torch

    from vlp import parts
    from vlp.files import write_json
    from vlp.images.decode import Skipped
    from vlp.images.folder import in_folder, measured
    from vlp.regions import shards
    from vlp.regions.detectors.registry import build
    from vlp.regions.extract import extract as find
    from vlp.regions.extract import store_facts

    part = parts.parse_shard(shard) if shard else (1, 1)
    store = shards.shard_file(out, *part) if shard else out / "regions.h5"
    dials, skipped = settings.extraction, Skipped(settings.on_bad_image)
    files = parts.shard(in_folder(folder, dataset), *part)
    model = build(detector, weights, dials.device)
    records = measured(files, skipped)
    threads = threads or torch.get_num_threads()
    result = find(model, records, store, skipped, store_facts(model), threads, dials.batch_size, dials.workers)
    write_json(store.with_suffix(".json"), shards.record(result, skipped.images, part))
    tell_skipped(skipped.images)
    tell_result(store, result, len(skipped.images))


def _extract_tables(
    chosen: WithRegions,
    settings: Regions,
    tables: Path,
    out: Path,
    quality: Path,
    detector: str | None,
    weights: Path | None,
    shard: str | None,
    threads: int | None,
) -> None:
    from vlp import parts
    from vlp.data.tables import rows, table_path
    from vlp.files import write_json
    from vlp.images.decode import records
    from vlp.launch import run_alone, taken
    from vlp.regions import detector as detectors
    from vlp.regions import shards
    from vlp.regions.extract import report
    from vlp.tracking import track
    from vlp.tracking.digests import Part

    part = parts.parse_shard(shard) if shard else (1, 1)
    dials, own = settings.extraction, settings.pretrained
    name = detector or (own.name if own else "small")
    weights = weights or (own.weights if own else None)
    inputs = detectors.files(weights) if weights else {}
    kept = shard is not None and dials.keep_shards
    # boxes are compared when all is merged; a shard that is kept gets its ground-truth tags itself
    read = ("images",) if shard is not None and not kept else ("images", "objects")
    inputs |= {table: table_path(tables, table) for table in read}
    outputs = {"store": out, "quality": quality}
    rule = "regions" if shard is None else f"regions-shard.{part[0]}-of-{part[1]}"
    work = {
        "tables": tables,
        "root": chosen.data_root,
        "out": out,
        "detector": (name, weights, dials.device, own.selection if own else None),
        "part": part,
        "on_bad_image": settings.on_bad_image,
        "dials": (threads or chosen.launch.cpu_threads, dials.batch_size, dials.workers),
    }
    folder = chosen.folder / "runs" / rule
    with track(
        chosen,
        rule=rule,
        inputs=inputs,
        outputs=outputs,
        params={"source": settings.source},
        tags={"stage": "regions"},
    ) as run:
        shared = parts.shard(records(rows(tables, "images"), chosen.data_root), *part)
        run.reads(pixels=Part.of(chosen.data_root, (image.path for image in shared)))
        result, skipped = run_alone(
            extract_part, work, chosen.launch.extraction, folder, f"{chosen.name}-{rule}", inputs
        )
        run.metric("images_per_second", result.images_per_second)
        if shard is None:
            add_truth(chosen, out, tables)
            images = records(rows(tables, "images"), chosen.data_root)
            value = report(out, images, rows(tables, "objects"), skipped, result)
            write_json(quality, value)
            record(run, value, quality)
        else:
            if kept:
                add_truth(chosen, out, tables, whole=False)
            write_json(quality, shards.record(result, skipped, part))
            run.metric("skipped", len(skipped))
    taken(folder)
    tell_skipped(skipped)
    if shard is None:
        print_quality(value)
    else:
        tell_result(out, result, len(skipped))


def extract_part(
    tables: Path,
    root: Path,
    out: Path,
    detector: tuple[str, Path | None, str, Selection | None],
    part: tuple[int, int],
    on_bad_image: Literal["skip", "stop"],
    dials: tuple[int, int, int],
) -> tuple[Extraction, list[dict[str, str]]]:
    """What was found, and the images left out, with the reason. Runs in a job.

    Args:
        detector: name, weights, device, selection of boxes.
        dials: threads, batch size, workers.
    """
    from vlp import parts
    from vlp.data.tables import rows
    from vlp.images.decode import Skipped, records
    from vlp.regions.detectors.registry import build
    from vlp.regions.extract import extract as find
    from vlp.regions.extract import store_facts

    model, skipped = build(*detector), Skipped(on_bad_image)
    images = parts.shard(records(rows(tables, "images"), root), *part)
    return find(model, images, out, skipped, store_facts(model), *dials), skipped.images


@app.command()
def merge(
    shards: Annotated[list[Path], typer.Argument(help="The folder that `extract` wrote to, or all shards (.h5).")],
    out: Annotated[Path | None, typer.Option(help="The store to write; of a folder FOLDER/regions.h5.")] = None,
    config: Annotated[Path | None, typer.Option(help="Experiment file (YAML).")] = None,
    tables: Annotated[Path | None, typer.Option(help="Folder of the tables.")] = None,
    quality: Annotated[Path | None, typer.Option(help="Where to write counts, recall and precision (JSON).")] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Copy nothing: the shards' folder is the store, and gets a manifest.")
    ] = False,
    overrides: Overrides = None,
) -> None:
    """Make one region store of all shards of an extraction."""
    from vlp.data.tables import rows, table_path
    from vlp.errors import ConfigError
    from vlp.files import write_json
    from vlp.images.decode import records
    from vlp.regions import shards as parts
    from vlp.regions.extract import report
    from vlp.tracking import track
    from vlp.tracking.digests import Merged

    folder = shards[0] if len(shards) == 1 and shards[0].is_dir() else None
    files = parts.in_folder(folder) if folder is not None else shards
    if keep and out is not None:
        raise ConfigError("--keep: the store is the shards' folder; leave --out away")
    store = files[0].parent if keep else out or (folder / "regions.h5" if folder is not None else None)
    if store is None:
        raise ConfigError("--out: name the store to write")
    join = parts.keep if keep else parts.merge
    if config is None:
        result, skipped = join(files, store), parts.skipped_in(files)
        write_json(store.with_suffix(".json"), parts.record(result, skipped, (1, 1)))
        tell_result(store, result, len(skipped))
        return
    if tables is None or quality is None:
        raise ConfigError("--config: give --tables and --quality too")
    chosen = with_regions(config, overrides)
    inputs: dict[str, Path | Merged] = {path.stem: path if keep else Merged(path) for path in files}
    inputs |= {f"{path.stem}.record": path.with_suffix(".json") for path in files}
    inputs |= {k: table_path(tables, k) for k in ("images", "objects")}
    with track(
        chosen, rule="regions", inputs=inputs, outputs={"store": store, "quality": quality}, tags={"stage": "regions"}
    ) as run:
        result, skipped = join(files, store), parts.skipped_in(files)
        images = records(rows(tables, "images"), chosen.data_root)
        if not keep:
            add_truth(chosen, store, tables)
        value = report(store, images, rows(tables, "objects"), skipped, result)
        write_json(quality, value)
        record(run, value, quality)
    tell_skipped(skipped)
    print_quality(value)
