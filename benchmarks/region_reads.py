"""Region store reads on one core, beside a plain NumPy memory map, h5py and a base64 TSV, in one run.

Each reader is given the same image ids in the same random order and returns the same tensor: features of the best 50
regions, [B,50,D] float16, zeros where an image has fewer. Ours returns boxes, geometry, classes, scores and attributes
with them. Readers take turns, batch by batch, so that none has the machine's better minutes; the medians over rounds
are compared.

    python benchmarks/region_reads.py [--images 400] [--feature-size 2048] [--cold DIR]

Hot: the files are in the page cache. `--cold DIR` writes them into DIR, on the disk to be measured, and drops them
from the page cache before each reader's round (posix_fadvise; on some file systems that has no effect, which the share
of resident pages, printed, tells).
"""

from __future__ import annotations

import argparse
import base64
import ctypes
import json
import mmap
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from vlp.regions.store import LIMIT, RegionStore, RegionWriter

Features = NDArray[np.float16]
Reader = Callable[[Sequence[str]], Features]
TARGETS = {"memmap": 0.6, "tsv": 20.0}


def write(folder: Path, images: int, size: int) -> list[str]:
    """The same rows as a store, a bare .npy with offsets, and a TSV with the byte offset of each line."""
    rng = np.random.default_rng(0)
    ids = [f"bench/{i:07d}" for i in range(images)]
    rows, offsets = [], [0]
    with (
        RegionWriter(folder / "regions.h5", size, ["thing"], {"detector": "random numbers"}) as store,
        (folder / "features.tsv").open("wb") as tsv,
    ):
        lines = []
        for image_id in ids:
            count = int(rng.integers(10, 101))
            features = rng.standard_normal((count, size), np.float32).astype(np.float16)
            boxes = np.sort(rng.uniform(0, 400, (count, 2, 2)), axis=1).reshape(count, 4)
            scores = -np.sort(-rng.uniform(size=count))
            store.add(image_id, (400, 400), features, boxes, np.zeros(count), scores)
            numbers = np.concatenate([features.astype(np.float32), np.zeros((count, 6), np.float32)], 1)
            lines.append(tsv.tell())
            tsv.write(f"{image_id}\t{count}\t".encode() + base64.b64encode(numbers.tobytes()) + b"\n")
            rows.append(features)
            offsets.append(offsets[-1] + count)
    np.save(folder / "features.npy", np.concatenate(rows))
    (folder / "index.json").write_text(json.dumps({"ids": ids, "offsets": offsets, "lines": lines}))
    return ids


def readers(folder: Path) -> dict[str, Reader]:
    index = json.loads((folder / "index.json").read_text())
    at = {image_id: i for i, image_id in enumerate(index["ids"])}
    offsets, lines = index["offsets"], index["lines"]
    mapped = np.load(folder / "features.npy", mmap_mode="r")
    store = RegionStore(folder / "regions.h5")
    handle = h5py.File(folder / "regions.h5", "r", locking=False)
    dataset = handle["features"]
    assert isinstance(dataset, h5py.Dataset)
    tsv = (folder / "features.tsv").open("rb")
    size = mapped.shape[1]

    def sliced(source: NDArray[np.float16] | h5py.Dataset) -> Reader:
        def read(ids: Sequence[str]) -> Features:
            out = np.zeros((len(ids), LIMIT, size), np.float16)
            for b, image_id in enumerate(ids):
                i = at[image_id]
                start, stop = offsets[i], min(offsets[i + 1], offsets[i] + LIMIT)
                out[b, : stop - start] = source[start:stop]
            return out

        return read

    def from_tsv(ids: Sequence[str]) -> Features:
        out = np.zeros((len(ids), LIMIT, size), np.float16)
        for b, image_id in enumerate(ids):
            tsv.seek(lines[at[image_id]])
            cells = tsv.readline().split(b"\t")
            rows = np.frombuffer(base64.b64decode(cells[2]), np.float32).reshape(int(cells[1]), -1)[:LIMIT]
            out[b, : len(rows)] = rows[:, :size]
        return out

    def ours(ids: Sequence[str]) -> Features:
        return store.padded(ids, LIMIT).features

    return {"ours": ours, "memmap": sliced(mapped), "h5py": sliced(dataset), "tsv": from_tsv}


