"""Fixed point Qm.f, and trained float networks adapted to it (ADaPTION, arXiv 1711.04713).

A number of Qm.f is k·2**−f with |k| ≤ 2**(m+f−1) − 1: m counts the sign, and
the range is symmetric.  Rounding is to the nearest, halves away from zero, or
stochastic: ⌊x·2**f + u⌋, u from [0, 1).  Q1.1 has the numbers −½, 0, ½: ternary
up to a scale.

:func:`adapt` folds the batch norm of a float network into its weights and
biases and gives weights, biases and activations of each layer a format of so
many bits.  Two copies of each parameter are kept: the forward pass takes the
rounded one, gradients go to the other, straight through the rounding.  In
evaluation sums are made in float64, so that nothing rounds but the format, and
the result exports as integers like any other network.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neuromorph import draws
from neuromorph.errors import NetworkError, RecipeError
from neuromorph.levels import MAX_TRAINED_N, Levels
from neuromorph.network import OFFSET_LIMIT, Requantize
from neuromorph.training.layers import Activation, DiscreteConv2d, DiscreteLinear, exact_sums
from neuromorph.training.loss import squared_hinge
from neuromorph.training.models import DiscreteNetwork, Stage

__all__ = ["FixedPoint", "adapt", "fine_tune", "fold_rounding", "propose"]

MAX_BITS = 16  # of Z_16, the widest
_ORDER = 0xFFFF0010  # layer number of the draws that order samples in fine-tuning


@dataclass(frozen=True, slots=True)
class FixedPoint:
    """The format Qm.f.

    Parameters
    ----------
    whole : int
        m, bits before the point, the sign among them; may be 0 or less.
    fraction : int
        f, bits behind it; m + f from 2 to 16.

    Raises
    ------
    RecipeError
        Too few or too many bits.

    Examples
    --------
    >>> q = FixedPoint(1, 1)
    >>> str(q), q.maximum, q.levels(torch.tensor([-3.0, -0.25, 0.2, 0.3])).tolist()
    ('Q1.1', 0.5, [-1.0, -1.0, 0.0, 1.0])
    """

    whole: int
    fraction: int

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= MAX_BITS:
            raise RecipeError(f"{self} has {self.bits} bits; fixed point takes 2 to {MAX_BITS}")

    def __str__(self) -> str:
        return f"Q{self.whole}.{self.fraction}"

    @property
    def bits(self) -> int:
        """m + f."""
        return self.whole + self.fraction

    @property
    def top(self) -> int:
        """Largest integer k."""
        return (1 << (self.bits - 1)) - 1

    @property
    def maximum(self) -> float:
        """M, the largest number."""
        return math.ldexp(self.top, -self.fraction)

    @property
    def n(self) -> int:
        """N of the Z_N that holds all k: 1 for two bits, else the bits."""
        return 1 if self.bits == 2 else self.bits

    @property
    def one(self) -> float:
        """The number that the value 1 of that Z_N stands for."""
        return math.ldexp(Levels(self.n).unit, -self.fraction)

    def levels(self, x: Tensor, draw: Tensor | None = None) -> Tensor:
        """Integers k as floats; ``draw`` from [0, 1) makes the rounding stochastic."""
        exact = torch.ldexp(x, torch.tensor(self.fraction))
        if draw is None:
            whole = torch.trunc(exact)  # exact + ½ would round once more
            rounded = whole + torch.sign(exact) * ((exact - whole).abs() >= 0.5)
        else:
            rounded = torch.floor(exact + draw)
        return rounded.clamp(-self.top, self.top)

    def round(self, x: Tensor, draw: Tensor | None = None) -> Tensor:
        """Numbers of the format; the gradient passes straight through."""
        rounded = torch.ldexp(self.levels(x.detach(), draw), torch.tensor(-self.fraction))
        return rounded + (x - x.detach())


def propose(
    values: Tensor, bits: int, *, overflow: float = 0.0, what: str = "values"
) -> tuple[FixedPoint, dict[str, Any]]:
    """The format for some values: as fine as it may be with few of them beyond its range.

    Parameters
    ----------
    values : float tensor
    bits : int
        m + f.
    overflow : float
        Largest share of the non-zero values that may saturate.

    Returns
    -------
    (FixedPoint, dict)
        And ``format``, ``saturated``: share of the non-zero values beyond M,
        ``underflowed``: share of them rounded to 0.

    Raises
    ------
    RecipeError
        Nothing but zeros, values that are not finite, an impossible share.
    """
    if not 0 <= overflow < 1:
        raise RecipeError(f"overflow share is {overflow}; it must be from 0 to below 1")
    size = values.detach().abs().flatten()
    size = size[size > 0]
    if not len(size):
        raise RecipeError(
            f"{what} are all zero on the calibration samples, so no format fits them; "
            "give samples of the training data"
        )
    if not bool(torch.isfinite(size).all()):
        raise RecipeError(f"{what} are not finite, so no format fits them")
    whole = math.frexp(size.max().item())[1] + 2
    best = FixedPoint(whole, bits - whole)
    while True:
        finer = FixedPoint(best.whole - 1, best.fraction + 1)
        # what rounds to M does not saturate
        if (size > finer.maximum + math.ldexp(0.5, -finer.fraction)).float().mean() > overflow:
            break
        best = finer
    saturated = (size > best.maximum + math.ldexp(0.5, -best.fraction)).float().mean().item()
    underflowed = (best.levels(size) == 0).float().mean().item()
    return best, {"format": str(best), "saturated": saturated, "underflowed": underflowed}


class _Fixed:
    """What fixed-point synapses do differently: real weights, rounded at every pass."""

    exact_sum = 1 << 52
    weight: nn.Parameter
    training: bool
    point: FixedPoint

    def sums(self, x: Tensor, weight: Tensor) -> Tensor:
        if not self.training:
            x, weight = x.double(), weight.double()
        summed: Tensor = super().sums(x, weight)  # type: ignore[misc]
        return summed

    def quantized(self) -> tuple[Tensor, Tensor | None]:
        return self.point.round(self.weight) / self.point.one, None

    @property
    def levels(self) -> Tensor:
        return self.point.levels(self.weight.detach()).to(torch.int16)


class _FixedLinear(_Fixed, DiscreteLinear):
    pass


class _FixedConv2d(_Fixed, DiscreteConv2d):
    pass


class _Bias(nn.Module):
    """Sums to numbers, plus a bias of fixed point; in the place of a batch norm.

    A read-out's are float32, as those of any network (see ``Network.scores``).
    """

    unit: Tensor

    def __init__(
        self, unit: Tensor, bias: Tensor, point: FixedPoint, *, reads_out: bool = False
    ) -> None:
        super().__init__()
        self.reads_out = reads_out
        self.register_buffer("unit", unit)
        self.bias, self.point = nn.Parameter(bias.clone()), point

    def affine(self, factor: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.unit, self.point.round(self.bias)

    def forward(self, x: Tensor, factor: Tensor | None = None) -> Tensor:
        shape = (1, -1) + (1,) * (x.ndim - 2)
        scale, shift = self.affine()
        if not self.training:
            x = x.float() if self.reads_out else x.double()
        return x * scale.view(shape) + shift.view(shape)


class _FixedReLU(Activation):
    """ReLU of fixed point, as values of the Z_N that holds its integers."""

    def __init__(self, point: FixedPoint) -> None:
        super().__init__(point.n)
        self.point = point

    def forward(self, x: Tensor) -> Tensor:
        return (self.point.round(F.relu(x)) / self.point.one).float()


@torch.no_grad()
def adapt(
    model: DiscreteNetwork, images: Tensor, bits: int, *, overflow: float = 0.001
) -> tuple[DiscreteNetwork, list[dict[str, Any]]]:
    """A float network in fixed point.

    Parameters
    ----------
    model : DiscreteNetwork
        With float weights and float activations, or what this function made of
        one: its unrounded parameters are then rounded anew.
    images : integer tensor, shape (samples, *shape)
        Calibration samples, of the training part.
    bits : int
        Of every weight, bias and activation, 2 … 16.
    overflow : float
        Share of the non-zero values of a layer that may saturate.

    Returns
    -------
    (DiscreteNetwork, list of dict)
        For each layer ``name`` and what :func:`propose` says of ``weights``,
        ``biases`` and ``activations`` (None for the read-out).

    Raises
    ------
    NetworkError
        A network with discrete parts, or whose layers join several others.
    RecipeError
        Calibration samples on which a layer never fires; impossible bits.
    """
    if not 2 <= bits <= MAX_BITS:
        raise RecipeError(f"bits is {bits}; fixed point takes 2 to {MAX_BITS}")
    model = copy.deepcopy(model).cpu().eval()
    for place, stage in enumerate(model.stages):
        assert isinstance(stage, Stage)
        if [source for source, _ in stage.sources] not in ([], [place - 1]):
            raise NetworkError(
                f"layer {stage.name!r} joins others, whose formats have no unit in common; only a "
                "plain sequence is adapted to fixed point (any float network becomes INT8 by "
                "neuromorph train)"
            )
    report: list[dict[str, Any]] = []
    with exact_sums():
        values = [model.encoder(images)]
    arriving = 1.0  # the number that an arriving value of 1 stands for
    for stage in model.stages:
        assert isinstance(stage, Stage)
        heard = stage.arriving(values)
        sign, shift, folded = _unrounded(stage)
        point, weights = propose(folded, bits, overflow=overflow, what=f"{stage.name}: weights")
        biased, biases = propose(shift, bits, overflow=overflow, what=f"{stage.name}: biases")
        stage.synapses = _fixed(stage.synapses, folded, point)
        unit = sign * (point.one * arriving)
        reads_out = stage.activation is None
        bias = _Bias(unit, shift, biased, reads_out=reads_out)
        stage.norm = bias.train(stage.training)  # type: ignore[assignment]
        row: dict[str, Any] = {"name": stage.name, "weights": weights, "biases": biases}
        if stage.activation is None:
            report.append({**row, "activations": None})
            continue
        with exact_sums():
            stage.activation = Activation(None)  # ReLU
            fired = stage(heard)
            shape, found = propose(
                fired, bits, overflow=overflow, what=f"{stage.name}: activations"
            )
            stage.activation = _FixedReLU(shape)
            values.append(stage(heard))
        arriving = shape.one
        report.append({**row, "activations": found})
    return model, report


def _unrounded(stage: Stage) -> tuple[Tensor, Tensor, Tensor]:
    """Signs of the scales, biases, and weights that hold the size of the scales."""
    weight = stage.synapses.weight
    if isinstance(stage.synapses, _Fixed):
        assert isinstance(stage.norm, _Bias)
        return torch.sign(stage.norm.unit), stage.norm.bias.detach(), weight.detach()
    if stage.synapses.n is not None or (stage.activation and stage.activation.n is not None):
        raise NetworkError(f"layer {stage.name!r} is discrete already; adapt a float network")
    scale, shift = stage.norm.affine()
    # a negative scale stays outside, so that the largest of pooled sums stays the largest
    return torch.sign(scale), shift, weight * scale.abs().view(-1, *(1,) * (weight.ndim - 1))


def _fixed(
    synapses: DiscreteLinear | DiscreteConv2d, weight: Tensor, point: FixedPoint
) -> DiscreteLinear | DiscreteConv2d:
    """Synapses of the same shape that round ``weight`` to ``point``."""
    fixed: Any = copy.deepcopy(synapses)
    fixed.__class__ = _FixedLinear if isinstance(synapses, DiscreteLinear) else _FixedConv2d
    fixed.weight = nn.Parameter(weight.clone())
    fixed.point, fixed.n = point, point.n
    done: DiscreteLinear | DiscreteConv2d = fixed
    return done


@torch.no_grad()
def fold_rounding(stage: Stage, unit: int) -> Requantize | None:
    """Bias, scale and rounding of a fixed-point layer that fires, in whole numbers.

    With sum s and level k, both integers, k = ⌊d·s·2**a + b + ½⌋ between 0 and the
    largest level, for a direction d = ±1, an exponent a and a bias b, all of them
    exact; a nested floor takes the bits of b below those of s away.

    Parameters
    ----------
    stage : Stage
    unit : int
        Integer sum / torch's sum, a power of two; see ``fold.fold_threshold``.

    Returns
    -------
    Requantize or None
        None where thresholds do as well or better: layers of other networks, ternary
        levels, and levels finer than the sums.

    Raises
    ------
    NetworkError
        Levels finer than the sums that are too many for thresholds; a scale so small
        that offsets reach beyond those of ``Requantize``.
    """
    bias, activation = stage.norm, stage.activation
    if not isinstance(bias, _Bias) or not isinstance(activation, _FixedReLU):
        return None
    point = activation.point
    scale = float(bias.unit.abs().max()) / unit
    exponent = math.frexp(scale)[1] - 1 + point.fraction  # a above
    if exponent > 0 and point.n > MAX_TRAINED_N:
        raise NetworkError(
            f"layer {stage.name!r}: its activations of {point.n} bits have {exponent} fractional "
            "bits more than its sums, so thresholds must fold them, which they do up to "
            f"{MAX_TRAINED_N} bits; take {MAX_TRAINED_N} bits"
        )
    if point.n == 1 or exponent > 0:
        return None
    shift = -exponent
    # b + ½ in units of the sums: bias level · 2**(fraction of the level − that of the bias + shift)
    levels = bias.point.levels(bias.bias).to(torch.int64).tolist()
    up = point.fraction - bias.point.fraction + shift
    half = [(k << up if up >= 0 else Fraction(k, 1 << -up)) for k in levels]
    offsets = [math.floor(b + Fraction(1 << shift, 2)) for b in half]
    if max(map(abs, offsets)) > OFFSET_LIMIT:
        raise NetworkError(
            f"layer {stage.name!r}: in units of its sums, which stand for 2**{-shift} of a level, "
            "its offsets reach beyond ±2^52; its scale is too small for fixed point of so many bits"
        )
    return Requantize(
        offsets=np.array(offsets, np.int64),
        shift=shift,
        limits=(0, point.top),
        directions=torch.where(bias.unit < 0, -1, 1).to(torch.int8).numpy(),
        n=point.n,
    )


def fine_tune(
    model: DiscreteNetwork,
    images: Tensor | Callable[[int], Tensor],
    labels: Tensor,
    *,
    epochs: int = 1,
    rate: float = 1e-3,
    batch: int = 100,
    seed: int = 0,
) -> None:
    """Train an adapted network on, in place, by Adam on the unrounded parameters.

    The rate falls linearly to zero; the order of samples is drawn by (seed, epoch).
    ``images`` may be a function that gives those of an epoch, varied anew.
    """
    optimizer = torch.optim.Adam(model.parameters(), rate)
    steps = max(len(labels) // batch, 1)
    model.train()
    for epoch in range(epochs):
        draw = torch.from_numpy(draws.uniform(seed, _ORDER, epoch, list(range(len(labels)))))
        order = draw.argsort(stable=True)
        varied = images(epoch) if callable(images) else images
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = rate * (1 - (epoch + step / steps) / epochs)
            chosen = order[step * batch : (step + 1) * batch]
            loss = squared_hinge(model(varied[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    model.eval()
