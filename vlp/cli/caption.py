"""`vlp data images`, `caption`, `merge-captions`: texts for images that have none, by a captioner."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlp.cli.options import ConfigPath, Overrides, experiment

if TYPE_CHECKING:
    from vlp.config.data import Captioner
    from vlp.data.caption.run import Result
    from vlp.images.decode import ImageRecord

app = typer.Typer()

DataSetName = Annotated[str, typer.Option("--dataset", help="A data set of the experiment.", show_default=False)]
Out = Annotated[Path, typer.Option(help="The captions to write (.jsonl); a .json beside them tells of the work.")]


@app.command()
def images(
    config: ConfigPath,
    dataset: DataSetName,
    out: Annotated[Path, typer.Option(help="Folder of the table to write.", show_default=False)],
    overrides: Overrides = None,
) -> None:
    """List the images of one data set, as in the table `images`: what a captioner is run on."""
    from vlp.data.readers import named_files, read_images
    from vlp.data.tables import table_path, write_arrow
    from vlp.tracking import track

    chosen = experiment(config, overrides)
    inputs = {path.name: path for path in named_files(chosen, of=dataset)}
    with track(
        chosen, rule=f"caption-images.{dataset}", inputs=inputs, outputs={"images": table_path(out, "images")}
    ) as run:
        table, summary = read_images(chosen, dataset, progress=sys.stderr.isatty())
        write_arrow(out, "images", table)
        run.metric("images", len(table))
    print(f"{table_path(out, 'images')}: {len(table):,} images")
    for entry in summary["skipped_counts"]:
        if entry["table"] == "images":
            print(f"skipped {entry['count']:,}: {entry['reason']} ({entry['file']})")


@app.command()
def caption(
    out: Out,
    images: Annotated[Path | None, typer.Option(help="Folder of images.", show_default=False)] = None,
    tables: Annotated[Path | None, typer.Option(help="Folder of a table of images, instead of --images.")] = None,
    model: Annotated[str | None, typer.Option(help="Captioner: a directory, or a downloaded model's name.")] = None,
    shard: Annotated[str, typer.Option(help="Only this part of the images: I/N.")] = "1/1",
    root: Annotated[Path, typer.Option(help="What the paths of a table are relative to.")] = Path(),
    prompt: Annotated[str | None, typer.Option(help="For models that need words beside the image.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Word pieces of a caption at most.")] = None,
    beams: Annotated[int | None, typer.Option(help="1: greedy.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images that the captioner gets at once.")] = None,
    workers: Annotated[int | None, typer.Option(help="Threads that decode images.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda.")] = None,
    on_bad_image: Annotated[
        str | None, typer.Option(help="skip or stop; default: data.on_bad_record, or skip.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="Experiment file (YAML), instead of --model.")] = None,
    dataset: Annotated[str | None, typer.Option(help="With --config: the data set whose captioner to take.")] = None,
    overrides: Overrides = None,
) -> None:
    """Write a caption for every image, as JSON lines {image_id, caption}. A killed run goes on where it was.

    With --config in a job where `launch.captioning` says so.
    """
    from vlp.config.data import Captioner
    from vlp.data.tables import table_path
    from vlp.errors import ConfigError
    from vlp.launch import run_alone, taken
    from vlp.parts import parse_shard
    from vlp.tracking import track

    given: dict[str, Any] = {"prompt": prompt, "max_tokens": max_tokens, "beams": beams, "batch_size": batch_size}
    given |= {"workers": workers, "device": device, "model": model}
    given = {key: value for key, value in given.items() if value is not None}
    part = parse_shard(shard)
    if (images is None) == (tables is None):
        raise ConfigError("give --images DIR or --tables DIR")
    if on_bad_image not in (None, "skip", "stop"):
        raise ConfigError(f"--on-bad-image {on_bad_image}: skip or stop")
    try:
        if config is None:
            if model is None or dataset is not None:
                raise ConfigError("give --model, or --config and --dataset")
            settings = Captioner.model_validate(given)
            _tell(out, caption_part(settings, images, tables, root, out, part, on_bad_image or "skip"))
            return
        if dataset is None:
            raise ConfigError("--config: give --dataset too")
        chosen = experiment(config, overrides)
        own = next((c.captioner for name, c in chosen.data.each().items() if name == dataset), None)
        if own is None:
            raise ConfigError(f"{config}: data set {dataset} has no captioner")
        settings = Captioner.model_validate(own.model_dump() | given)
    except ValueError as error:  # pydantic's, of an option
        raise ConfigError(" ".join(str(error).split())) from error
    name = f"caption.{dataset}" + (f".{part[0]}-of-{part[1]}" if part[1] > 1 else "")
    inputs = {} if tables is None else {"images": table_path(tables, "images")}
    work = {"settings": settings, "images": images, "tables": tables, "root": chosen.data_root}
    work |= {"out": out, "part": part, "on_bad_image": on_bad_image or chosen.data.on_bad_record}
    work |= {"threads": chosen.launch.cpu_threads}
    folder = chosen.folder / "runs" / name
    with track(chosen, rule=name, inputs=inputs, outputs={"captions": out}, params=settings.model_dump()) as run:
        result = run_alone(caption_part, work, chosen.launch.captioning, folder, f"{chosen.name}-{name}", inputs)
        _log(run, result)
    taken(folder)
    _tell(out, result)


@app.command("merge-captions")
def merge(
    shards: Annotated[list[Path], typer.Argument(help="All shards (.jsonl), in their order.")],
    out: Out,
    config: Annotated[Path | None, typer.Option(help="Experiment file (YAML): the merge is one of its runs.")] = None,
    overrides: Overrides = None,
) -> None:
    """Make one captions file of all shards."""
    from vlp.data.caption import run as work
    from vlp.tracking import track

    if config is None:
        _tell(out, work.merge(shards, out))
        return
    inputs = {path.stem: path for path in shards}
    chosen = experiment(config, overrides)
    with track(chosen, rule=f"caption.{out.stem}", inputs=inputs, outputs={"captions": out}) as run:
        result = work.merge(shards, out)
        _log(run, result)
    _tell(out, result)


def caption_part(
    settings: Captioner,
    images: Path | None,
    tables: Path | None,
    root: Path,
    out: Path,
    part: tuple[int, int],
    on_bad_image: Any,
    threads: int | None = None,
) -> Result:
    """Runs in a job."""
    import torch

    from vlp.data.caption import captioner
    from vlp.data.caption import run as work
    from vlp.regions.train import deterministic

    records = _records(images, tables, root, part)
    model = captioner.build(settings)
    arguments = (model, records, out, part, settings.batch_size, settings.workers, on_bad_image)
    if settings.device != "cpu":  # CUDA has no deterministic kernels for some parts of these models
        return work.caption(*arguments)
    with deterministic(0, threads or torch.get_num_threads()):
        return work.caption(*arguments)


def _records(images: Path | None, tables: Path | None, root: Path, part: tuple[int, int]) -> Sequence[ImageRecord]:
    """Of a folder an image's name is its path in it; its size is not asked for."""
    from vlp.data.tables import rows
    from vlp.images.decode import ImageRecord, records
    from vlp.images.folder import in_folder
    from vlp.parts import shard

    if tables is not None:
        return shard(records(rows(tables, "images"), root), *part)
    assert images is not None
    found = [path for _, path in in_folder(images, images.name)]
    return [ImageRecord(path.relative_to(images).as_posix(), path, 0, 0, "") for path in shard(found, *part)]


def _log(run: Any, result: Result) -> None:
    run.metric("captions", result.captions)
    run.metric("skipped", len(result.skipped))
    run.metric("images_per_second", result.images_per_second)


def _tell(out: Path, result: Result) -> None:
    for row in result.skipped[:20]:
        print(f"skipped {row['image_id']}: {row['reason']} ({row['file']})", file=sys.stderr)
    if len(result.skipped) > 20:
        print(f"skipped {len(result.skipped) - 20} more", file=sys.stderr)
    resumed = f", {result.resumed:,} of them finished before" if result.resumed else ""
    print(
        f"{out}: {result.captions:,} captions of {result.images:,} images{resumed}, {len(result.skipped)} skipped, "
        f"{result.images_per_second:.1f} images/s"
    )
