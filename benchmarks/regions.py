"""The region store and the extraction, each beside the plain way to do the same, in one run.

    python benchmarks/regions.py [--cold DIR] [--images 400] [--extract 96] [--detector NAME --weights FILE]

Reads: images a second on one core, beside a NumPy memory map, h5py and a base64 TSV. Each reader is given the same
image ids in the same random order and returns the same tensor: features of the best 50 regions, [B,50,D] float16, zeros
where an image has fewer. Ours returns boxes, geometry, classes, scores and attributes with them. Readers take turns,
batch by batch, so that none has the machine's better minutes; the medians over rounds are compared. Checksums are
compared when a store is opened for training and by `vlp regions verify`, not at a read.

Hot: the files are in the page cache. `--cold DIR` writes them into DIR too, on the disk to be measured, and drops them
from the page cache before each reader's round (posix_fadvise; on some file systems that has no effect, which the share
of resident pages, printed, tells).

Extraction: images a second in batches, decoded in worker processes, beside one image at a time; the two take turns.
A GPU is what batches and workers are for. On a CPU they have nothing to gain: the arithmetic is the same, the workers
share its cores, and of images of several sizes the smaller are padded.
Without a detector it is torchvision's smallest Faster R-CNN with random weights: its speed is that of trained ones.

Ends with 1 where a hot read misses its target.
"""

from __future__ import annotations

import argparse
import base64
import ctypes
import json
import mmap
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vlp.regions.store import LIMIT, RegionStore, RegionWriter

Features = NDArray[np.float16]
Reader = Callable[[Sequence[str]], Features]
TARGETS = {"memmap": 0.6, "tsv": 20.0}
"""Ours is at least so many times as fast, hot."""
DETECTOR = "fasterrcnn_mobilenet_v3_large_320_fpn"
SHAPES = ((500, 375), (375, 500), (640, 480), (480, 640), (500, 333), (640, 427))
"""Pixels of photographs of Flickr30k and COCO."""


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


def extraction(
    folder: Path, images: int, rounds: int, detector: str, weights: Path | None, batch: int, workers: int, device: str
) -> dict[str, list[float]]:
    """Images a second of extracting the same JPEG files, in each round: one at a time (batch 1, no workers), and in
    batches with workers. The detector's first images, which warm it up, are not counted.
    """
    import torch

    from vlp.images.decode import Skipped
    from vlp.images.folder import in_folder, measured
    from vlp.regions.detectors.registry import build
    from vlp.regions.extract import extract, store_facts

    model = build(detector, weights or _random_weights(detector, folder), device)
    records = measured(in_folder(_photographs(folder / "images", images), "photographs"), Skipped("stop"))
    facts, threads = store_facts(model), torch.get_num_threads()

    def rate(of: int, size: int, processes: int) -> float:
        out = folder / "extracted.h5"
        return extract(model, records[:of], out, Skipped("stop"), facts, threads, size, processes).images_per_second

    ways = {"one at a time": (1, 0), "batches": (batch, workers)}
    for size, processes in ways.values():
        rate(min(2 * batch, images), size, processes)
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        for name in list(ways)[:: 1 if number % 2 else -1]:
            found[name].append(rate(images, *ways[name]))
    return found


def _random_weights(detector: str, folder: Path) -> Path:
    import torch
    from torchvision import models

    torch.manual_seed(0)
    path = folder / "random.pth"
    torch.save(models.get_model(detector, weights=None, weights_backbone=None).state_dict(), path)
    return path


def _photographs(folder: Path, count: int) -> Path:
    """JPEG files of photographs' sizes, with edges and texture for the decoder to work on."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(count):
        width, height = SHAPES[i % len(SHAPES)]
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize((width, height))
        noise = rng.integers(-20, 21, (height, width, 3))
        pixels = np.clip(np.asarray(coarse, np.int16) + noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:05d}.jpg", quality=90)
    return folder


def show(title: str, measured: dict[str, list[float]], ours: str) -> dict[str, float]:
    """Print the median, the spread and the ratio of each way -> ratios of `ours` to the others."""
    print(title)
    medians = {name: statistics.median(values) for name, values in measured.items()}
    ratios = {name: medians[ours] / median for name, median in medians.items()}
    for name, values in measured.items():
        spread = f"({min(values):,.1f} to {max(values):,.1f})"
        print(f"  {name:14}{medians[name]:12,.1f} images/s {spread:28} {ours} / {name} = {ratios[name]:.2f}")
    return ratios


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    reads = parser.add_argument_group("reads")
    reads.add_argument("--images", type=int, default=400)
    reads.add_argument("--feature-size", type=int, default=2048)
    reads.add_argument("--batch", type=int, default=64)
    reads.add_argument("--cold", type=Path, metavar="DIR", help="measure the disk of this folder too")
    found = parser.add_argument_group("extraction")
    found.add_argument("--extract", type=int, default=96, metavar="IMAGES", help="0: reads only")
    found.add_argument("--detector", default=DETECTOR)
    found.add_argument("--weights", type=Path)
    found.add_argument("--batch-size", type=int, default=16)
    found.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 1), help="one a core but one")
    found.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cuda if there is one")
    a = parser.parse_args()
    what = f"{a.images} images, [{a.batch},{LIMIT},{a.feature_size}] float16, {a.rounds} rounds"
    with tempfile.TemporaryDirectory() as name:
        ids = write(Path(name), a.images, a.feature_size)
        ratios = show(f"reads, hot, one core, CPU time: {what}", rates(Path(name), ids, a.rounds, a.batch), "ours")
    missed = [name for name, wanted in TARGETS.items() if ratios[name] < wanted]
    for name, wanted in TARGETS.items():
        print(f"  {'MISSED' if name in missed else 'ok'}: {ratios[name]:.2f} x {name}, wanted at least {wanted}")
    if a.cold is not None:
        with tempfile.TemporaryDirectory(dir=a.cold) as name:
            ids = write(Path(name), a.images, a.feature_size)
            cold = cold_rates(Path(name), ids, a.rounds, a.batch)
            show(f"reads, cold, {a.cold}, wall clock: {what}", cold, "ours")
    if a.extract:
        device = a.device if a.device == "cpu" else torch.cuda.get_device_name(a.device)
        with tempfile.TemporaryDirectory() as name:
            chosen = (a.detector, a.weights, a.batch_size, a.workers, a.device)
            measured = extraction(Path(name), a.extract, a.rounds, *chosen)
        cut = f"batches of {a.batch_size}, {a.workers} workers, {torch.get_num_threads()} threads"
        show(f"extraction, {a.detector} on {device}, {a.extract} images, {cut}", measured, "batches")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
