"""`vlp phrases`: mine phrases, build the vocabularies, show the scene graph of a text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlp.cli.options import ConfigPath, Overrides, experiment, with_phrases

if TYPE_CHECKING:
    from vlp.phrases.mine import MiningCounts
    from vlp.phrases.vocabulary import PhraseVocabulary
    from vlp.tracking.run import Run

app = typer.Typer()

TablesPath = Annotated[Path, typer.Option(help="Folder of the tables.", show_default=False)]
MinedPath = Annotated[Path, typer.Option(help="phrases.parquet of `vlp phrases mine`.", show_default=False)]
PhrasesPath = Annotated[
    Path | None, typer.Option(help="phrases.parquet of `vlp phrases mine`; without it texts have no phrases.")
]
RegionsPath = Annotated[Path | None, typer.Option(help="Region store; without it images have no tags.")]


@app.command()
def mine(
    config: ConfigPath,
    tables: TablesPath,
    out: Annotated[Path, typer.Option(help="phrases.parquet to write.", show_default=False)],
    shard: Annotated[str | None, typer.Option(help="Only this part of the texts: I/N; `merge` joins them.")] = None,
    overrides: Overrides = None,
) -> None:
    """Mine the attribute and relation tuples of every distinct text, here or in a job (`launch.phrases`)."""
    from vlp.launch import run_alone, taken
    from vlp.parts import parse_shard
    from vlp.phrases.backends import version
    from vlp.tracking import track

    e = with_phrases(config, overrides)
    part = parse_shard(shard) if shard else (1, 1)
    rule = "phrases" if shard is None else f"phrases-shard.{part[0]}-of-{part[1]}"
    params = {"phrases": e.phrases.model_dump(mode="json"), "parser": version(e.phrases.parser)}
    work = {"tables": tables, "out": out, "parser": e.phrases.parser, "processes": e.phrases.processes, "part": part}
    folder = e.folder / "runs" / rule
    with track(
        e, rule=rule, inputs={"tables": tables}, outputs={"phrases": out}, params=params, tags={"stage": "phrases"}
    ) as run:
        found = run_alone(mine_part, work, e.launch.phrases, folder, f"{e.name}-{rule}", {"tables": tables})
        _record(run, out, *found)
    taken(folder)


def mine_part(
    tables: Path, out: Path, parser: str, processes: int, part: tuple[int, int]
) -> tuple[MiningCounts, float]:
    """Counts and seconds. Runs in a job."""
    import time

    from rich.progress import track as bar

    from vlp.parts import shard
    from vlp.phrases import mine as mining
    from vlp.phrases.backends import version

    texts = shard(mining.distinct_texts(tables), *part)
    began = time.monotonic()
    rows = mining.mine(texts, parser, processes)
    counts = mining.write(out, bar(rows, "phrases", total=len(texts)), version(parser))
    return counts, time.monotonic() - began


@app.command()
def merge(
    config: ConfigPath,
    shards: Annotated[list[Path], typer.Argument(help="What `mine --shard` wrote, all parts in order.")],
    out: Annotated[Path, typer.Option(help="phrases.parquet to write.", show_default=False)],
    overrides: Overrides = None,
) -> None:
    """Join the shards of `mine`: byte-equal to what one run writes."""
    import time

    from vlp.phrases import mine as mining
    from vlp.phrases.backends import version
    from vlp.tracking import track
    from vlp.tracking.digests import Merged

    e, began = with_phrases(config, overrides), time.monotonic()
    inputs = {path.stem: Merged(path) for path in shards}
    with track(e, rule="phrases", inputs=inputs, outputs={"phrases": out}, tags={"stage": "phrases"}) as run:
        counts = mining.write(out, mining.joined(shards), version(e.phrases.parser))
        _record(run, out, counts, time.monotonic() - began)


def _record(run: Run, out: Path, counts: MiningCounts, seconds: float) -> None:
    rate = counts.texts / max(seconds, 1e-9)
    for key, value in counts.metrics().items():
        run.metric(key, value)
    run.metric("texts_per_second", rate)
    print(f"{out}: {counts}, {rate:.0f} texts/s")


@app.command()
def vocabulary(
    config: ConfigPath,
    tables: TablesPath,
    out: Annotated[Path, typer.Option(help="Folder to write phrases.json and tokenizer/ to.", show_default=False)],
    phrases: PhrasesPath = None,
    regions: RegionsPath = None,
    overrides: Overrides = None,
) -> None:
    """Build the word-piece vocabulary (or copy one) and, of mined phrases, theirs, from train texts only.

    With `start_from` both are that model's.
    """
    from vlp.phrases import mine as mining
    from vlp.phrases import tokenizer as pieces
    from vlp.phrases import vocabulary as phrase_vocabulary
    from vlp.phrases.texts import train_captions, train_texts
    from vlp.regions.store import RegionStore
    from vlp.tracking import track

    e = experiment(config, overrides)
    inputs = {"tables": tables, "phrases": phrases, "regions": regions}
    inputs = {name: path for name, path in inputs.items() if path is not None}
    outputs = ({} if phrases is None else {"phrases": out / "phrases.json"}) | {"tokenizer": out / "tokenizer"}
    params = {"vocabulary": e.vocabulary.model_dump(mode="json")}
    params |= {} if phrases is None else {"min_sentences": e.phrases.min_sentences}
    with track(e, rule="vocabulary", inputs=inputs, outputs=outputs, params=params, tags={"stage": "phrases"}) as run:
        tokenizer = e.vocabulary.tokenizer if e.start_from is None else str(e.start_from / "tokenizer")
        if tokenizer is None:
            store = None if regions is None else RegionStore(regions)
            names = [] if store is None else list(dict.fromkeys([*store.class_names, *store.truth_names]))
            words = pieces.word_pieces(train_texts(tables), names, e.vocabulary.min_count)
            pieces.save(words, out / "tokenizer")
        else:
            pieces.copy(tokenizer, out / "tokenizer")
        size = len(pieces.load(out / "tokenizer"))
        run.metric("word_pieces", size)
        told = f"{size} word pieces"
        if phrases is not None:
            if e.start_from is None:
                captions = train_captions(tables, mining.read(phrases), phrases)
                found = phrase_vocabulary.build(captions, e.phrases.min_sentences, size)
            else:
                found = phrase_vocabulary.PhraseVocabulary.load(e.start_from / "phrases.json")
            found.save(out / "phrases.json")
            told += f", {_told(found, run)}"
    print(f"{out}: {told}")


def _told(found: PhraseVocabulary, run: Run) -> str:
    kinds = {kind: sum(r.kind == kind for r in found.records) for kind in ("attribute", "relation")}
    run.metric("phrases", len(found))
    for kind, count in kinds.items():
        run.metric(f"phrases_{kind}", count)
    shown = ", ".join(f"{count} {kind}s" for kind, count in kinds.items())
    return f"{len(found)} phrases ({shown}), {found.rows} rows"


@app.command()
def count(
    captions: Annotated[list[Path], typer.Option(help="COCO captions JSON, or text with one a line; more than one.")],
    shards: Annotated[Path, typer.Option(help="Folder of the shards; a killed run goes on.", show_default=False)],
    out: Annotated[Path, typer.Option(help="phrases.json to write.", show_default=False)],
    first_id: Annotated[int, typer.Option(help="Size of the tokenizer: the first phrase's id.")] = 30522,
    min_sentences: Annotated[int, typer.Option(min=1, help="Sentences that a phrase occurs in (paper 3.1.1).")] = 50,
    processes: Annotated[int, typer.Option(min=1)] = 2,
    parser: Annotated[str, typer.Option(help="spaCy model, or spice:PATH of the jar.")] = "en_core_web_sm",
) -> None:
    """Mine a vocabulary from caption files of any size: sharded, resumable, in constant memory."""
    import time
    from itertools import chain

    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from vlp.phrases import shards as sharding
    from vlp.phrases.texts import caption_lines
    from vlp.phrases.vocabulary import from_counts

    texts = chain.from_iterable(caption_lines(path) for path in captions)
    began, columns = time.monotonic(), (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    counts = sharding.ShardCounts()
    with Progress(*columns) as progress:
        bar = progress.add_task("mining")
        for counts in sharding.mine_shards(texts, shards, parser, processes):
            rate = counts.sentences / (time.monotonic() - began)
            progress.update(bar, description=f"{counts.sentences} sentences, {rate:.0f}/s, {counts.kept} shards kept")
    found = from_counts(sharding.frequencies(shards), min_sentences, first_id)
    found.save(out)
    print(f"{out}: {len(found)} phrases in {min_sentences} or more of {counts.sentences} sentences, {found.rows} rows")


@app.command()
def associate(
    captions: Annotated[list[Path], typer.Option(help="COCO captions JSON, or text with one a line; more than one.")],
    out: Annotated[Path, typer.Option(help="attachments.tsv to write.", show_default=False)],
    processes: Annotated[int, typer.Option(min=1)] = 2,
    parser: Annotated[str, typer.Option(help="spaCy model.")] = "en_core_web_sm",
) -> None:
    """Learn from captions which words carry which prepositional phrases: the parser's own counts, made so."""
    from itertools import chain

    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from vlp.phrases import associate as learning
    from vlp.phrases.texts import caption_lines

    texts = chain.from_iterable(caption_lines(path) for path in captions)
    seen = learning.Observed()
    with Progress(SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()) as progress:
        bar = progress.add_task("reading")
        for seen in learning.observe(texts, parser, processes):
            progress.update(bar, description=f"{len(seen.cases)} prepositional phrases")
    known = learning.learn(seen)
    known.save(out)
    sure = sum(case.sure for case in seen.cases)
    print(f"{out}: {len(known.attached)} triples of {len(seen.cases)} prepositional phrases, {sure} of them sure")


