"""MVPTR's own losses, one pure function per equation of the paper; `table` says which loss sees what."""

from vlp.methods.mvptr.objectives.mcr import Masked, Pending, mcr, mcr_cost, mcr_loss
from vlp.methods.mvptr.objectives.wpg import s_wpg, wpg

__all__ = ["Masked", "Pending", "mcr", "mcr_cost", "mcr_loss", "s_wpg", "wpg"]
