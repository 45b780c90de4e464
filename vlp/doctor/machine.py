"""What this machine has: Python, torch, GPUs, memory, disk, SLURM, Java, the parser's model."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vlp.config import Experiment

GIB = 2**30


@dataclass(frozen=True)
class Fact:
    name: str
    value: str
    good: bool | None
    """None: it is not needed, here or at all."""
    remedy: str = ""


@dataclass(frozen=True)
class Gpu:
    name: str
    bytes: int


def gpus() -> list[Gpu]:
    import torch

    if not torch.cuda.is_available():
        return []
    found = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return [Gpu(p.name, p.total_memory) for p in found]


def facts(experiment: Experiment | None) -> list[Fact]:
    """Those that the experiment needs are good or not; without one nothing but Python and torch is needed."""
    return [*_torch(), *_host(experiment), _slurm(experiment), _java(), *_parser(experiment)]


def free(folder: Path) -> int:
    """Bytes free on the disk of a folder that may not be there yet."""
    there = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    return shutil.disk_usage(there).free


def _torch() -> list[Fact]:
    version = platform.python_version()
    python = Fact("Python", version, version.startswith("3.11."), "Use Python 3.11.")
    try:
        import torch

        found = gpus()
    except (ImportError, OSError) as error:
        return [
            python,
            Fact("torch", f"cannot be imported ({error})", False, "Run `make` to install what the lock names."),
        ]
    cuda = f"CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
    names = ", ".join(f"{gpu.name}, {gpu.bytes / GIB:.0f} GiB" for gpu in found)
    return [
        python,
        Fact("torch", f"{torch.__version__}, {cuda}", True),
        Fact("GPU", names or "none: training runs on the CPU", True if found else None),
    ]


def _host(experiment: Experiment | None) -> list[Fact]:
    import psutil

    memory = psutil.virtual_memory()
    folder = experiment.folder if experiment else Path()
    return [
        Fact("CPU cores", str(len(os.sched_getaffinity(0))), None),
        Fact("memory", f"{memory.available / GIB:.0f} of {memory.total / GIB:.0f} GiB free", None),
        Fact("disk", f"{free(folder) / 1e9:,.0f} GB free for {folder}", None),
    ]


def _slurm(experiment: Experiment | None) -> Fact:
    launch = experiment.launch if experiment else None
    needed = launch is not None and launch.on_slurm
    said = _output("sinfo", "--version")
    if said is None:
        remedy = "Run on a machine with SLURM's commands, or set launch.*.executor: local."
        return Fact("SLURM", "no sinfo on the PATH", False if needed else None, remedy)
    partitions = _output("sinfo", "--noheader", "--format=%P %D nodes %a")
    answers = partitions.replace("\n", "; ") if partitions else "the controller does not answer"
    good = bool(partitions) if needed else None
    return Fact("SLURM", f"{said}; {answers}", good, "Ask for the cluster's state: scontrol ping.")


def _java() -> Fact:
    said = _output("java", "-version")
    return Fact("Java", said.splitlines()[0] if said else "none; only the SPICE parser would need it", None)


def _parser(experiment: Experiment | None) -> list[Fact]:
    if experiment is None or "phrases" not in experiment.needs:
        return []
    from vlp.errors import VlpError
    from vlp.phrases.parser import model_name

    name = experiment.phrases.parser
    try:
        return [Fact("parser", model_name(name), True)]
    except VlpError as error:
        return [Fact("parser", f"{name} cannot be used", False, str(error))]


def _output(*command: str) -> str | None:
    """Of a command that ends well within seconds; java speaks on stderr."""
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return (done.stdout or done.stderr).strip()
