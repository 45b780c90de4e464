"""Checkpoints that are whole or absent: temporary name, hash of each file in a manifest, fsync, rename."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import torch.distributed as dist

from vlp.errors import InputError, VlpError
from vlp.files import raise_if_full, read_json, sha256, write_json
from vlp.launch import fence

MANIFEST = "manifest.json"
TAG = "state"


def save(engine: Any, folder: Path, step: int, fingerprint: str, keep: int, state: dict[str, Any]) -> Path:
    """Collective: every rank writes its part, rank 0 then makes it whole and drops all but the newest `keep`."""
    final, temporary = folder / f"step-{step:09d}", folder / f".step-{step:09d}.{fence.label()}.tmp"
    if dist.get_rank() == 0:
        fence.check()
        for left in folder.glob(".step-*.tmp"):
            shutil.rmtree(left, ignore_errors=True)
        temporary.mkdir(parents=True)
    dist.barrier()
    try:
        engine.save_checkpoint(str(temporary), tag=TAG, client_state={"step": step}, save_latest=False)
    except (OSError, RuntimeError) as error:
        raise_if_full(error, temporary)
        raise
    dist.barrier()
    if dist.get_rank() == 0:
        files = sorted(p for p in temporary.rglob("*") if p.is_file())
        for p in files:
            _sync(p)
        manifest = {
            "step": step,
            "world_size": dist.get_world_size(),
            "fingerprint": fingerprint,
            "state": state,
            "files": {p.relative_to(temporary).as_posix(): sha256(p) for p in files},
        }
        write_json(temporary / MANIFEST, manifest)
        fence.check()
        shutil.rmtree(final, ignore_errors=True)
        temporary.replace(final)
        _sync(folder)
        # A later one was passed over by `newest`; it must not count as one of those that are kept.
        kept = sorted(p for p in folder.glob("step-*") if p.name <= final.name)[-keep:]
        for old in set(folder.glob("step-*")) - set(kept):
            shutil.rmtree(old)
    dist.barrier()
    return final


def newest(folder: Path, fingerprint: str) -> tuple[Path, dict[str, Any]] | None:
    """The newest checkpoint that is whole and was made from the same inputs; others are named and passed over."""
    for path in sorted(folder.glob("step-*"), reverse=True):
        try:
            manifest = read_json(path / MANIFEST)
        except InputError as error:
            print(f"{path}: no whole manifest ({error.problem}); it is not used.", flush=True)
            continue
        if manifest["fingerprint"] != fingerprint:
            print(f"{path}: made from other inputs or settings; it is not used.", flush=True)
        elif bad := [n for n, d in manifest["files"].items() if not (path / n).exists() or sha256(path / n) != d]:
            print(f"{path}: damaged ({', '.join(bad)}); it is not used.", flush=True)
        else:
            return path, manifest
    return None


def restore(engine: Any, path: Path, manifest: dict[str, Any]) -> int:
    """Load the checkpoint into the engine; returns its step."""
    world = dist.get_world_size()
    if manifest["world_size"] != world:
        raise VlpError(
            f"{path}: saved by {manifest['world_size']} processes, this run has {world}. "
            "Use the same number of nodes and tasks, or remove the run directory to start anew."
        )
    engine.load_checkpoint(str(path), tag=TAG, load_module_strict=True)
    return int(manifest["step"])


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
