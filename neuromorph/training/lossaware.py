"""Loss-aware quantisation: levels and scales that count each weight by the curvature of the loss.

For every output the weights w (its row) are replaced by α·b, b from a set of
levels, such that ½ Σ d_i (α·b_i − w_i)² is least: a proximal Newton step with
the diagonal d of the Hessian, for which Adam's second moment v stands,
d = √v + 10⁻⁸ (Hou, Yao, Kwok, arXiv 1611.01600; Hou, Kwok, arXiv 1802.08635).
With d constant these are BWN and the best ternary weights.

``lab``             b ∈ {−1, +1}: b = sign(w), α = Σ d|w| / Σ d
``lat_exact``       b ∈ {−1, 0, +1}, the global minimum
``lat_approx``      the same by alternation: b for α, α for b, at most ten rounds
``lat2_exact``, ``lat2_approx``
                    a scale of its own for the positive and the negative weights
``laq_linear``      b ∈ {0, ±1, …, ±(K − 1)} of Z_N, K = 2**(N−1): m = N bits
``laq_log``         b ∈ {0, ±1, ±2, ±4, …, ±K} of Z_N: 3 bits for N = 3

Exact minima.  Whatever α is best, b is then w/α rounded to the nearest level,
so it is enough to look at the roundings for all α > 0.  They change only
where some |w_i|/α passes the middle of two levels: sorted by that α, each
rounding differs from the one before in one weight, and Σ d·b·w and Σ d·b² are
running sums.  A given b with its best α leaves Σ d·w² − (Σ d·b·w)²/Σ d·b², so
the largest quotient wins.

Tensors are float32, shape (outputs, inputs); d is positive.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from neuromorph.errors import RecipeError
from neuromorph.levels import Levels

__all__ = ["LOSS_AWARE", "TWO_SCALES", "LossAware", "curvature", "quantize_by_loss"]

LossAware = Literal[
    "lab", "lat_exact", "lat_approx", "lat2_exact", "lat2_approx", "laq_linear", "laq_log"
]
LOSS_AWARE: tuple[str, ...] = get_args(LossAware)
TWO_SCALES = ("lat2_exact", "lat2_approx")  # no factor of an output, so nothing to fold

ROUNDS = 10  # of an alternation, at most
SETTLED = 1e-6  # change of α at which it stops
FIRST = 0.7  # of mean |w|: the threshold an alternation starts from, TWN's


def curvature(second: Tensor) -> Tensor:
    """d of Adam's second moment.

    Scales do not depend on the scale of d, so not on Adam's bias correction.
    """
    return second.sqrt().add_(1e-8)


def quantize_by_loss(
    weight: Tensor, d: Tensor, method: str, n: int = 1
) -> tuple[Tensor, Tensor | None]:
    """Weights as values of Z_n, and the factor of each output.

    Parameters
    ----------
    weight : float32 tensor, shape (outputs, inputs)
    d : float32 tensor of the same shape
        Curvature, above 0; see :func:`curvature`.
    method : one of ``LOSS_AWARE``
    n : int
        N of the weight space, for ``laq_linear`` and ``laq_log``.

    Returns
    -------
    (values, factor)
        Float32, shapes (outputs, inputs) and (outputs,).  With two scales the
        values are the scaled ones and the factor is None.

    Raises
    ------
    RecipeError
        An unknown method.
    """
    if method == "lab":
        signs = (weight >= 0).to(weight.dtype).mul_(2).sub_(1)
        return signs, (d * weight.abs()).sum(1) / d.sum(1)
    if method in TWO_SCALES:
        sides = []
        for sign in (1.0, -1.0):
            part = (weight * sign).clamp(min=0)
            levels, scale = _ternary(part, d, method)
            sides.append(levels * scale[:, None] * sign)
        return sides[0] + sides[1], None
    if method in ("lat_exact", "lat_approx"):
        return _ternary(weight, d, method)
    if method not in ("laq_linear", "laq_log"):
        raise RecipeError(f"method is {method!r}; use one of {', '.join(LOSS_AWARE)}")
    top = Levels(n).maximum
    if method == "laq_linear":
        magnitudes = list(range(1, top))
    else:
        magnitudes = [1 << e for e in range(n)]
    levels, scale = _exact(weight, d, magnitudes)
    return levels / top, scale * top


def _ternary(weight: Tensor, d: Tensor, method: str) -> tuple[Tensor, Tensor]:
    if method.endswith("exact"):
        return _exact(weight, d, [1])
    return _alternate(weight, d)


def _exact(weight: Tensor, d: Tensor, magnitudes: list[int]) -> tuple[Tensor, Tensor]:
    """Levels from {0, ± magnitudes} and the scale of each row, the global minimum."""
    size = weight.abs()
    low = torch.tensor([0, *magnitudes[:-1]], dtype=torch.float64)
    high = torch.tensor(magnitudes, dtype=torch.float64)
    # α at which |w|/α reaches the middle below each magnitude; running sums from large α to small
    reach = (size.double()[:, :, None] / ((low + high) / 2)).flatten(1)
    product = ((d * size).double()[:, :, None] * (high - low)).flatten(1)
    square = (d.double()[:, :, None] * (high.square() - low.square())).flatten(1)
    order = reach.argsort(1, descending=True)
    products = product.gather(1, order).cumsum(1)
    squares = square.gather(1, order).cumsum(1)
    best = (products.square() / squares).argmax(1, keepdim=True)
    scale = (products.gather(1, best) / squares.gather(1, best)).squeeze(1)
    rank = torch.empty_like(order).scatter_(1, order, torch.arange(order.shape[1]).expand_as(order))
    climbed = (rank <= best).view(*weight.shape, -1)  # steps that are taken, the low ones first
    levels = (climbed * (high - low)).sum(2).to(weight.dtype) * torch.sign(weight)
    return levels, scale.to(weight.dtype)


def _alternate(weight: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    """Ternary levels for the scale, the scale for the levels, until it settles."""
    size = weight.abs()
    here = (size > 0).to(size.dtype)  # with two scales the zeros belong to the other side
    threshold = FIRST * size.sum(1) / here.sum(1).clamp(min=1)
    scale = torch.zeros_like(threshold)
    for _ in range(ROUNDS):
        above = (size > threshold[:, None]).to(size.dtype)
        weighted = d * above
        total = weighted.sum(1)
        found = torch.where(total > 0, (weighted * size).sum(1) / total, torch.zeros(()))
        settled = bool(((found - scale).abs() < SETTLED).all())
        scale, threshold = found, found / 2
        if settled:
            break
    return (size > threshold[:, None]).to(size.dtype) * torch.sign(weight), scale
