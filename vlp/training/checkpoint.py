"""Checkpoints that are whole or absent: temporary name, hash of each file in a manifest, fsync, rename.

`save` returns when DeepSpeed has written; hashing, fsync and the rename happen in a thread of each rank while the
training goes on.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch.distributed as dist
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from vlp.errors import InputError, VlpError
from vlp.files import open_to_others, raise_if_full, read_json, sha256, write_json
from vlp.launch import fence

MANIFEST = "manifest.json"
TAG = "state"
BEYOND = "beyond.safetensors"
"""State beside the parameters, of all ranks."""
DIGESTS = ".digests-{}.json"
POLL_SECONDS = 0.02
PATIENCE_SECONDS = 1800.0
"""How long rank 0 waits for the others' digests."""


Held = dict[str, Tensor] | None


class Found(NamedTuple):
    path: Path
    manifest: dict[str, Any]


class Checkpoints:
    """The checkpoints of one training; every method is called by all ranks.

    Args:
        fingerprint: digest of all that the result depends on; checkpoints of another one are not used.
        keep: the newest so many are kept, and every one whose step is a multiple of `keep_every`.
        saved: told each checkpoint that is whole, by rank 0 in the thread.
    """

    def __init__(
        self,
        folder: Path,
        fingerprint: str,
        keep: int = 2,
        keep_every: int | None = None,
        saved: Callable[[Path, int], None] | None = None,
    ) -> None:
        self.folder, self.fingerprint = folder, fingerprint
        self._keep, self._keep_every, self._saved = keep, keep_every, saved
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        self.seconds = 0.0
        """That saving has taken from the loop."""

    def save(self, engine: Any, step: int, state: dict[str, Any], beyond: Mapping[str, Tensor] | None = None) -> None:
        """Every rank writes its part.

        Args:
            state: what the loop has to know again.
            beyond: tensors that are the same on every rank; rank 0 writes them as they are now.

        Raises:
            InputError: the disk is full, now or at the end of the checkpoint before.
        """
        began = time.monotonic()
        self.wait()
        temporary = self._temporary(step)
        if dist.get_rank() == 0:
            fence.check()
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
        dist.barrier()
        try:
            engine.save_checkpoint(str(temporary), tag=TAG, client_state={"step": step}, save_latest=False)
        except (OSError, RuntimeError) as error:
            raise_if_full(error, temporary)
            raise
        held = None if beyond is None or dist.get_rank() else {k: x.to("cpu", copy=True) for k, x in beyond.items()}
        manifest = {"step": step, "world_size": dist.get_world_size(), "fingerprint": self.fingerprint, "state": state}
        arguments = (step, manifest, dist.get_rank(), dist.get_world_size(), held)
        # A daemon: when another rank dies, this process must not wait for that rank's digests before it ends.
        self._thread = threading.Thread(target=self._finish, args=arguments, name="checkpoint", daemon=True)
        self._thread.start()
        self.seconds += time.monotonic() - began

    def wait(self) -> None:
        """Until the last checkpoint is whole (rank 0), or this rank's part of it is; raises what went wrong there."""
        if self._thread is not None:
            self._thread.join()
        failure, self._thread, self._failure = self._failure, None, None
        if failure is not None:
            raise failure

    def close(self) -> None:
        """The last checkpoint is whole on return, on every rank."""
        self.wait()
        dist.barrier()

    def find(self) -> Found | None:
        """The newest that is whole; rank 0 looks and tells the others, so that all load the same.

        Raises:
            InputError: there are some of this training, but none is whole.
        """
        answer: list[Any] = [None, None]
        if dist.get_rank() == 0:
            try:
                answer[0] = newest(self.folder, self.fingerprint)
            except InputError as error:
                answer[1] = error
        dist.broadcast_object_list(answer, 0)
        if answer[1] is not None:
            raise answer[1]
        return answer[0]

    def clear(self) -> None:
        """Rank 0, before a training that starts anew: what lies here is of other inputs or settings and moves aside."""
        if not self.folder.exists():
            return
        if any(self.folder.glob("step-*")):
            aside = self.folder.with_name(f"{self.folder.name}.{time.strftime('%Y%m%d-%H%M%S')}")
            self.folder.rename(aside)
            print(f"{self.folder}: the checkpoints of other inputs or settings are now in {aside}", flush=True)
        else:
            shutil.rmtree(self.folder)

    def tidy(self) -> None:
        """Rank 0, at the start: what a kill left half written or half removed goes."""
        for left in self.folder.glob(".*"):
            shutil.rmtree(left)

    # -- in the thread ------------------------------------------------------------------------------------------
    def _finish(self, step: int, manifest: dict[str, Any], rank: int, world: int, beyond: Held) -> None:
        try:
            if beyond is not None:
                _write(beyond, self._temporary(step) / BEYOND)
            self._make_whole(self._temporary(step), step, manifest, rank, world)
        except BaseException as error:
            self._failure = error

    def _make_whole(self, temporary: Path, step: int, manifest: dict[str, Any], rank: int, world: int) -> None:
        try:
            write_json(temporary / DIGESTS.format(rank), digests(temporary, rank))
            if rank == 0:
                files: dict[str, str] = {}
                for r in range(world):
                    part = _awaited(temporary / DIGESTS.format(r))
                    files |= read_json(part)
                    part.unlink()
                write_json(temporary / MANIFEST, manifest | {"files": dict(sorted(files.items()))})
                self._publish(temporary, step)
        except OSError as error:
            raise_if_full(error, temporary)
            raise

    def _publish(self, temporary: Path, step: int) -> None:
        final, old = self.folder / f"step-{step:09d}", self.folder / f".old-{step:09d}"
        _sync(temporary)
        fence.check()
        if final.exists():
            final.rename(old)
        temporary.rename(final)
        _sync(self.folder)
        shutil.rmtree(old, ignore_errors=True)
        self._prune(final)
        if self._saved is not None:
            self._saved(final, step)

    def _prune(self, last: Path) -> None:
        # A later one was passed over by `newest`, or rolled back; it must not count as one of those that are kept.
        present = sorted(p for p in self.folder.glob("step-*") if p.name <= last.name)
        kept = set(present[-self._keep :])
        if self._keep_every is not None:
            kept |= {p for p in present if int(p.name.removeprefix("step-")) % self._keep_every == 0}
        for path in set(self.folder.glob("step-*")) - kept:
            remove(path)

    def _temporary(self, step: int) -> Path:
        return self.folder / f".step-{step:09d}.{fence.label()}.tmp"


