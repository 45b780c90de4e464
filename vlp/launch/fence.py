"""Who may write into a run directory: only the job that was sent last, and only its latest start.

A cancelled job lives on until SLURM kills it, and tasks of a node that the controller has lost may live on for hours,
while their successor is at work in the same directory.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vlp.errors import VlpError
from vlp.files import read_json, write_json

OWNER = "owner.json"


class Fenced(VlpError):  # noqa: N818  (as `Preempted`)
    """This process is no longer the one that may write."""


@dataclass(frozen=True)
class Fence:
    folder: Path
    """The run directory."""
    token: str
    """Of the submission."""
    start: int
    """How often SLURM has started the job again."""

    def claim(self) -> None:
        """Called by rank 0 when it starts: earlier starts of the same job may no longer write.

        Raises:
            Fenced: another submission, or a later start of this one, has the directory.
        """
        self.check()
        write_json(self.folder / OWNER, {"token": self.token, "start": self.start})

    def check(self) -> None:
        owner = read_json(self.folder / OWNER)
        if owner["token"] != self.token or owner["start"] > self.start:
            raise Fenced(
                f"{self.folder}: belongs to submission {owner['token']}, start {owner['start']}; this is "
                f"{self.token}, start {self.start}, which writes no more."
            )


_mine: Fence | None = None


def hand_over(folder: Path, token: str) -> None:
    """The directory belongs to submission `token` from now on."""
    write_json(folder / OWNER, {"token": token, "start": 0})


def enter(fence: Fence) -> None:
    """This process writes into `fence.folder`."""
    global _mine
    _mine = fence


def leave() -> None:
    global _mine
    _mine = None


def check() -> None:
    """Raises Fenced if a successor of this process is at work. To be called before a file becomes visible."""
    if _mine is not None:
        _mine.check()


def label() -> str:
    """A name for temporary files that no other start of this or another job uses; the same on all ranks."""
    return "alone" if _mine is None else f"{_mine.token}-{_mine.start}"
