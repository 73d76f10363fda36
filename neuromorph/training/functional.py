"""φ_r with its surrogate derivative, and the DST step, on torch tensors.

The NumPy definitions in :mod:`neuromorph.levels` and :mod:`neuromorph.draws`
are the truth; what stands here is the same on torch, on any device, pinned to
them by tests.  Functions are element-wise and take float32 tensors of any
shape.  Section numbers are those of ``docs/paper.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neuromorph import draws, levels
from neuromorph.levels import Levels, Pulse, Transition

__all__ = [
    "joined_uniform",
    "phi",
    "ternary_tanh",
    "transition",
    "uniform",
    "weight_keys",
    "window",
]


def phi(
    x: Tensor,
    n: int,
    *,
    r: float = 0.5,
    a: float = 0.5,
    h: float = 1.0,
    pulse: Pulse = "rectangular",
) -> Tensor:
    """φ_r(x) as values k/K of Z_n, with the window as derivative (§2, §3).

    Parameters
    ----------
    x : float32 tensor
        Pre-activations.
    n : int
        N of the activation space; 0 is sign with sign(0) = +1.
    r, a : float
        Half-width of the zero window, half-width of the derivative's pulses.
    h : float
        H, upper end of the range of thresholds (only for n ≥ 2).
    pulse : {"rectangular", "triangular"}

    Returns
    -------
    float32 tensor
        Equal to ``levels.phi(x, n, r, h) / K`` on every float32.

    Raises
    ------
    LevelError
        r outside [0, H), a not above 0, n outside 0 … 8.
    """
    result: Tensor = _Phi.apply(x, n, r, a, h, pulse)  # type: ignore[no-untyped-call]
    return result


def window(
    x: Tensor,
    n: int,
    *,
    r: float = 0.5,
    a: float = 0.5,
    h: float = 1.0,
    pulse: Pulse = "rectangular",
) -> Tensor:
    """∂φ_r/∂x in float32, each pulse of the area of its jump (§3).

    The rectangle has the very support of ``levels.window``; the triangle
    agrees to float32 rounding.
    """
    magnitude = x.abs()
    jump = 2.0 if n == 0 else 1.0 / Levels(n).maximum
    total: Tensor | None = None
    for edge, low, high in zip(levels.thresholds(n, r, h), *_support(n, r, a, h)):
        if pulse == "rectangular":
            inside = magnitude <= high
            if low > 0:
                inside &= magnitude >= low
            part = inside * (jump / (2 * a))
        else:
            part = (a - (magnitude - float(edge)).abs()).clamp_(min=0) * (jump / a**2)
        total = part if total is None else total.add_(part)
    assert total is not None
    return total


class _Phi(torch.autograd.Function):
    """φ_r forward, window backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, n: int, r: float, a: float, h: float, pulse: Pulse) -> Tensor:
        ctx.save_for_backward(x)
        ctx.settings = n, r, a, h, pulse
        if n == 0:
            return (x >= 0).to(x.dtype).mul_(2).sub_(1)
        edges = _edges(n, r, h)
        if len(edges) == 1:
            return torch.hardshrink(x, edges[0]).sign_()
        grid = torch.tensor(edges, dtype=x.dtype, device=x.device)
        magnitude = torch.bucketize(x.abs().contiguous(), grid).to(x.dtype)
        return torch.copysign(magnitude, x).div_(Levels(n).maximum).add_(0.0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None, None]:
        (x,) = ctx.saved_tensors
        n, r, a, h, pulse = ctx.settings
        slope = window(x, n, r=r, a=a, h=h, pulse=pulse)
        return gradients[0] * slope, None, None, None, None, None


def ternary_tanh(x: Tensor, beta: float) -> Tensor:
    """TernaryNet's ½ [tanh(β(2x − 1)) + tanh(β(2x + 1))] with its derivative (arXiv 1801.09449)."""
    result: Tensor = _TernaryTanh.apply(x, beta)  # type: ignore[no-untyped-call]
    return result


