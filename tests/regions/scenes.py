"""A tiny world for the tests: coloured squares and discs on grey, with their boxes, as images and tables."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from vlp.data.tables import write_table

SIDE = 96
COLOURS = {"red": (220, 30, 30), "blue": (30, 60, 220)}


@dataclass
class World:
    """Images on disk and the rows of the two tables that regions need."""

    folder: Path
    images: list[dict[str, Any]] = field(default_factory=list)
    objects: list[dict[str, Any]] = field(default_factory=list)

    @property
    def tables(self) -> Path:
        return self.folder / "tables"

    def write(self) -> None:
        write_table(self.tables, "images", self.images)
        write_table(self.tables, "objects", self.objects)
        for name in ("captions", "questions", "entailment", "phrase_boxes", "labels", "referring"):
            write_table(self.tables, name, [])


def make(folder: Path, train: int, val: int = 2, test: int = 2, seed: int = 0) -> World:
    """One or two objects an image, never overlapping: one in the left half, one in the right half."""
    world, rng = World(folder), np.random.default_rng(seed)
    (folder / "raw").mkdir(parents=True)
    for i, split in enumerate(["train"] * train + ["val"] * val + ["test"] * test):
        image_id, name = f"toy/{i:04d}", f"{i:04d}.png"
        picture = Image.new("RGB", (SIDE, SIDE), (128, 128, 128))
        pen = ImageDraw.Draw(picture)
        for half in range(int(rng.integers(1, 3))):
            side = int(rng.integers(20, 40))
            x, y = half * SIDE // 2 + int(rng.integers(0, SIDE // 2 - side + 1)), int(rng.integers(0, SIDE - side))
            colour = COLOURS[str(rng.choice(list(COLOURS)))]
            kind = str(rng.choice(["square", "disc"]))
            corners = [x, y, x + side - 1, y + side - 1]
            (pen.rectangle if kind == "square" else pen.ellipse)(corners, fill=colour)
            world.objects.append(
                {
                    "object_id": f"{image_id}@{half}",
                    "image_id": image_id,
                    "class_name": kind,
                    "box": [float(v) for v in (x, y, x + side, y + side)],
                    "split": split,
                }
            )
        picture.save(folder / "raw" / name)
        world.images.append({"image_id": image_id, "path": name, "width": SIDE, "height": SIDE, "split": split})
    world.write()
    return world
