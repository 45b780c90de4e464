"""Measure the parser against an official phrase file: share of our phrases in it, hits per caption, frequent phrases.

    python benchmarks/phrases.py --captions captions_val2014.json --official id2phrase.json --scratch SHARDS

Captions are COCO annotation files (JSON) or plain text, one caption a line; further files widen only the frequency
lists. The official file is read to measure, never by the parser.
"""

from __future__ import annotations

import json
import resource
import time
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from vlp.phrases import shards
from vlp.phrases.texts import caption_lines
from vlp.phrases.vocabulary import read_id2phrase

WANTED = {"share": 0.55, "hits": (1.866, 2.066), 1_000: 0.94, 10_000: 0.70}
"""Table 5: 1.966 phrases a caption; the other floors are ours."""


def main(
    captions: Annotated[list[Path], typer.Option(help="Caption file; may be given again.")],
    official: Annotated[Path, typer.Option(help="The authors' id2phrase file.")],
    scratch: Annotated[Path, typer.Option(help="Folder for the shards; a killed run goes on.")],
    model: str = "en_core_web_sm",
    processes: int = 2,
    limit: Annotated[int | None, typer.Option(help="Captions of each file, from the start.")] = None,
    misses: Annotated[int, typer.Option(help="Frequent phrases outside the official file to list.")] = 0,
) -> None:
    """The first file gives hits and share, all files together the lists of frequent phrases."""
    known = {r.parts for r in read_id2phrase(official).records if len(r.parts) > 1}
    total: Counter[tuple[str, ...]] = Counter()
    for number, path in enumerate(captions):
        folder, began = scratch / path.stem, time.monotonic()
        *_, counts = shards.mine_shards(caption_lines(path, limit), folder, model, processes)
        rate = counts.sentences / (time.monotonic() - began)
        print(f"{path.name}: {counts.sentences} captions, {rate:.0f} captions/s, {counts.kept} shards kept", flush=True)
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


def _against(found: Counter[tuple[str, ...]], known: set[tuple[str, ...]], sentences: int) -> None:
    for name, parts in (("attributes", 2), ("relations", 3), ("all", 0)):
        ours = sum(n for p, n in found.items() if len(p) == parts or not parts)
        hits = sum(n for p, n in found.items() if (len(p) == parts or not parts) and p in known)
        share = hits / max(ours, 1)
        print(
            f"{name}: {ours / sentences:.3f} a caption, {hits / sentences:.3f} in the official file, share {share:.4f}"
        )
    print(f"wanted of all: share >= {WANTED['share']}, in the file {WANTED['hits'][0]} to {WANTED['hits'][1]}")


if __name__ == "__main__":
    typer.run(main)
