"""Adam's moments in 8 bits a weight.

A block of 256 weights shares one float32 scale for each moment, its largest
magnitude.

first moment   m / scale · 127, an int8; rounded at random, so that the mean of
               many small steps is not lost: P(up) is the fraction
second moment  √v / scale · 255, a uint8; rounded up, so that an increment
               m/√v is never made larger by the rounding, nor divided by zero
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["BITS", "load", "store"]

BITS = 8
BLOCK = 256
TINY = 1e-30


def load(state: dict[str, Any], like: Tensor) -> tuple[Tensor, Tensor]:
    """Both moments as float32 tensors of the shape of ``like``; zeros at first."""
    if "first" not in state:
        return torch.zeros_like(like), torch.zeros_like(like)
    first = _blocks(state["first"].float()) * (state["first_scale"] / 127)[:, None]
    root = _blocks(state["second"].float()) * (state["second_scale"] / 255)[:, None]
    count = like.numel()
    return (
        first.reshape(-1)[:count].reshape(like.shape),
        root.square().reshape(-1)[:count].reshape(like.shape),
    )


def store(state: dict[str, Any], first: Tensor, second: Tensor, draw: Tensor) -> None:
    """Keep both moments; ``draw`` from [0, 1), one a weight, rounds the first."""
    count = first.numel()
    rows = _blocks(first.reshape(-1))
    scale = rows.abs().amax(1).clamp_(min=TINY)
    exact = rows / scale[:, None] * 127
    rounded = torch.floor(exact + _blocks(draw.reshape(-1))).clamp_(-127, 127)
    state["first"] = rounded.to(torch.int8).reshape(-1)[:count]
    state["first_scale"] = scale
    rows = _blocks(second.reshape(-1).sqrt())
    scale = rows.amax(1).clamp_(min=TINY)
    state["second"] = (
        torch.ceil(rows / scale[:, None] * 255).clamp_(0, 255).to(torch.uint8).reshape(-1)[:count]
    )
    state["second_scale"] = scale


def _blocks(flat: Tensor) -> Tensor:
    """(weights,) to (blocks, BLOCK), filled with zeros."""
    return F.pad(flat, (0, -flat.numel() % BLOCK)).view(-1, BLOCK)