def resident(path: Path) -> float:
    """Share of the file's pages that are in the page cache."""
    libc = ctypes.CDLL(None, use_errno=True)
    length = path.stat().st_size
    with path.open("r+b") as file, mmap.mmap(file.fileno(), length) as view:
        pages = -(-length // mmap.PAGESIZE)
        found = (ctypes.c_ubyte * pages)()
        start = ctypes.addressof(ctypes.c_char.from_buffer(view))
        failed = libc.mincore(ctypes.c_void_p(start), ctypes.c_size_t(length), found)
    return float("nan") if failed else sum(v & 1 for v in found) / pages


def drop(path: Path) -> None:
    """Ask the kernel to forget the file's pages."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def rates(folder: Path, ids: list[str], rounds: int, batch: int) -> dict[str, list[float]]:
    """Images a second of each reader in each round, hot."""
    found = readers(folder)
    first = {name: read(ids[:batch]) for name, read in found.items()}
    for name, tensor in first.items():
        if not np.array_equal(tensor, first["memmap"]):
            raise SystemExit(f"{name} returns another tensor than memmap")
    for read in found.values():  # every page is in the cache, every map has its page table
        for start in range(0, len(ids), batch):
            read(ids[start : start + batch])
    measured: dict[str, list[float]] = {name: [] for name in found}
    rng = np.random.default_rng(1)
    for _ in range(rounds):
        order = [ids[i] for i in rng.permutation(len(ids))]
        seconds = dict.fromkeys(found, 0.0)
        for number, start in enumerate(range(0, len(order), batch)):
            names = list(found)
            for name in names[number % len(names) :] + names[: number % len(names)]:
                began = time.process_time()
                found[name](order[start : start + batch])
                seconds[name] += time.process_time() - began
        for name, spent in seconds.items():
            measured[name].append(len(order) / spent)
    return measured


def cold_rates(folder: Path, ids: list[str], rounds: int, batch: int) -> dict[str, list[float]]:
    """Images a second of each reader, wall clock, its file dropped from the page cache before each round."""
    files = {"ours": "regions.h5", "memmap": "features.npy", "h5py": "regions.h5", "tsv": "features.tsv"}
    measured: dict[str, list[float]] = {name: [] for name in files}
    rng = np.random.default_rng(1)
    for _ in range(rounds):
        order = [ids[i] for i in rng.permutation(len(ids))]
        for name, file in files.items():
            drop(folder / file)
            left = resident(folder / file)
            read = readers(folder)[name]
            began = time.perf_counter()
            for start in range(0, len(order), batch):
                read(order[start : start + batch])
            measured[name].append(len(order) / (time.perf_counter() - began))
            print(f"  {name}: {100 * left:.0f} % of the file was still in the page cache")
    return measured


def main() -> None:
    parser = argparse.ArgumentParser(description="Region store reads beside memmap, h5py and TSV.")
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--feature-size", type=int, default=2048)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cold", type=Path, metavar="DIR", help="measure the disk of this folder instead")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.cold) as name:
        folder = Path(name)
        ids = write(folder, chosen.images, chosen.feature_size)
        run = rates if chosen.cold is None else cold_rates
        measured = run(folder, ids, chosen.rounds, chosen.batch)
    state = "hot, one core, CPU time" if chosen.cold is None else f"cold, {chosen.cold}, wall clock"
    shape = f"[{chosen.batch},{LIMIT},{chosen.feature_size}] float16"
    print(f"{chosen.images} images, {shape}, {state}, {chosen.rounds} rounds")
    medians = {name: statistics.median(values) for name, values in measured.items()}
    for name, values in measured.items():
        spread = f"{min(values):,.0f} to {max(values):,.0f}"
        ratio = medians["ours"] / medians[name]
        print(f"{name:8}{medians[name]:12,.0f} images/s ({spread}), ours / {name} = {ratio:.2f}")
    if chosen.cold is None:
        for name, wanted in TARGETS.items():
            ratio = medians["ours"] / medians[name]
            print(f"{'ok' if ratio >= wanted else 'MISSED'}: {ratio:.2f} x {name}, wanted at least {wanted}")


if __name__ == "__main__":
    main()
