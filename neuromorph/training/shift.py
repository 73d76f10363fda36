"""Training without multiplications, as BinaryNet proposes it: factors are powers of two.

A multiplication by AP2(z) = sign(z)·2**round(log2 |z|) is a shift.  Batch norm
and AdaMax whose factors are such powers follow Courbariaux and others (arXiv
1602.02830, their shift-based batch norm and AdaMax), which we know second-hand
only.  torch itself still multiplies floats: what is here are the numbers that
shifts would give.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from neuromorph.training.layers import BatchNorm

__all__ = ["ShiftBatchNorm", "ap2", "shift_adamax"]

# Added to the bits of a float32, it carries into the exponent from the mantissa √2 on; no
# float32 is √2 times a power of two, so nothing lies halfway.
_CARRY = (1 << 24) - (math.isqrt(2 << 46) + 1)
_EXPONENT = -1 << 23  # mask of sign and exponent
_SMALLEST = 2.0**-126  # of the normal numbers


def ap2(x: Tensor) -> Tensor:
    """sign(x)·2**round(log2 \\|x\\|) of float32; 0, infinities and NaN stay what they are."""
    assert x.dtype == torch.float32
    small = x.abs() < _SMALLEST
    power = _ap2_of_normal(torch.where(small, x * 2.0**24, x))
    power = torch.where(small, power * 2.0**-24, power)
    return torch.where(torch.isfinite(x), power, x)


def _ap2_of_normal(x: Tensor) -> Tensor:
    """AP2 of normal numbers and 0."""
    return x.view(torch.int32).add(_CARRY).bitwise_and_(_EXPONENT).view(torch.float32)


class ShiftBatchNorm(BatchNorm):
    """Batch norm by shifts; its evaluation is a batch norm like any other.

    Training, with C(x) = x − mean(x)::

        var = mean(C(x) · AP2(C(x)))
        y = C(x) · AP2(1/√(var + ε)) · AP2(γ) + β

    Backward goes straight through AP2 (its derivative counts as 1): the
    gradient is that of batch norm with AP2 for each of its factors, so it shifts
    too, and γ learns although AP2(γ) is constant nearly everywhere.
    Evaluation: ``x·scale + shift`` with scale = AP2(γ)·AP2(1/√(var + ε)), times
    the factor of the weights, if they have one.
    """

    def __init__(self, channels: int, *, eps: float = 1e-4, momentum: float = 0.125) -> None:
        super().__init__(channels, eps=eps, momentum=momentum)

    def scale(self) -> Tensor:
        """AP2(γ)·AP2(1/√(var + ε)), of shape (channels,): a power of two each, or 0."""
        return ap2(self.gamma) * _inverse(self.var, self.eps)

    def normalize(self, x: Tensor) -> Tensor:
        """Training: by the statistics of the batch, which the running ones follow."""
        y, mean, var = _Normalize.apply(x, self.gamma, self.beta, self.eps)  # type: ignore[no-untyped-call]
        with torch.no_grad():
            self.mean.lerp_(mean, self.momentum)
            self.var.lerp_(var, self.momentum)
        result: Tensor = y
        return result

    @torch.no_grad()
    def unshifted(self) -> BatchNorm:
        """The plain batch norm of the same evaluation, bit for bit."""
        plain = BatchNorm(len(self.gamma), eps=0.0, momentum=self.momentum)
        plain = plain.to(self.gamma.device).train(self.training)
        plain.gamma.copy_(self.scale())
        plain.beta.copy_(self.beta)
        plain.mean.copy_(self.mean)  # var stays 1
        return plain


class _Normalize(torch.autograd.Function):
    """Batch norm by shifts of a batch, forward and backward."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, gamma: Tensor, beta: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        axes, shape = _axes(x)
        mean = x.mean(axes)
        centred = x - mean.view(shape)
        power = ap2(centred)
        var = (centred * power).mean(axes)
        inverse = _inverse(var, eps)
        scale = inverse * ap2(gamma)
        ctx.save_for_backward(power, inverse, scale)
        ctx.mark_non_differentiable(mean, var)
        return centred * scale.view(shape) + beta.view(shape), mean, var

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        gradient = gradients[0]
        power, inverse, scale = ctx.saved_tensors
        axes, shape = _axes(gradient)
        normal = power * inverse.view(shape)  # AP2 of what is normalised
        along = gradient * normal
        centred = gradient - gradient.mean(axes).view(shape)
        across = centred - normal * along.mean(axes).view(shape)
        return across * scale.view(shape), along.sum(axes), gradient.sum(axes), None


def _axes(x: Tensor) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Axes of the batch, all but the second; shape of what is one for each channel."""
    return (0, *range(2, x.ndim)), (1, -1) + (1,) * (x.ndim - 2)


def _inverse(var: Tensor, eps: float) -> Tensor:
    return ap2(1 / torch.sqrt(var + eps))


def shift_adamax(
    gradient: Tensor,
    first: Tensor,
    largest: Tensor,
    step: int,
    *,
    rate: float,
    betas: tuple[float, float],
    eps: float,
) -> Tensor:
    """ΔW of AdaMax by shifts; moves both moments on.

    With a = AP2(1 − β1), b = AP2(1 − β2)::

        m ← m + (g − m)·a
        u ← max(u − u·b, |g| + ε)
        ΔW = −m · AP2(rate/(1 − (1 − a)**step)) · AP2(1/u)

    The last factor is 1/AP2(u), exactly, since no float32 lies halfway.
    """
    one, two = (_power(1 - beta) for beta in betas)
    first.add_(gradient - first, alpha=one)
    largest.sub_(largest, alpha=two)
    torch.maximum(largest, gradient.abs().add_(eps), out=largest)
    along = first / _ap2_of_normal(largest)  # at least ε; where it is NaN, so is the first moment
    return along.mul_(-_power(rate / (1 - (1 - one) ** step)))


def _power(number: float) -> float:
    return ap2(torch.tensor(number, dtype=torch.float32)).item()
