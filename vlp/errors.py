"""Errors that a user can act on: each names the file, the row and the remedy."""

from __future__ import annotations

from pathlib import Path


def printable(text: str) -> str:
    """For a terminal: control characters, which could rewrite what stands there, as escapes; line ends stay."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


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


class Preempted(VlpError):  # noqa: N818  (nothing went wrong)
    """A signal stopped a training; its checkpoint is saved, and the same command goes on from it.

    Every rank raises it. `signal` is the number of the signal, of whichever rank got it.
    """

    exit_code = 75
    """EX_TEMPFAIL: try again."""

    def __init__(self, where: str | Path, step: int, signal: int) -> None:
        self.step, self.signal = step, signal
        super().__init__(f"{where}: stopped by signal {signal} after step {step}, which is saved. Run again to go on.")
