"""Train the detector on the train images' object boxes, and on nothing else."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vlp.config.regions import Detector as DetectorConfig
from vlp.errors import InputError
from vlp.images.decode import ImageError, ImageRecord, Skipped, read_image, scale_to, to_float
from vlp.progress import Meter
from vlp.regions.detector import Detector

CACHE_BYTES = 1 << 30
SCALE_IMAGES = 256
"""Train images whose regions give the features' mean and deviation."""
CLASS_WEIGHT = 3.0
"""Weight of the class loss: boxes are learnt in a few hundred steps, names are not."""
_MAX_NORM = 5.0

Log = Callable[[int, Mapping[str, float]], None]


@dataclass(frozen=True)
class Example:
    """A train image with its objects; boxes [T,4] xyxy in the table's pixels, classes [T] from 1 (0 is background)."""

    record: ImageRecord
    boxes: Tensor
    classes: Tensor


class Examples:
    """Examples as tensors; pixels stay in memory up to `CACHE_BYTES`."""

    def __init__(self, examples: Sequence[Example], skipped: Skipped) -> None:
        """Reads nothing yet. Bad images go to `skipped` and drop out when they are first met."""
        self._examples, self._skipped = examples, skipped
        self._cache: dict[int, Tensor] = {}
        self._room = CACHE_BYTES
        self._bad: set[int] = set()

    @property
    def first(self) -> ImageRecord:
        return self._examples[0].record

    def get(self, at: int, flip: bool) -> tuple[Tensor, dict[str, Tensor]] | None:
        """Image [3,H,W] in [0,1] and torchvision's target, mirrored left to right or not; None: the image is bad."""
        pixels, example = self._pixels(at), self._examples[at]
        if pixels is None:
            return None
        boxes = example.boxes / scale_to(example.record, pixels)
        image = to_float(pixels)
        if flip:
            image = image.flip(-1)
            width = pixels.shape[-1]
            boxes = torch.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], dim=1)
        return image, {"boxes": boxes, "labels": example.classes}

    def _pixels(self, at: int) -> Tensor | None:
        if at in self._bad:
            return None
        if (pixels := self._cache.get(at)) is not None:
            return pixels
        record = self._examples[at].record
        try:
            pixels = read_image(record)
        except ImageError as bad:
            self._skipped.add(record, record.path, str(bad))
            self._bad.add(at)
            return None
        if self._room >= pixels.numel():
            self._room -= pixels.numel()
            self._cache[at] = pixels
        return pixels


def examples(
    images: Iterable[ImageRecord], objects: Iterable[Mapping[str, Any]], limit: int | None, where: str
) -> tuple[list[Example], list[str]]:
    """Train images that have objects (the first `limit`), and the sorted class names of these objects.

    Args:
        images: records of any split; only those of `train` are looked at.
        objects: rows of the `objects` table; those of other images are passed over.
        where: the tables' folder, for the message.

    Raises:
        InputError: no train image has an object, or a box has no area.
    """
    train = [record for record in images if record.split == "train"]
    rows: dict[str, list[Mapping[str, Any]]] = {record.image_id: [] for record in train}
    for row in objects:
        if row["image_id"] in rows:
            rows[row["image_id"]].append(row)
    train = [record for record in train if rows[record.image_id]][:limit]
    if not train:
        raise InputError(where, "no train image has an object box.", "Check data.objects and data.split in the config.")
    names = sorted({row["class_name"] for record in train for row in rows[record.image_id]})
    number = {name: i + 1 for i, name in enumerate(names)}
    made = []
    for record in train:
        boxes = torch.tensor([row["box"] for row in rows[record.image_id]], dtype=torch.float32).reshape(-1, 4)
        flat = ((boxes[:, 2:] - boxes[:, :2]) <= 0).any(dim=1).nonzero().flatten().tolist()
        if flat:
            bad = rows[record.image_id][flat[0]]
            raise InputError(where, f"the box {bad['box']} has no area.", "Mend the objects file.", bad["object_id"])
        classes = torch.tensor([number[row["class_name"]] for row in rows[record.image_id]])
        made.append(Example(record, boxes, classes))
    return made, names


