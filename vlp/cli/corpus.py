"""`vlp corpus`: every text and every image's tags, tokenised once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vlp.cli.options import ConfigPath, Overrides, experiment
from vlp.cli.phrases import PhrasesPath, RegionsPath, TablesPath

app = typer.Typer()


@app.callback()
def main() -> None:
    """Keeps `build` a command of its own."""


@app.command()
def build(
    config: ConfigPath,
    tables: TablesPath,
    vocabulary: Annotated[Path, typer.Option(help="Folder of `vlp phrases vocabulary`.", show_default=False)],
    out: Annotated[Path, typer.Option(help="corpus.h5 to write.", show_default=False)],
    phrases: PhrasesPath = None,
    regions: RegionsPath = None,
    overrides: Overrides = None,
) -> None:
    """Tokenise every text and tag; map word pieces to phrases."""
    from vlp.phrases import corpus, mine, tokenizer
    from vlp.phrases.vocabulary import PhraseVocabulary
    from vlp.regions.store import RegionStore
    from vlp.tracking import track

    e = experiment(config, overrides)
    inputs = {"tables": tables, "phrases": phrases, "vocabulary": vocabulary, "regions": regions}
    inputs = {name: path for name, path in inputs.items() if path is not None}
    with track(e, rule="corpus", inputs=inputs, outputs={"corpus": out}, tags={"stage": "corpus"}) as run:
        counts = corpus.write(
            out,
            tables,
            None if phrases is None else mine.read(phrases),
            None if phrases is None else PhraseVocabulary.load(vocabulary / "phrases.json"),
            tokenizer.load(vocabulary / "tokenizer"),
            None if regions is None else RegionStore(regions),
            progress=lambda name, texts: print(f"{name}: {texts} texts"),
        )
        for name, texts in counts.texts.items():
            run.metric(f"texts.{name}", texts)
            run.metric(f"texts_without_phrase.{name}", counts.without_phrase[name])
        for label, texts in counts.left_out.items():
            run.metric(f"texts_left_out.{label}", texts)
        run.metric("images", counts.images)
        run.metric("tags", counts.tags)
        run.metric("annotated_images", counts.annotated)
    for label, texts in counts.left_out.items():
        print(f"{label}: {texts} texts left out, their images have no regions in the store")
    bare = ", ".join(f"{name} {n}" for name, n in counts.without_phrase.items() if n)
    told = "" if phrases is None else f"; texts without a known phrase: {bare or 'none'}"
    print(f"{out}: {counts.images} images, {counts.tags} tags{told}")