@app.command()
def tables(
    tables: TablesPath,
    phrases: MinedPath,
    vocabulary: Annotated[Path, typer.Option(help="Valid phrases: phrases.json, or an id2phrase file.")],
    out: Annotated[Path | None, typer.Option(help="JSON file to write the rows to.")] = None,
    config: Annotated[Path | None, typer.Option(help="Experiment file, to keep a journal of the run.")] = None,
    overrides: Overrides = None,
) -> None:
    """Tables 5 and 8 of the paper for this corpus, beside the published numbers."""
    from contextlib import nullcontext

    from rich.console import Console
    from rich.table import Table

    from vlp.config.base import DEFAULT_METHOD
    from vlp.files import write_json
    from vlp.phrases import mine as mining
    from vlp.phrases import tables as statistics
    from vlp.phrases.vocabulary import read_any
    from vlp.report.published import table
    from vlp.tracking import track

    inputs = {"tables": tables, "phrases": phrases, "vocabulary": vocabulary}
    outputs = {} if out is None else {"rows": out}
    e = None if config is None else experiment(config, overrides)
    with nullcontext() if e is None else track(e, rule="phrase_tables", inputs=inputs, outputs=outputs, params={}):
        found, valid = mining.read(phrases), read_any(vocabulary)
        fifth, eighth = statistics.table5(tables, found, valid), statistics.table8(tables, found, valid)
        method = DEFAULT_METHOD if e is None else e.model.method
        paper = statistics.printed(table(method, "5"), table(method, "8"))
        rows = statistics.beside_published(fifth, eighth, paper)
        if out is not None:
            write_json(out, rows)
    console = Console()
    for name, title in (("table5", "Table 5: phrases of the data sets"), ("table8", "Table 8: the mined corpus")):
        shown = Table(*rows[name][0], title=title)
        for row in rows[name]:
            shown.add_row(*("-" if v is None else str(v) for v in row.values()))
        console.print(shown)