def newest(folder: Path, fingerprint: str) -> Found | None:
    """The newest checkpoint that is whole and was made from the same inputs; others are named and passed over.

    Raises:
        InputError: all that were made from the same inputs are damaged.
    """
    damaged: list[str] = []
    for path in sorted(folder.glob("step-*"), reverse=True):
        try:
            manifest = read_json(path / MANIFEST)
            other = manifest["fingerprint"] != fingerprint
            bad = [] if other else _differing(path, manifest["files"])
        except (InputError, KeyError, TypeError, OSError) as error:
            print(f"{path}: no whole manifest ({getattr(error, 'problem', error)}); it is not used.", flush=True)
            damaged.append(path.name)
            continue
        if other:
            print(f"{path}: made from other inputs or settings; it is not used.", flush=True)
        elif bad:
            print(f"{path}: damaged ({', '.join(bad)}); it is not used.", flush=True)
            damaged.append(path.name)
        else:
            return Found(path, manifest)
    if damaged:
        raise InputError(
            folder,
            f"no checkpoint is whole ({', '.join(damaged)}).",
            "Bring one back from a copy, or remove the folder to start anew.",
        )
    return None


def remove(folder: Path) -> None:
    """All checkpoints, under another name first: a kill on the way must not leave what looks like damaged ones."""
    gone = folder.with_name(f".{folder.name}.gone")
    shutil.rmtree(gone, ignore_errors=True)
    if folder.exists():
        folder.rename(gone)
        shutil.rmtree(gone)


def digests(folder: Path, rank: int) -> dict[str, str]:
    """sha256 of the files that a rank wrote, each synced to the disk: its own parts, and rank 0 all that is nobody's.

    DeepSpeed names a rank's parts `zero_pp_rank_<rank>_mp_...`.
    """
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith(".")):
        part = path.name.partition("zero_pp_rank_")[2].partition("_")[0]
        if (part or "0") == str(rank):
            _sync(path)
            found[path.relative_to(folder).as_posix()] = sha256(path)
    return found


def beyond(found: Found) -> dict[str, Tensor]:
    """The state beside the parameters.

    Raises:
        InputError: it has none.
    """
    if not (found.path / BEYOND).exists():
        remedy = "It is of a training without any; move the checkpoints away to start anew."
        raise InputError(found.path, f"lacks {BEYOND}, the state beside the parameters.", remedy)
    return load_file(found.path / BEYOND)


def _write(tensors: dict[str, Tensor], path: Path) -> None:
    try:
        save_file({name: x.contiguous() for name, x in tensors.items()}, path)
        open_to_others(path)
    except (OSError, SafetensorError) as error:
        raise_if_full(error, path)
        raise


def _differing(path: Path, files: dict[str, str]) -> list[str]:
    return [n for n, d in files.items() if not (path / n).is_file() or sha256(path / n) != d]


def _awaited(path: Path) -> Path:
    end = time.monotonic() + PATIENCE_SECONDS
    while not path.exists():
        if time.monotonic() > end:
            raise VlpError(f"{path}: a rank has not written its part of the checkpoint; it is not made whole.")
        time.sleep(POLL_SECONDS)
    return path


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
