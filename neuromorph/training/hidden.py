"""Discrete weights made anew at every pass from a hidden real one: the baselines of DST.

Each function takes the hidden weight w, of shape (out, …), and gives levels q
and a factor α for each output, so that α·q stands for w.  The gradient with
respect to α·q is applied to w as it is (straight-through estimator); the
optimizer keeps w inside [−1, 1].

``sign``         q = sign(w), sign(0) = +1 (BinaryNet, arXiv 1602.02830)
``stochastic``   q = +1 with probability (w + 1)/2 in training; ``sign`` afterwards
``bwn``          q = sign(w), α = mean |w| (XNOR-Net's BWN, arXiv 1603.05279)
``twn``          q = sign(w)·[|w| > Δ], Δ = 0.7·mean |w|, α = mean of |w| above Δ
                 (arXiv 1605.04711)

The methods of :mod:`neuromorph.training.lossaware` take the curvature of the
loss beside it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from neuromorph.training.lossaware import LOSS_AWARE, quantize_by_loss

__all__ = ["quantize_hidden"]

TWN_THRESHOLD = 0.7


def quantize_hidden(
    weight: Tensor,
    method: str,
    draw: Tensor | None = None,
    *,
    d: Tensor | None = None,
    n: int = 1,
) -> tuple[Tensor, Tensor | None]:
    """Levels as float32 values, and the factor of each output (None for 1).

    Parameters
    ----------
    weight : float32 tensor, shape (out, …)
    method : {"sign", "stochastic", "bwn", "twn"} or one of ``LOSS_AWARE``
    draw : float32 tensor of the shape of ``weight``, optional
        Draws from [0, 1) for ``stochastic``.
    d, n
        Curvature, of the shape of ``weight``, and N, for ``LOSS_AWARE``.
    """
    with torch.no_grad():
        magnitude = weight.abs().flatten(1)
        axes = (-1,) + (1,) * (weight.ndim - 1)
        factor: Tensor | None = None
        if method in LOSS_AWARE:
            assert d is not None
            flat, factor = quantize_by_loss(weight.flatten(1), d.flatten(1), method, n)
            levels = flat.view_as(weight)
        elif method == "stochastic" and draw is not None:
            levels = _signs(draw < (weight + 1) / 2)
        elif method == "twn":
            above = magnitude > TWN_THRESHOLD * magnitude.mean(1, keepdim=True)
            factor = (magnitude * above).sum(1) / above.sum(1).clamp(min=1)
            levels = torch.sign(weight) * above.view_as(weight)
        else:
            levels = _signs(weight >= 0)
            factor = magnitude.mean(1) if method == "bwn" else None
    result: Tensor = _Straight.apply(  # type: ignore[no-untyped-call]
        weight, levels, None if factor is None else factor.view(axes)
    )
    return result, factor


def _signs(positive: Tensor) -> Tensor:
    return positive.to(torch.float32).mul_(2).sub_(1)


class _Straight(torch.autograd.Function):
    """Levels forward; backward the gradient with respect to factor · levels."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, levels: Tensor, factor: Tensor | None) -> Tensor:
        ctx.factor = factor
        return levels

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = gradients
        if ctx.factor is not None:
            gradient = torch.where(ctx.factor > 0, gradient / ctx.factor, torch.zeros(()))
        return gradient, None, None
