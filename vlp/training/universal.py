"""Another number of ranks: DeepSpeed's universal checkpoints, whose states belong to parameters, not to ranks."""

from __future__ import annotations

import argparse
import contextlib
import io
import shutil
from pathlib import Path

from vlp.errors import VlpError

FOLDER = ".universal"


def convert(checkpoint: Path, tag: str) -> Path:
    """Write the universal form of `checkpoint`/`tag` beside it; returns the folder to load `tag` from. One rank.

    Raises:
        VlpError: DeepSpeed can not convert it.
    """
    from deepspeed.checkpoint import ds_to_universal

    folder = checkpoint.parent / FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    arguments = argparse.Namespace(
        input_folder=str(checkpoint / tag),
        output_folder=str(folder / tag),
        # One worker works in this process: children would inherit a process group that is in use.
        num_extract_workers=1,
        num_merge_workers=1,
        keep_temp_folder=False,
        strict=True,
        inject_missing_state=True,
    )
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            ds_to_universal.main(arguments)
    except Exception as error:
        raise VlpError(
            f"{checkpoint}: it can not be converted for another number of ranks or ZeRO stage ({error!r}). "
            "Go on with the number of ranks it was saved by."
        ) from error
    return folder
