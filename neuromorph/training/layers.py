"""Layers with discrete weights, φ_r, and a batch norm that can be folded exactly.

Tensors are float32.  A discrete weight holds values k/K of Z_N and nothing
else, at all times; only :class:`neuromorph.training.DST` may move it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neuromorph.levels import Levels, Pulse
from neuromorph.training.functional import phi, uniform, weight_keys

__all__ = ["Activation", "BatchNorm", "DiscreteConv2d", "DiscreteLinear", "exact_sums"]


class _Discrete(nn.Module):
    """A weight in Z_n; ``n`` is all an optimizer has to know about it."""

    weight: nn.Parameter

    def __init__(self, shape: tuple[int, ...], n: int) -> None:
        super().__init__()
        self.n = Levels(n).n
        self.weight = nn.Parameter(torch.zeros(shape))

    @torch.no_grad()
    def reset(self, seed: int, layer: int) -> None:
        """Initial states: uniform draws of step 0 over [−1, 1], snapped to Z_n (§4).

        For ternary weights P(−1, 0, +1) = ¼, ½, ¼.
        """
        space = Levels(self.n)
        draw = uniform(
            weight_keys(seed, layer, self.weight.numel(), torch.device("cpu")), seed, layer, 0
        )
        steps = torch.floor(draw.double() * (space.size - 1) + 0.5)
        values = (steps * space.stride - space.maximum) / space.maximum
        self.weight.copy_(values.view_as(self.weight))

    @property
    def levels(self) -> Tensor:
        """Weights as integer levels, int16."""
        return (self.weight.detach() * Levels(self.n).maximum).round().to(torch.int16)


class DiscreteLinear(_Discrete):
    """Fully connected synapses without bias; weight of shape (out, in)."""

    def __init__(self, inputs: int, outputs: int, n: int = 1) -> None:
        super().__init__((outputs, inputs), n)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in) to sums (batch, out)."""
        return F.linear(x, self.weight)


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
        n: int = 1,
    ) -> None:
        super().__init__((outputs, inputs, kernel, kernel), n)
        self.stride, self.padding = stride, padding

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in, height, width) to sums (batch, out, height', width')."""
        return F.conv2d(
            _channels_last(x),
            _channels_last(self.weight),
            stride=self.stride,
            padding=self.padding,
        )


def _channels_last(x: Tensor) -> Tensor:
    """The same tensor with channels innermost: a third less time a step on CPU.

    torch takes a tensor of one channel for either order, so its strides are set by hand.
    """
    if x.shape[1] == 1:
        _, _, height, width = x.shape
        return x.contiguous().as_strided(x.shape, (height * width, 1, width, 1))
    return x.contiguous(memory_format=torch.channels_last)


class BatchNorm(nn.Module):
    """Batch norm whose evaluation is two float32 operations a channel.

    Training: the usual batch statistics.  Evaluation: ``x·scale + shift`` with
    scale = γ/√(var + ε), shift = β − mean·scale, the product and the sum each
    rounded to float32, so that it is monotone in x and anyone can repeat it.
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

    @property
    def affine(self) -> tuple[Tensor, Tensor]:
        """(scale, shift) of evaluation, each of shape (channels,)."""
        scale = self.gamma / torch.sqrt(self.var + self.eps)
        return scale, self.beta - self.mean * scale

    def forward(self, x: Tensor) -> Tensor:
        """Normalise over all axes but the second."""
        if self.training:
            return F.batch_norm(
                x, self.mean, self.var, self.gamma, self.beta, True, self.momentum, self.eps
            )
        shape = (1, -1) + (1,) * (x.ndim - 2)
        scale, shift = self.affine
        return x * scale.view(shape) + shift.view(shape)


class Activation(nn.Module):
    """φ_r with its window; see :func:`neuromorph.training.functional.phi`."""

    def __init__(
        self, n: int = 1, *, r: float = 0.5, a: float = 0.5, pulse: Pulse = "rectangular"
    ) -> None:
        super().__init__()
        self.n, self.r, self.a = Levels(n).n, r, a
        self.pulse: Pulse = pulse

    def forward(self, x: Tensor) -> Tensor:
        """Pre-activations to values k/K of Z_n."""
        return phi(x, self.n, r=self.r, a=self.a, pulse=self.pulse)


@contextmanager
def exact_sums() -> Iterator[None]:
    """Keep torch to convolutions that add up products.

    Fast transforms (NNPACK's, and reduced precision on GPUs) round; sums of
    discrete levels must not.
    """
    tf32 = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        with torch.backends.nnpack.flags(enabled=False):
            yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = tf32
