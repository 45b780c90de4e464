"""`vlp infer`: a trained model on one image and one text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from vlp.infer import Answer

app = typer.Typer(subcommand_metavar="")


@app.callback(invoke_without_command=True)
def infer(
    model: Annotated[Path, typer.Option(help="Model directory.", show_default=False)],
    text: Annotated[
        str, typer.Option(help="A sentence or a question; [MASK] is filled in by the model.", show_default=False)
    ],
    image: Annotated[Path | None, typer.Option(help="The image (JPEG, PNG).", show_default=False)] = None,
    out: Annotated[
        Path | None, typer.Option(help="The picture to write; by default IMAGE.grounded.png in this folder.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write the numbers to this file.", show_default=False)] = None,
    detector: Annotated[
        Path | None,
        typer.Option(help="Folder of the detector, if the model directory does not carry it.", show_default=False),
    ] = None,
    regions: Annotated[
        Path | None, typer.Option(help="Read the regions from this store instead.", show_default=False)
    ] = None,
    image_id: Annotated[str | None, typer.Option(help="The image's id in the store.", show_default=False)] = None,
    top: Annotated[int, typer.Option(min=1, help="So many words for each mask, and answers.")] = 5,
) -> None:
    """Fill the text's masks, score how well image and text match, find its phrases in the image and draw them.

    A model fine-tuned for VQA gives answers, one for entailment the probabilities of the three classes.
    """
    import sys

    from vlp.files import write_json
    from vlp.infer import Predictor

    predictor = Predictor.from_pretrained(model, detector)
    answer = predictor(image, text, regions=regions, image_id=image_id, top_k=top)
    for note in answer.notes:
        print(f"vlp: {note}", file=sys.stderr)
    _show(answer)
    if json is not None:
        write_json(json, answer.as_dict())
        print(f"{'numbers':12}{json}")
    if out is not None or (image is not None and answer.found.get("phrases")):
        name = out or Path(f"{image.stem if image else answer.image}.grounded.png")
        print(f"{'picture':12}{answer.draw(name)}")


def _show(answer: Answer) -> None:
    found = answer.found
    print(f"{'text':12}{answer.text}")
    for filled in found.get("words", []):
        print(f"{'[MASK]':12}{_listed(filled.candidates)}")
    if "answers" in found:
        print(f"{'answer':12}{_listed(found['answers'])}")
    if "entailment" in found:
        print(f"{'entailment':12}{_listed(found['entailment'].items())}")
    if "match" in found:
        print(f"{'match':12}{found['match']:.3f}")
    if "cosine" in found:
        print(f"{'cosine':12}{found['cosine']:.3f}")
    for title, rows in (("phrase", found.get("phrases", [])), ("concept", found.get("concepts", []))):
        for row in rows:
            name = row.text if title == "phrase" else "(" + ", ".join(row.parts) + ")"
            box = " ".join(f"{v:.0f}" for v in row.box)
            print(f"{title:12}{name:34}{row.score:6.3f}  box {box}")


def _listed(pairs) -> str:
    return ", ".join(f"{name} {p:.3f}" for name, p in pairs)
