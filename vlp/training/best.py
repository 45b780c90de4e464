"""The best weights of a fine-tuning, by its score on val."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import nn

from vlp.files import atomic, read_json, write_json
from vlp.launch import fence


@dataclass(frozen=True)
class Selection:
    """Validation during fine-tuning: `score()` on val (higher is better) at `times` points, the last step included."""

    score: Callable[[], float]
    times: int

    def points(self, total: int) -> set[int]:
        """The steps after which to score."""
        return {max(1, round(total * (i + 1) / self.times)) for i in range(self.times)}


class Best:
    """The weights that scored best on val, kept beside the checkpoints, so that they survive a kill."""

    def __init__(self, path: Path, fingerprint: str) -> None:
        self.path, self.fingerprint = path, fingerprint
        self.note = path.with_suffix(".json")

    def clear(self) -> None:
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    def offer(self, model: nn.Module, step: int, score: float) -> None:
        fence.check()
        if self.note.exists():
            held = read_json(self.note)
            if held["fingerprint"] == self.fingerprint and held["best_score"] >= score and held["best_step"] < step:
                return
        with atomic(self.path) as temporary:
            save_file({k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}, temporary)
        note = {"best_step": step, "best_score": score, "fingerprint": self.fingerprint}
        write_json(self.note, note)

    def restore(self, model: nn.Module) -> dict[str, Any]:
        model.load_state_dict(load_file(self.path))
        note = read_json(self.note)
        return {"best_step": note["best_step"], "best_score": note["best_score"]}
