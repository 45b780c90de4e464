"""Measure the phrase parser: against an official phrase file, on hand-checked sentences, on Flickr30k Entities.

    python -m benchmarks.phrases official --captions captions_val2014.json --official id2phrase.json --scratch SHARDS
    python -m benchmarks.phrases sentences
    python -m benchmarks.phrases entities --sentences flickr30k/Sentences

Captions are COCO annotation files (JSON) or plain text, one caption a line; further files widen only the frequency
lists. The official file is read to measure, never by the parser.
"""

from __future__ import annotations

import json
import re
import resource
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from vlp.data.readers.flickr30k_entities import parse
from vlp.phrases import shards, words
from vlp.phrases.backends import open_parser
from vlp.phrases.graph import Span
from vlp.phrases.tables import spelled
from vlp.phrases.texts import caption_lines
from vlp.phrases.vocabulary import read_id2phrase

MODEL = "en_core_web_sm"
WANTED = {"share": 0.55, "hits": (1.866, 2.066), 1_000: 0.94, 10_000: 0.70}
"""Table 5: 1.966 phrases a caption; the other floors are ours."""

_WORD = re.compile(r"\w[\w'-]*")
_OPENS = "of in on with at from for to by near under over behind that who which whose"
_NO_NOUN = (
    "he she it they him her them himself herself itself themselves his hers its their theirs i we us you me who which "
    "that this these those one ones two three four five six seven eight nine ten another other others each all both "
    "some several many someone something everyone"
)

app = typer.Typer()


