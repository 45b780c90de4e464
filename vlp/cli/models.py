"""`vlp models`: the authors' checkpoints in and out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vlp.config.base import DEFAULT_METHOD

app = typer.Typer()

Method = Annotated[str, typer.Option(help="Whose checkpoint it is.")]
Kind = Annotated[str, typer.Option(help="pretraining, retrieval, vqa, entailment or referring.")]


@app.command("import")
def import_(
    folder: Annotated[Path, typer.Argument(help="Folder with pytorch_model.bin, config.json, vocab.txt.")],
    out: Annotated[Path, typer.Argument(help="Model directory to write.")],
    id2phrase: Annotated[
        Path | None, typer.Option(help="The authors' phrase file; without it texts have no phrases.")
    ] = None,
    words: Annotated[
        int | None, typer.Option(help="Cap of word pieces, [CLS] and [SEP] included; default: the method's.")
    ] = None,
    phrases: Annotated[int | None, typer.Option(help="Cap of phrases; default: the method's.")] = None,
    regions: Annotated[int | None, typer.Option(help="Cap of regions; default: the method's.")] = None,
    tags: Annotated[
        int | None,
        typer.Option(help="Cap of tag word pieces, [CLS] and [SEP] included; default: the method's."),
    ] = None,
    method: Method = DEFAULT_METHOD,
) -> None:
    """Make a model directory of a checkpoint of the released code; its class is told by its tensors."""
    own = _official(method)
    caps = {"words": words, "phrases": phrases, "regions": regions, "tags": tags}
    lengths = {name: cap for name, cap in caps.items() if cap is not None}
    done = own.import_folder(folder, out, id2phrase, lengths)
    print(f"{out}: {done.kind} ({own.CLASSES[done.kind]})")
    _tell(done, "drawn anew, the checkpoint has none", "in the checkpoint, without a place here")


@app.command("export")
def export(
    model: Annotated[Path, typer.Argument(help="Model directory.")],
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    kind: Kind = "pretraining",
) -> None:
    """Write a model directory in the released code's form."""
    from vlp.models.directory import method_of

    own = _official(method_of(model))
    if kind not in own.CLASSES:
        raise typer.BadParameter(", ".join(own.CLASSES), param_hint="--kind")
    done = own.export_folder(model, out, kind)
    print(f"{out}: {own.CLASSES[kind]}")
    _tell(done, "", "ours, without a place there")


def _official(method: str) -> Any:
    """What the method knows of its authors' checkpoints. Raises InputError: nothing."""
    from vlp.config.methods import part_of
    from vlp.errors import InputError

    found = part_of(method, "official")
    if found is None:
        raise InputError("model.method", f"{method} has no official checkpoints.", "Name a method that has: --method.")
    return found


def _tell(done, fresh: str, dropped: str) -> None:
    for note in done.notes:
        print(note)
    for names, what in ((done.fresh, fresh), (done.dropped, dropped)):
        if names:
            print(f"{what}: {', '.join(names)}")
