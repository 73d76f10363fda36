"""Layers with discrete weights, φ_r, and a batch norm that can be folded exactly.

Tensors are float32.  How a layer comes to its discrete weights is its
*method*: with ``"dst"`` the parameter itself holds values k/K of Z_N and
nothing else, at all times, and only :class:`neuromorph.training.DST` may move
it; the others keep a hidden real weight and quantise it at every pass.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neuromorph.errors import NetworkError, RecipeError
from neuromorph.levels import Levels, Pulse
from neuromorph.training.functional import phi, ternary_tanh, uniform, weight_keys
from neuromorph.training.hidden import quantize_hidden
from neuromorph.training.lossaware import LOSS_AWARE, TWO_SCALES, curvature
from neuromorph.training.recipe import METHODS, Method

__all__ = [
    "Activation",
    "BatchNorm",
    "DiscreteConv2d",
    "DiscreteLinear",
    "exact_sums",
]

# Draws of stochastic signs are numbered apart from those of the transitions.
_SIGN_DRAWS = 0x10000


class _Discrete(nn.Module):
    """A weight in Z_n, by ``method``; or a float weight, with ``n`` None.

    ``n`` and ``method`` are all an optimizer has to know about it.
    """

    exact_sum = 1 << 24  # integers up to here are exact in float32
    weight: nn.Parameter
    steps: Tensor  # of ``stochastic``
    second: Tensor  # of the methods that weigh by the loss; kept by the optimizer's owner

    def __init__(self, shape: tuple[int, ...], n: int | None, method: Method) -> None:
        super().__init__()
        if n is not None and Levels(n).n not in METHODS.get(method, ()):
            able = ", ".join(m for m, spaces in METHODS.items() if n in spaces)
            raise RecipeError(f"method {method!r} cannot make weights of Z_{n}; use one of {able}")
        self.n = n
        self.method: Method = method
        self.weight = nn.Parameter(torch.zeros(shape))
        self._key = (0, 0)
        if method == "stochastic":
            self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        if method in LOSS_AWARE:
            self.register_buffer("second", torch.zeros(shape))  # moment of the loss's gradient

    @torch.no_grad()
    def reset(self, seed: int, layer: int) -> None:
        """Initial weights from the uniform draws of step 0.

        ``dst``: uniform over [−1, 1], snapped to Z_n (§4); for ternary weights
        P(−1, 0, +1) = ¼, ½, ¼.  Hidden weights: uniform over [−1, 1].  Float
        weights: uniform over ± √(6 / fan-in), which keeps the variance of a
        ReLU network (He et al., arXiv 1502.01852).
        """
        self._key = (seed, layer)
        keys = weight_keys(seed, layer, self.weight.numel(), torch.device("cpu"))
        draw = uniform(keys, seed, layer, 0).double()
        if self.n is None:
            values = (2 * draw - 1) * math.sqrt(6 / self.weight[0].numel())
        elif self.method != "dst":
            values = 2 * draw - 1
        else:
            space = Levels(self.n)
            steps = torch.floor(draw * (space.size - 1) + 0.5)
            values = (steps * space.stride - space.maximum) / space.maximum
        self.weight.copy_(values.view_as(self.weight))

    def quantized(self) -> tuple[Tensor, Tensor | None]:
        """The weight that is used, values of Z_n, and a factor for each output (or None).

        The factor is not multiplied in here, so that sums stay exact; it
        belongs to the batch norm that follows.
        """
        if self.n is None or self.method == "dst":
            return self.weight, None
        if self.method in LOSS_AWARE:
            d = curvature(self.second)
            return quantize_hidden(self.weight, self.method, d=d, n=self.n)
        draw = None
        if self.method == "stochastic" and self.training:
            self.steps += 1
            seed, layer = self._key[0], self._key[1] + _SIGN_DRAWS
            keys = weight_keys(seed, layer, self.weight.numel(), self.weight.device)
            draw = uniform(keys, seed, layer, int(self.steps)).view_as(self.weight)
        return quantize_hidden(self.weight, self.method, draw)

    def sums(self, x: Tensor, weight: Tensor) -> Tensor:
        """What arrives and a weight in use to sums, without factor."""
        raise NotImplementedError  # each kind of layer has its own

    def forward(self, x: Tensor) -> Tensor:
        """What arrives to sums · factor."""
        weight, factor = self.quantized()
        sums = self.sums(x, weight)
        return sums if factor is None else sums * factor.view(1, -1, *(1,) * (sums.ndim - 2))

    @property
    def levels(self) -> Tensor:
        """Weights in use as integer levels, int16.

        Raises
        ------
        NetworkError
            Two scales an output: no levels stand for them.
        """
        assert self.n is not None
        if self.method in TWO_SCALES:
            raise NetworkError(
                f"weights by {self.method!r} have two scales an output, which cannot fold into "
                "thresholds; make them levels of Z_8 with neuromorph.training.quantize, or train "
                "by 'lat_exact'"
            )
        training, self.training = self.training, False
        with torch.no_grad():
            values, _ = self.quantized()
        self.training = training
        return (values * Levels(self.n).maximum).round().to(torch.int16)


class DiscreteLinear(_Discrete):
    """Fully connected synapses without bias; weight of shape (out, in)."""

    def __init__(
        self, inputs: int, outputs: int, n: int | None = 1, *, method: Method = "dst"
    ) -> None:
        super().__init__((outputs, inputs), n, method)

    def sums(self, x: Tensor, weight: Tensor) -> Tensor:
        """(batch, in) and a weight in use to sums (batch, out)."""
        return F.linear(x, weight)


class DiscreteConv2d(_Discrete):
    """Convolution without bias; weight of shape (out, in, kernel, kernel), zero padding."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        *,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        n: int | None = 1,
        method: Method = "dst",
    ) -> None:
        super().__init__((outputs, inputs, kernel, kernel), n, method)
        self.stride, self.padding, self.dilation = stride, padding, dilation

    def sums(self, x: Tensor, weight: Tensor) -> Tensor:
        """(batch, in, height, width) and a weight in use to sums (batch, out, …)."""
        return F.conv2d(
            _channels_last(x),
            _channels_last(weight),
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
        )


