"""Models of the Hugging Face hub that are on this disk; nothing is fetched."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError

from vlp.errors import InputError

UNREADABLE = (OSError, ValueError, KeyError, RuntimeError, ImportError, TypeError, SafetensorError)
"""What transformers raises of a directory that is not whole, or of another kind."""


def on_disk(name: Path | str, what: str = "model") -> Path:
    """The directory `name`, or that of a name which the hub's cache on this disk holds.

    Raises:
        InputError: neither is there.
    """
    if Path(name).is_dir():
        return Path(name)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(str(name), local_files_only=True))
    except (OSError, ValueError) as error:  # huggingface_hub's own errors are kinds of these
        remedy = f"Download it first (hf download {name} --local-dir DIR) and name the directory."
        raise InputError(name, f"no such {what}, directory or downloaded model.", remedy) from error


def first_line(error: Exception) -> str:
    """What a library says is wrong, without the pages of advice that follow."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
