"""What images a model was trained on: a list in its directory, by which any image can be compared with them later."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vlp.data.leaks.identity import IDENTITY, read_parquet
from vlp.data.leaks.match import Match, matches
from vlp.errors import InputError
from vlp.files import atomic, read_json, sha256

FILE = "seen.parquet"
PRETRAINING = "pretraining"
SEEN = pa.schema([("phase", pa.string()), *(IDENTITY.field(name) for name in IDENTITY.names if name != "split")])
"""`phase`: `pretraining`, or the task of a fine-tuning. An image may be in several."""
_REMEDY = "Copy or make the model directory again."


def record(out: Path, phase: str, used: pa.Table, init: Path | None) -> dict[str, Any] | None:
    """Write `out/seen.parquet`: what `init` had seen, and the images `used` in this phase.

    Args:
        used: rows of `identity.IDENTITY`.
        init: the model directory training started from; None: fresh weights (those of a text model saw no image).

    Returns:
        What `inputs.json` says of it; None where `init` does not say what it has seen: then nothing is known of
        the new model either.
    """
    (out / FILE).unlink(missing_ok=True)
    before = SEEN.empty_table() if init is None else read(init)
    if before is None:
        return None
    phases = pa.array([phase] * used.num_rows, pa.string())
    own = used.select([n for n in SEEN.names if n != "phase"]).add_column(0, SEEN.field("phase"), phases)
    both = pa.concat_tables([before, own]).sort_by([("phase", "ascending"), ("image_id", "ascending")])
    # Both stages of pre-training read the same images: one row each.
    keys = list(zip(both["phase"].to_pylist(), both["image_id"].to_pylist(), strict=True))
    first = [i for i, key in enumerate(keys) if i == 0 or key != keys[i - 1]]
    with atomic(out / FILE) as temporary:
        pq.write_table(both.take(pa.array(first, pa.int64())), temporary, compression="zstd")
    return {"images": len({keys[i][1] for i in first}), "sha256": sha256(out / FILE)}


def read(model_dir: Path) -> pa.Table | None:
    """The images a model has seen, in the form of SEEN; None: its directory does not say.

    Raises:
        InputError: the list is missing though `inputs.json` names it, or is not the one it names.
    """
    said = read_json(model_dir / "inputs.json").get("seen")
    if said is None:
        return None
    path = model_dir / FILE
    table = read_parquet(path, SEEN, _REMEDY)
    if sha256(path) != said["sha256"]:
        raise InputError(path, "is not the list that inputs.json names (its digest differs).", _REMEDY)
    return table


def seen(model_dir: Path, images: pa.Table, phases: Collection[str] | None = None) -> list[Match] | None:
    """Which of `images` the model of a directory was trained on.

    Args:
        images: rows of `identity.IDENTITY` (`identity.of_images` of `leaks/identity.parquet`), each image once.
        phases: only training of these kinds, for example `{"pretraining"}`; None: any.

    Returns:
        One match for each pair of a seen image (`used`) and one of `images` (`evaluated`) that is the same photograph;
        None: the directory does not say what the model has seen.
    """
    had = of_phases(model_dir, phases)
    return None if had is None else matches(had, images)


def of_phases(model_dir: Path, phases: Collection[str] | None = None) -> pa.Table | None:
    """As `read`, each image once; `phases` as in `seen`."""
    table = read(model_dir)
    if table is None:
        return None
    if phases is not None:
        table = table.filter(pc.is_in(table["phase"], pa.array(sorted(phases), pa.string())))  # pyright: ignore
    ids = table["image_id"].to_pylist()
    first = {image_id: row for row, image_id in reversed(list(enumerate(ids)))}
    return table.take(pa.array(sorted(first.values()), pa.int64()))
