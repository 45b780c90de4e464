"""It has no experiments."""

from vlp.config import Experiment

__all__ = ["Experiment"]
