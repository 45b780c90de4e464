"""Where work runs: in this process, on this host, on SLURM."""

from vlp.launch.submit import run, run_alone, taken

__all__ = ["run", "run_alone", "taken"]
