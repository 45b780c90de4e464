"""Referring expressions, RefCOCO, RefCOCO+ and RefCOCOg: the released code's extra task (reference 5.4)."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from vlp.tasks.grounding import Grounding


class Referring(Grounding):
    """A whole text grounded. As in the release the IoU 0.5 itself is right."""

    name, texts = "referring", "referring"
    keys = ("ref_id", "partition")
    strict = False

    @cached_property
    def _phrases(self) -> dict[str, list[dict[str, Any]]]:
        """The one record of each text."""
        from vlp.data.tables import read_table

        records = read_table(self.inputs.paths.tables, "referring").to_pylist()
        return {r["ref_id"]: [{**r, "boxes": [r["box"]], "start": 0, "end": len(r["text"])}] for r in records}
