"""Pickle files of plain values: lists, dicts, texts, numbers. A pickle may call any function; here none is called."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

from vlp.errors import InputError


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, and plain values need nothing")

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it refers to objects outside the file")


def read_pickle(path: Path) -> Any:
    """The value in a pickle of plain values, also one that Python 2 wrote; nothing in it is run.

    Raises:
        InputError: the file is missing, cut short or damaged, or asks for a class or function.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(path, "the file is missing.", "Check the path in the config.") from error
    try:
        return _PlainUnpickler(io.BytesIO(data), encoding="utf-8").load()
    except Exception as error:  # a damaged pickle raises nearly anything
        remedy = "Fetch it again, or save it as JSON where you trust it."
        raise InputError(path, f"not a pickle of plain values ({error}).", remedy) from error
