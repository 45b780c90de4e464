"""`vlp search`: images for a text, texts for an image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from vlp.infer.search import Searcher

app = typer.Typer(subcommand_metavar="", context_settings={"allow_interspersed_args": True})


@app.callback(invoke_without_command=True)
def search(
    model: Annotated[Path, typer.Option(help="Model directory: of stage 2, or fine-tuned for retrieval.")],
    text: Annotated[str | None, typer.Argument(help="What the images shall show.", show_default=False)] = None,
    images: Annotated[Path | None, typer.Option(help="Folder of the images to search.", show_default=False)] = None,
    image: Annotated[
        Path | None, typer.Option(help="An image to find texts for, in place of a text.", show_default=False)
    ] = None,
    texts: Annotated[Path | None, typer.Option(help="File of the texts to search, one a line.")] = None,
    top: Annotated[int, typer.Option(min=1, help="So many are shown.")] = 8,
    keep: Annotated[
        int, typer.Option(min=1, help="So many candidates of the unimodal encoders are re-ranked (paper 4.2.1).")
    ] = 64,
    out: Annotated[Path, typer.Option(help="The picture to write.")] = Path("search.png"),
    json: Annotated[Path | None, typer.Option(help="Write the numbers to this file.", show_default=False)] = None,
    detector: Annotated[
        Path | None,
        typer.Option(help="Folder of the detector, if the model directory does not carry it.", show_default=False),
    ] = None,
    regions: Annotated[
        Path | None,
        typer.Option(help="Read the regions from this store; its ids end in the images' names.", show_default=False),
    ] = None,
) -> None:
    """Find the images that a text describes, or the texts that describe an image; write them as a picture.

    vlp search --model DIR --images DIR "a dog on a beach"      vlp search --model DIR --image FILE --texts FILE
    """
    from dataclasses import asdict

    from vlp.errors import InputError
    from vlp.files import write_json
    from vlp.images.pictures import open_picture
    from vlp.infer import sheet
    from vlp.infer.search import Searcher, lines, pictures

    if (text is None) == (image is None):
        raise typer.BadParameter("give a text, with --images, or --image, with --texts")
    searcher = Searcher(model, detector)
    if text is not None:
        if images is None:
            raise typer.BadParameter("name the folder to search", param_hint="--images")
        store, files = _store(searcher, pictures(images), regions, images)
        hits = searcher.images(text, store, list(files), max(keep, top))[:top]
        page = sheet.of_images(text, hits, [open_picture(files[h.name]) for h in hits])
    else:
        assert image is not None
        if texts is None:
            raise typer.BadParameter("name the file of the texts", param_hint="--texts")
        store, files = _store(searcher, [image], regions, image.parent)
        if not files:
            raise InputError(image, "it cannot be searched for.", "See the message above.")
        hits = searcher.texts(lines(texts), store, next(iter(files)), max(keep, top))[:top]
        page = sheet.of_texts(open_picture(image), hits)
    for place, hit in enumerate(hits, start=1):
        print(f"{place:3}  match {hit.match:.3f}  cosine {hit.cosine:+.3f}  {hit.name}")
    page.save(out)
    print(f"picture: {out}")
    if json is not None:
        write_json(json, {"query": text or str(image), "hits": [asdict(h) for h in hits]})


def _store(searcher: Searcher, paths: list[Path], regions: Path | None, folder: Path) -> tuple[Any, dict[str, Path]]:
    """Regions of the images, and the file of each name that they go by."""
    import sys

    from rich.progress import track

    from vlp.errors import InputError
    from vlp.images.names import both_sides
    from vlp.infer.search import of_store

    if regions is not None:
        stored = searcher.open(regions)
        files = of_store(stored, paths, folder)
        if missing := len(paths) - len(files):
            print(
                f"vlp: {missing} of {len(paths)} images have no regions in {regions} and are left out", file=sys.stderr
            )
        if not files:
            sides = both_sides((p.name for p in paths), stored.image_ids)
            problem = f"it has none of the images in {folder} ({sides})."
            raise InputError(regions, problem, "Name the store of these images.")
        return stored, files
    found: dict[str, Any] = {}
    for path, seen in track(searcher.look(paths), "detecting", len(paths), transient=True):
        if isinstance(seen, InputError):
            print(f"vlp: left out: {seen}", file=sys.stderr)
        else:
            found[str(path.relative_to(folder))] = seen
    if not found:
        raise InputError(folder, "none of its images can be read.", "See the messages above.")
    return searcher.gallery(found), {name: folder / name for name in found}