@app.command()
def official(
    captions: Annotated[list[Path], typer.Option(help="Caption file; may be given again.")],
    official: Annotated[Path, typer.Option(help="The authors' id2phrase file.")],
    scratch: Annotated[Path, typer.Option(help="Folder for the shards; a killed run goes on.")],
    model: str = MODEL,
    processes: int = 2,
    limit: Annotated[int | None, typer.Option(help="Captions of each file, from the start.")] = None,
    misses: Annotated[int, typer.Option(help="Frequent phrases outside the official file to list.")] = 0,
) -> None:
    """Speed and memory; hits and share of the first file, the frequent phrases of all files together."""
    known = {r.parts for r in read_id2phrase(official).records if len(r.parts) > 1}
    total: Counter[tuple[str, ...]] = Counter()
    for number, path in enumerate(captions):
        folder, began, used = scratch / path.stem, time.monotonic(), _cpu_seconds()
        *_, counts = shards.mine_shards(caption_lines(path, limit), folder, model, processes)
        rate, cpu = counts.sentences / (time.monotonic() - began), _cpu_seconds() - used
        print(f"{path.name}: {counts.sentences} captions, {rate:.0f} captions/s, {counts.kept} shards kept")
        print(f"  {cpu:.0f} s of processor time, {cpu / counts.sentences * 1000:.2f} ms a caption", flush=True)
        found: Counter[tuple[str, ...]] = Counter({parts: n for _, parts, n in shards.frequencies(folder)})
        if number == 0:
            _against(found, known, counts.sentences)
        total.update(found)
    ranked = sorted(total, key=lambda parts: (-total[parts], parts))
    for top in (1_000, 10_000):
        part = ranked[:top]
        share = sum(parts in known for parts in part) / max(len(part), 1)
        print(f"first {len(part)} of all files: {share:.4f} in the official file (wanted {WANTED[top]})")
    for parts in [p for p in ranked if p not in known][:misses]:
        print(json.dumps([*parts]), total[parts])
    peak = max(resource.getrusage(w).ru_maxrss for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 2**20
    print(f"peak memory of the largest process: {peak:.2f} GiB")


@app.command()
def sentences(model: str = MODEL) -> None:
    """Precision and recall of the tuples of the hand-checked sentences, and which are wrong."""
    from tests.phrases.gold import FILES, score

    parser = open_parser(model)
    for name in FILES:
        found = score(parser, name)
        print(f"{name}: {found.sentences} sentences, {found.wanted} tuples, ", end="")
        print(f"precision {found.precision:.3f}, recall {found.recall:.3f}")
        for line in found.wrong:
            print(f"  {line}")


@dataclass
class Heads:
    phrases: int = 0
    found: int = 0

    def __str__(self) -> str:
        return f"{self.found} of {self.phrases} = {self.found / max(self.phrases, 1):.4f}"


@app.command()
def entities(
    sentences: Annotated[Path, typer.Option(help="Folder `Sentences` of Flickr30k Entities.")],
    model: str = MODEL,
    limit: Annotated[int | None, typer.Option(help="Files, from the first by name.")] = None,
    misses: Annotated[int, typer.Option(help="Heads that are no object to list, most frequent first.")] = 0,
) -> None:
    """The share of gold noun phrases whose head the parser finds as an object."""
    paths = sorted(sentences.glob("*.txt"))[:limit]
    lines = [parse(line) for path in paths for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    counts, missed = {"all": Heads()}, Counter[str]()
    for (text, gold), graph in zip(lines, open_parser(model).pipe(text for text, _ in lines), strict=True):
        objects = {thing.span for thing in graph.things}
        for head, kind in _heads(text, [(span, kind) for _, kind, span in gold]):
            word = text[head[0] : head[1]].lower()
            noun = "pronoun, number or determiner" if word in _NO_NOUN.split() else "noun"
            kinds = [f"noun, {k}" for k in kind.split("/")] if noun == "noun" else []
            for name in ("all", noun, *kinds):
                count = counts.setdefault(name, Heads())
                count.phrases += 1
                count.found += head in objects
            if noun == "noun" and head not in objects:
                missed[word] += 1
    print(f"{len(paths)} images, {len(lines)} captions; gold phrases whose head is an object:")
    for name, count in counts.items():
        print(f"  {name}: {count}")
    for word, n in missed.most_common(misses):
        print(f"  {word} {n}")


def _heads(text: str, phrases: list[tuple[Span, str]]) -> Iterator[tuple[Span, str]]:
    for (start, end), kind in phrases:
        head = head_of(text[start:end])
        if head is not None:
            yield (start + head[0], start + head[1]), kind


def head_of(phrase: str) -> Span | None:
    """The head noun by position, without a parser: the last word before the first preposition or relative pronoun.

    Behind a quantity (`a lot of people`) it is that of what is counted.
    """
    found: Span | None = None
    for match in _WORD.finditer(phrase):
        quantity = found is not None and phrase[slice(*found)].lower() in words.A_QUANTITIES | words.QUANTITIES
        if found is not None and match[0].lower() in _OPENS.split() and not (quantity and match[0].lower() == "of"):
            return found
        if match[0].lower() != "of":
            found = match.span()
    return found


def _cpu_seconds() -> float:
    spent = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(s.ru_utime + s.ru_stime for s in spent)


def _against(found: Counter[tuple[str, ...]], known: set[tuple[str, ...]], sentences: int) -> None:
    for name, parts in (("attributes", 2), ("relations", 3), ("all", 0)):
        kind = {p: n for p, n in found.items() if len(p) == parts or not parts}
        ours, hits = sum(kind.values()), sum(n for p, n in kind.items() if p in known)
        print(f"{name}: {ours / sentences:.3f} a caption, {hits / sentences:.3f} in the official file", end="")
        print(f" ({sum(p in known for p in kind)} distinct), share {hits / max(ours, 1):.4f}")
    print(f"wanted of all: share >= {WANTED['share']}, in the file {WANTED['hits'][0]} to {WANTED['hits'][1]}")
    frequent = sorted((p for p in found if p in known), key=lambda p: (-found[p], p))[:5]
    print(f"most frequent ones: {', '.join(map(spelled, frequent))}")


if __name__ == "__main__":
    app()
