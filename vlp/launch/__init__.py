"""Where work runs: in this process, on this host, on SLURM."""

from vlp.launch.submit import run, taken

__all__ = ["run", "taken"]
