"""The loss of the paper's networks."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["squared_hinge"]


def squared_hinge(scores: Tensor, labels: Tensor) -> Tensor:
    """Mean over batch, classes and pixels of max(0, 1 − t·score)², t = ±1 (§7.2).

    Parameters
    ----------
    scores : float32 tensor, shape (batch, classes, …)
    labels : int64 tensor, shape (batch, …)

    Returns
    -------
    float32 tensor, shape ()
    """
    targets = torch.full_like(scores, -1).scatter_(1, labels[:, None], 1)
    return torch.relu(1 - targets * scores).square().mean()