@app.command()
def convert(
    vocabulary: Annotated[Path, typer.Argument(help="phrases.json, or the authors' id2phrase file.")],
    out: Annotated[Path, typer.Argument(help="File of the other form to write.")],
    rows: Annotated[int | None, typer.Option(help="Of an id2phrase file's table; else its highest id + 1.")] = None,
) -> None:
    """Turn the authors' phrase file into ours, or ours into theirs (which has no place for the counts)."""
    from vlp.phrases.vocabulary import PhraseVocabulary, is_ours, read_id2phrase, write_id2phrase

    if is_ours(vocabulary):
        found = PhraseVocabulary.load(vocabulary)
        write_id2phrase(found, out)
    else:
        found = read_id2phrase(vocabulary, rows)
        found.save(out)
    kinds = {kind: sum(r.kind == kind for r in found.records) for kind in ("object", "attribute", "relation")}
    print(f"{out}: {', '.join(f'{n} {kind}s' for kind, n in kinds.items())}, {found.rows} rows")


@app.command()
def show(
    text: Annotated[str, typer.Argument(help="A caption, a question, any sentence.")],
    parser: Annotated[str, typer.Option(help="spaCy model, or spice:PATH of the jar.")] = "en_core_web_sm",
) -> None:
    """Draw the scene graph of a text and list its tuples, each with the words it is made of."""
    from rich.console import Console
    from rich.tree import Tree

    from vlp.phrases.backends import open_parser

    graph = next(open_parser(parser).pipe([text]))
    tree = Tree(f"[bold]{text}[/bold]")
    for thing in graph.things:
        branch = tree.add(f"[green]{thing.lemma}[/green]")
        for attribute in graph.attributes:
            if attribute.thing == thing:
                branch.add(f"[yellow]{attribute.value}[/yellow]")
        for relation in graph.relations:
            if relation.subject == thing:
                branch.add(f"[cyan]{relation.name}[/cyan] → [green]{relation.object.lemma}[/green]")
    console = Console(highlight=False)
    console.print(tree)
    listed = [(f"{p.kind:9} ({', '.join(p.parts)})", " ".join(text[a:b] for a, b in p.words)) for p in graph.phrases()]
    width = max((len(tuple_) for tuple_, _ in listed), default=0)
    for tuple_, used in listed:
        console.print(f"{tuple_:{width}}  {used}", markup=False)
    if not graph.phrases():
        console.print("no phrase")
