"""Where a model lies."""

from __future__ import annotations

import torch


def device_of(model: torch.nn.Module) -> torch.device:
    return next(model.parameters()).device
