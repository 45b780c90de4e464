"""Extraction of regions: images per second against one image at a time, in the same run.

    python -m benchmarks.regions [--images 200] [--detector NAME --weights FILE] [--workers 4] [--batch-size 16] \
        [--device cuda]

Without a detector it is torchvision's smallest Faster R-CNN with random weights: its speed is that of trained ones.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

DETECTOR = "fasterrcnn_mobilenet_v3_large_320_fpn"
SHAPES = ((500, 375), (375, 500), (640, 480), (480, 640), (500, 333), (640, 427))
"""Pixels of photographs of Flickr30k and COCO."""


def extraction(
    images: int = 96,
    detector: str = DETECTOR,
    weights: Path | None = None,
    batch_size: int = 16,
    workers: int | None = None,
    threads: int | None = None,
    device: str = "cpu",
) -> dict[str, Any]:
    """Extract the same JPEG files one at a time (batch 1, no workers), then in batches with workers.

    Args:
        workers: None: one for each CPU core but one.

    Returns:
        images per second of both (the detector's first images, which warm it up, are not counted), and their ratio.
    """
    import torch

    from vlp.regions.detectors.registry import build
    from vlp.regions.extract import extract, store_facts
    from vlp.regions.images import Skipped, in_folder, measured

    workers = max(1, (os.cpu_count() or 2) - 1) if workers is None else workers
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        model = build(detector, weights or _random_weights(detector, root), device)
        records = measured(in_folder(_photographs(root / "images", images), "photographs"), Skipped("stop"))
        threads, facts = threads or torch.get_num_threads(), store_facts(model)

        def rate(name: str, of: int, batch: int, processes: int) -> float:
            out, skipped = root / f"{name}.h5", Skipped("stop")
            done = extract(model, records[:of], out, skipped, facts, threads, batch, processes)
            return done.images_per_second

        rate("warm", min(4, images), 1, 0)
        one = rate("one", images, 1, 0)
        many = rate("many", images, batch_size, workers)
    return {
        "detector": model.name,
        "device": device if device == "cpu" else torch.cuda.get_device_name(device),
        "images": images,
        "threads": threads,
        "batch_size": batch_size,
        "workers": workers,
        "one_at_a_time_images_per_second": round(one, 2),
        "images_per_second": round(many, 2),
        "times_as_fast": round(many / one, 2),
    }


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=96)
    parser.add_argument("--detector", default=DETECTOR)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--device", default="cpu")
    for key, value in extraction(**vars(parser.parse_args())).items():
        print(f"{key:34}{value}")


if __name__ == "__main__":
    main()