class _TernaryTanh(torch.autograd.Function):
    """Keeps the derivative β(2 − tanh² − tanh²) alone: an eighth of what autograd would."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, beta: float) -> Tensor:
        steep = x * (2 * beta)
        low, high = (steep - beta).tanh_(), steep.add_(beta).tanh_()
        ctx.save_for_backward((2 - low * low).addcmul_(high, high, value=-1).mul_(beta))
        return low.add_(high).mul_(0.5)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (slope,) = ctx.saved_tensors
        return gradients[0] * slope, None


@lru_cache
def _edges(n: int, r: float, h: float) -> list[float]:
    """Thresholds r_ω rounded down to float32: x > r_ω is the same for every float32 x."""
    return [_down(edge) for edge in levels.thresholds(n, r, h)]


@lru_cache
def _support(n: int, r: float, a: float, h: float) -> tuple[list[float], list[float]]:
    """Ends of the interval |x| ∈ [r_ω − a, r_ω + a] of each pulse, rounded inward to float32."""
    levels.window(0.0, n, r, a, h=h)  # refuses impossible r and a
    edges = levels.thresholds(n, r, h)
    return [-_down(-(edge - a)) for edge in edges], [_down(edge + a) for edge in edges]


def _down(value: float) -> float:
    """Largest float32 that is not above ``value``."""
    near = np.float32(value)
    return float(near if near <= value else np.nextafter(near, np.float32(-np.inf)))


def weight_keys(seed: int, layer: int, count: int, device: torch.device) -> Tensor:
    """Per-weight keys of ``draws.weight_keys`` as an int32 tensor, shape (count,)."""
    keys = draws.weight_keys(draws.layer_key(seed, layer), np.arange(count, dtype=np.uint32))
    return torch.from_numpy(keys.view(np.int32)).to(device)


def uniform(keys: Tensor, seed: int, layer: int, step: int) -> Tensor:
    """Draws of one step, float32 in [0, 1), equal to ``draws.uniform`` bit for bit.

    ``keys`` are those of :func:`weight_keys`.  On a CPU NumPy's definition makes
    them; elsewhere :func:`joined_uniform`.
    """
    if _by_numpy(keys):
        key = draws.step_key(draws.layer_key(seed, layer), step)
        return torch.from_numpy(draws.step_uniform(keys.numpy().view(np.uint32), key))
    return joined_uniform([keys], [(seed, layer)], step)


def joined_uniform(keys: Sequence[Tensor], places: Sequence[tuple[int, int]], step: int) -> Tensor:
    """The draws of several layers one after the other; ``places`` are (seed, layer) of each.

    In int32 arithmetic, which wraps like uint32, with right shifts made logical by masks.
    """
    x = torch.cat(
        [k ^ _signed(draws.step_key(draws.layer_key(*at), step)) for k, at in zip(keys, places)]
    )
    x ^= (x >> 16) & 0xFFFF
    x *= _signed(0x7FEB352D)
    x ^= (x >> 15) & 0x1FFFF
    x *= _signed(0x846CA68B)
    x ^= (x >> 16) & 0xFFFF
    return ((x >> 8) & 0xFFFFFF).to(torch.float32).mul_(2.0**-24)


def _by_numpy(tensor: Tensor) -> bool:
    """Whether NumPy, where the definitions are, can work on the tensor itself."""
    return tensor.device.type == "cpu"


def _signed(value: int) -> int:
    return value - (1 << 32) if value >= 1 << 31 else value


def transition(
    weights: Tensor,
    increments: Tensor,
    draw: Tensor,
    n: int,
    *,
    m: float = 3.0,
    kind: Transition = "tanh",
) -> None:
    """One discrete state transition of ``weights``, in place (§4).

    The same transitions as ``levels.dst``, which makes them on a CPU.  Most
    weights are settled by a float32 bound τ ≤ max(m, 1)·|ΔW|/Δz; only those that may
    move are looked at in float64.

    Parameters
    ----------
    weights : contiguous float32 tensor
        Values k/K of Z_n.
    increments : float32 tensor of the same shape
        ΔW; one that is not a number moves nothing.
    draw : float32 tensor of the same shape
        From [0, 1).
    n : int
        N of the weight space.
    m : float
        Steepness of τ for ``kind="tanh"``.
    """
    space = Levels(n)
    flat, moves, draw = weights.view(-1), increments.reshape(-1), draw.reshape(-1)
    bound = (max(m, 1.0) if kind == "tanh" else 1.0) / space.step * (1 + 1e-5)
    if not _by_numpy(flat):
        _transition(flat, moves, draw, n, m, kind, bound)
        return
    values, rates, even = flat.numpy(), moves.numpy(), draw.numpy()
    index = np.flatnonzero(even <= np.abs(rates) * np.float32(bound))
    before = (values[index] * space.maximum).astype(space.dtype)
    after = levels.dst(before, rates[index], even[index], n, m=m, transition=kind)
    values[index] = after / np.float32(space.maximum)


def _transition(
    flat: Tensor, moves: Tensor, draw: Tensor, n: int, m: float, kind: Transition, bound: float
) -> None:
    """``levels.dst`` in torch, for other devices, on flat tensors.

    τ is compared with the draw in float64, where tanh of torch and NumPy may differ in the
    last of 53 bits, while draws have 24: a disagreement needs τ within 2⁻⁵³ of a multiple
    of 2⁻²⁴.
    """
    step = Levels(n).step
    index = (draw <= moves.abs() * bound).nonzero().squeeze(1)
    value, rho = flat[index].double(), moves[index].double()
    rho = torch.where(rho >= 0, torch.minimum(1 - value, rho), torch.maximum(-1 - value, rho))
    kappa = torch.trunc(rho / step)
    nu = rho - kappa * step
    fraction = nu.abs() / step
    tau = torch.tanh(m * fraction) if kind == "tanh" else fraction
    kappa += torch.sign(nu) * (draw[index].double() < tau)
    flat[index] = (value + kappa * step).to(flat.dtype)
