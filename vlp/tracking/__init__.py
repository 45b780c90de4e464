"""Journal first, MLflow as its mirror."""

from vlp.tracking.recording import track

__all__ = ["track"]