def _channels_last(x: Tensor) -> Tensor:
    """The same tensor with channels innermost, which torch convolves faster on CPU.

    torch takes a tensor of one channel for either order, so its strides are set by hand.
    """
    if x.shape[1] == 1:
        _, _, height, width = x.shape
        return x.contiguous().as_strided(x.shape, (height * width, 1, width, 1))
    return x.contiguous(memory_format=torch.channels_last)


class BatchNorm(nn.Module):
    """Batch norm whose evaluation is two float32 operations a channel.

    Training: the usual batch statistics.  Evaluation: ``x·scale + shift`` with
    scale = factor·γ/√(var + ε), shift = β − mean·γ/√(var + ε), the product and
    the sum each rounded to float32, so that it is monotone in x and anyone can
    repeat it.
    """

    mean: Tensor
    var: Tensor

    def __init__(self, channels: int, *, eps: float = 1e-4, momentum: float = 0.1) -> None:
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.gamma = nn.Parameter(torch.ones(channels))
        self.beta = nn.Parameter(torch.zeros(channels))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("var", torch.ones(channels))

    def scale(self) -> Tensor:
        """γ/√(var + ε), of shape (channels,)."""
        return self.gamma / torch.sqrt(self.var + self.eps)

    def normalize(self, x: Tensor) -> Tensor:
        """Training: by the statistics of the batch, which the running ones follow."""
        return F.batch_norm(
            x, self.mean, self.var, self.gamma, self.beta, True, self.momentum, self.eps
        )

    def affine(self, factor: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(scale, shift) of evaluation, each of shape (channels,)."""
        scale = self.scale()
        return scale if factor is None else scale * factor, self.beta - self.mean * scale

    def forward(self, x: Tensor, factor: Tensor | None = None) -> Tensor:
        """Normalise x · factor over all axes but the second."""
        shape = (1, -1) + (1,) * (x.ndim - 2)
        if self.training:
            return self.normalize(x if factor is None else x * factor.view(shape))
        scale, shift = self.affine(factor)
        return x * scale.view(shape) + shift.view(shape)


class Activation(nn.Module):
    """φ_r with its window (:func:`neuromorph.training.functional.phi`); ReLU with ``n`` None.

    With ``slope`` = (β at the start, β at the end) it is TernaryNet's ternary
    hyperbolic tangent (arXiv 1801.09449): in training the smooth
    ½ [tanh(β(2x − 1)) + tanh(β(2x + 1))] with its own derivative, β raised by
    :meth:`anneal`; in evaluation what that becomes for β → ∞, φ_r with r = ½.
    """

    def __init__(
        self,
        n: int | None = 1,
        *,
        r: float = 0.5,
        a: float = 0.5,
        h: float = 1.0,
        pulse: Pulse = "rectangular",
        slope: tuple[float, float] | None = None,
    ) -> None:
        super().__init__()
        self.slope, self.beta = slope, 0.0 if slope is None else slope[0]
        self.n, self.r, self.a, self.h = n if n is None else Levels(n).n, r, a, h
        self.pulse: Pulse = pulse

    def anneal(self, t: float) -> None:
        """Set β for the fraction t of the whole schedule; linear from start to end."""
        if self.slope is not None:
            self.beta = self.slope[0] + (self.slope[1] - self.slope[0]) * t

    def forward(self, x: Tensor) -> Tensor:
        """Pre-activations to values k/K of Z_n, or to max(x, 0)."""
        if self.slope is not None and self.training:
            return ternary_tanh(x, self.beta)
        if self.n is None:
            return F.relu(x)
        return phi(x, self.n, r=self.r, a=self.a, h=self.h, pulse=self.pulse)


@contextmanager
def exact_sums() -> Iterator[None]:
    """Keep torch to convolutions that add up products.

    Fast transforms (NNPACK's, those a GPU may find fastest, and its reduced
    precision) round; sums of discrete levels must not.
    """
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, matmul.allow_tf32, cudnn.benchmark
    cudnn.allow_tf32 = matmul.allow_tf32 = cudnn.benchmark = False
    try:
        with torch.backends.nnpack.flags(enabled=False):
            yield
    finally:
        cudnn.allow_tf32, matmul.allow_tf32, cudnn.benchmark = before
