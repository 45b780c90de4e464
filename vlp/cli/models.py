"""`vlp models`: the authors' checkpoints in and out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vlp.methods.mvptr.config import Lengths

app = typer.Typer()

Kind = Annotated[str, typer.Option(help="pretraining, retrieval, vqa, entailment or referring.")]


@app.command("import")
def import_(
    folder: Annotated[Path, typer.Argument(help="Folder with pytorch_model.bin, config.json, vocab.txt.")],
    out: Annotated[Path, typer.Argument(help="Model directory to write.")],
    id2phrase: Annotated[
        Path | None, typer.Option(help="The authors' phrase file; without it texts have no phrases.")
    ] = None,
    words: Annotated[int, typer.Option(help="Cap of word pieces, [CLS] and [SEP] counted in.")] = Lengths().words,
    phrases: Annotated[int, typer.Option(help="Cap of phrases.")] = Lengths().phrases,
    regions: Annotated[int, typer.Option(help="Cap of regions.")] = Lengths().regions,
    tags: Annotated[int, typer.Option(help="Cap of tag word pieces, [CLS] and [SEP] counted in.")] = Lengths().tags,
) -> None:
    """Make a model directory of a checkpoint of the released code; its class is told by its tensors."""
    from vlp.methods.mvptr.official import CLASSES, import_folder

    lengths = Lengths(words=words, phrases=phrases, regions=regions, tags=tags).model_dump()
    done = import_folder(folder, out, id2phrase, lengths)
    print(f"{out}: {done.kind} ({CLASSES[done.kind]})")
    _tell(done, "drawn anew, the checkpoint has none", "in the checkpoint, without a place here")


@app.command("export")
def export(
    model: Annotated[Path, typer.Argument(help="Model directory.")],
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    kind: Kind = "pretraining",
) -> None:
    """Write a model directory in the released code's form."""
    from vlp.methods.mvptr.official import CLASSES, export_folder

    if kind not in CLASSES:
        raise typer.BadParameter(", ".join(CLASSES), param_hint="--kind")
    done = export_folder(model, out, kind)
    print(f"{out}: {CLASSES[kind]}")
    _tell(done, "", "ours, without a place there")


def _tell(done, fresh: str, dropped: str) -> None:
    for note in done.notes:
        print(note)
    for names, what in ((done.fresh, fresh), (done.dropped, dropped)):
        if names:
            print(f"{what}: {', '.join(names)}")
