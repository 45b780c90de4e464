"""Errors that a user can act on: each names the file, the row and the remedy."""

from __future__ import annotations

from pathlib import Path


class VlpError(Exception):
    """A failure whose message is meant for the user; the command line prints it without a traceback."""


class InputError(VlpError):
    """Bad input: where it is, what is wrong, what to do about it."""

    def __init__(self, file: str | Path, problem: str, remedy: str, row: int | str | None = None) -> None:
        self.file, self.row, self.problem, self.remedy = str(file), row, problem, remedy
        where = f"{file}" if row is None else f"{file}, row {row}"
        super().__init__(f"{where}: {problem} {remedy}")


class ConfigError(VlpError):
    """A wrong key or value in an experiment file; the message holds the key's path."""
