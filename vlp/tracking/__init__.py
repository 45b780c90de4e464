"""Journal first, MLflow as its mirror."""

from vlp.tracking.run import track

__all__ = ["track"]