def train(
    config: DetectorConfig,
    data: Examples,
    count: int,
    class_names: Sequence[str],
    seed: int,
    threads: int,
    log: Log | None = None,
) -> tuple[Detector, dict[str, Any]]:
    """A trained detector in evaluation mode, and facts of the training: the same on the same machine and threads.

    Args:
        count: how many examples `data` holds.
        threads: CPU threads; the results depend on their number.
        log: called with (step, losses) now and then.

    Raises:
        InputError: every image is bad, or there are fewer than a batch holds; the loss is not finite.
    """
    if config.batch_size > count:
        problem = f"batch_size is {config.batch_size}, and there are {count} train images with objects."
        raise InputError("regions.detector", problem, f"Lower it to {count} or less, or add images.")
    with deterministic(seed, threads):
        detector = Detector(config, class_names).to(memory_format=torch.channels_last).train()
        steps = max(1, round(config.epochs * count / config.batch_size))
        optimiser = torch.optim.AdamW(detector.parameters(), lr=config.learning_rate, weight_decay=0.01)
        rates = schedule(optimiser, config.learning_rate, steps)
        order = _order(count, seed)
        seen, total = 0, math.nan
        with Meter("train the detector", steps, "steps") as meter:
            for step in range(steps):
                batch = [data.get(at, flip) for at, flip in (next(order) for _ in range(config.batch_size))]
                used = [pair for pair in batch if pair is not None]
                if used:
                    losses = detector.rcnn([image for image, _ in used], [target for _, target in used])
                    loss = sum(losses.values()) + (CLASS_WEIGHT - 1) * losses["loss_classifier"]
                    if not math.isfinite(loss.item()):
                        problem = f"step {step}: the loss is {loss.item()}; the detector is not trained."
                        raise InputError("regions.detector", problem, "Lower learning_rate, or look at the boxes.")
                    optimiser.zero_grad()
                    loss.backward()
                    torch.nn.utils.clip_grad_norm_(detector.parameters(), _MAX_NORM)
                    optimiser.step()
                    seen, total = seen + len(used), loss.item()
                    if log is not None and (step % 20 == 0 or step == steps - 1):
                        log(step, {"loss": total, **{k: v.item() for k, v in losses.items()}})
                    rates.step()
                meter.advance(1, f"loss {total:.3f}")
        if not seen:
            file = data.first.path
            raise InputError(file, "this and all other train images cannot be read.", "Check data.root in the config.")
        detector.eval()
        fit_scale(detector, data, min(count, SCALE_IMAGES))
    facts = {"images": count, "steps": steps, "images_seen": seen, "last_loss": total, "seed": seed, "threads": threads}
    return detector, facts


def schedule(optimiser: torch.optim.Optimizer, rate: float, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    """Up in a fifth of the steps, then down; of fewer than five steps that fifth is none, and they go down only."""
    total = steps + 1
    if steps < 5:  # with four OneCycleLR divides by zero, with fewer it begins beyond its peak
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=total)
    return torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=rate, total_steps=total, pct_start=0.2, cycle_momentum=False
    )


def fit_scale(detector: Detector, data: Examples, count: int) -> None:
    """Set the features' mean and deviation to those of the regions that the detector finds in the first images."""
    rows = []
    detector.feature_mean.zero_()
    detector.feature_std.fill_(1)
    for at in range(count):
        pair = data.get(at, flip=False)
        if pair is not None:
            rows.append(detector.raw_features([pair[0]]))
    rows_ND = torch.cat(rows)
    if len(rows_ND) > 1:
        detector.feature_mean.copy_(rows_ND.mean(0))
        # a channel that is always 0 stays 0
        detector.feature_std.copy_(rows_ND.std(0).clamp(min=1e-3))


@contextlib.contextmanager
def deterministic(seed: int, threads: int) -> Iterator[None]:
    """Seed torch, fix the threads, allow only deterministic kernels; what was set before comes back."""
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), torch.get_rng_state()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])
        torch.set_rng_state(before[2])


def _order(count: int, seed: int) -> Iterator[tuple[int, bool]]:
    """Shuffled passes without end, each example mirrored or not."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        flips = torch.rand(count, generator=generator) < 0.5
        for at in torch.randperm(count, generator=generator).tolist():
            yield at, bool(flips[at])
