"""One layer of neurons in the lowered form that engines and mapping share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromorph.levels import Levels

__all__ = ["INT32_SUM", "Pool", "Rounding", "Source", "Stage", "kernel_extent"]

INT32_SUM = 2**31 - 2  # so thresholds can mean "always" and "never"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pool:
    """Max-pool as the chip does it: on levels, after the threshold.

    ``minimum[c]`` is set where the maximum of the sums is the minimum of the
    levels (pooled before a threshold of negative direction).
    """

    size: tuple[int, int]
    stride: tuple[int, int]
    minimum: NDArray[np.bool_]

    @property
    def overlaps(self) -> bool:
        """Whether windows share neurons."""
        return self.size[0] > self.stride[0] or self.size[1] > self.stride[1]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rounding:
    """How sums become levels of fixed point; see :class:`neuromorph.network.Requantize`."""

    offsets: NDArray[np.int64]
    shift: int
    low: int
    high: int

    def levels(self, directed: NDArray[Any]) -> NDArray[np.int64]:
        """Sums times direction, (…, channel, row, column), to levels."""
        moved = (directed + self.offsets[:, None, None]) >> self.shift
        return np.clip(moved, self.low, self.high)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One of the layers that a layer hears.

    ``stage`` is its position in ``Network.stages``, −1 for the input; ``shape``
    (channels, height, width) what leaves it.  Every pixel arrives as a square
    of ``upsample`` × ``upsample`` pixels; its channels arrive from ``first`` on.
    """

    stage: int
    shape: tuple[int, int, int]
    upsample: int = 1
    first: int = 0

    @property
    def arriving(self) -> tuple[int, int, int]:
        """(channels, height, width) of what arrives of it."""
        channels, height, width = self.shape
        return channels, height * self.upsample, width * self.upsample


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stage:
    """One layer of neurons with its synapses: weights → sums → levels → pool.

    A linear layer is a convolution of a 1×1 image.  Shapes are (channels,
    height, width) without the batch axis:

    ``input_shape`` what arrives, ``sum_shape`` the neurons, ``output_shape``
    what leaves after the pool.  What arrives is what leaves the ``sources``,
    joined along channels; flattened where it meets a linear layer.
    """

    name: str
    sources: tuple[Source, ...]
    weights: NDArray[Any]  # (out_channels, in_channels, kernel_height, kernel_width)
    weight_levels: Levels
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    input_shape: tuple[int, int, int]
    sum_shape: tuple[int, int, int]
    output_shape: tuple[int, int, int]
    thresholds: NDArray[np.int32] | None  # of levels by threshold
    rounding: Rounding | None  # of levels of fixed point; None, as thresholds, for the read-out
    directions: NDArray[np.int8] | None
    levels: Levels | None
    pool: Pool | None
    input_maximum: int  # largest magnitude of an arriving level
    spikes_per_input: int  # spikes one arriving neuron can send in a frame

    @property
    def neurons(self) -> int:
        """Number of neurons (before the pool)."""
        return int(np.prod(self.sum_shape))

    @property
    def outputs(self) -> int:
        """Number of neurons whose levels leave (after the pool)."""
        return int(np.prod(self.output_shape))

    @property
    def inputs(self) -> int:
        """Number of neurons that send to this layer."""
        return int(np.prod(self.input_shape))

    @property
    def joins(self) -> bool:
        """Whether what arrives is more than what leaves one source, as it is."""
        return len(self.sources) > 1 or self.sources[0].upsample > 1

    @property
    def largest_sum(self) -> int:
        """No sum exceeds this magnitude, whatever arrives: Σ |weight| · input_maximum."""
        reach = np.abs(self.weights.astype(np.int64)).sum(axis=(1, 2, 3))
        return int(reach.max()) * self.input_maximum

    @property
    def sum_dtype(self) -> np.dtype[Any]:
        """int32, or int64 where a sum may be wider."""
        widest = -int(np.iinfo(self.weights.dtype).min)  # mostly spares a look at the weights
        is_short = self.fan_in * widest * self.input_maximum <= INT32_SUM
        return np.dtype(np.int32 if is_short or self.largest_sum <= INT32_SUM else np.int64)

    @property
    def weight_bits(self) -> int:
        """Bits that a chip stores a weight with: N of Z_N, one more where a weight is +K.

        Two's complement of N bits holds −K … K − 1, so levels −128 … 127 of Z_8 take
        8 bits, 128 a ninth.  Ternary levels take 2, binary ones 1.
        """
        space = self.weight_levels
        if space.n < 2:
            return space.bits
        return space.n + bool(self.weights.max() == space.unit)

    @property
    def level_bits(self) -> int:
        """Bits of a level that leaves, sign included."""
        assert self.levels is not None
        if self.rounding is not None:
            return self.highest_level.bit_length() + 1
        return min(self.levels.bits, 8)  # 8-bit networks use half of Z_8: 129 levels

    @property
    def highest_level(self) -> int:
        """Largest magnitude of a level that leaves."""
        assert self.levels is not None
        if self.rounding is not None:
            return max(abs(self.rounding.low), abs(self.rounding.high))
        return self.levels.maximum

    @property
    def is_readout(self) -> bool:
        """Whether this is the last layer, read out as sums."""
        return self.levels is None

    @property
    def fan_in(self) -> int:
        """Synapses of one neuron (inside the image)."""
        return int(np.prod(self.weights.shape[1:]))

    @property
    def synapses(self) -> int:
        """Number of (input neuron, neuron) pairs; padding makes none."""
        first, last = zip(*(self.tap_range(axis) for axis in (0, 1)))
        rows, columns = (int(np.maximum(b - a, 0).sum()) for a, b in zip(first, last))
        return int(self.weights.shape[0] * self.weights.shape[1] * rows * columns)

    @property
    def extent(self) -> tuple[int, int]:
        """Rows and columns from the first tap of a kernel to its last."""
        return kernel_extent(self.weights.shape[2:], self.dilation)

    def taps(self, axis: int) -> NDArray[np.int64]:
        """For each tap of an axis, where neuron 0 meets the image (below 0: in the padding)."""
        return np.arange(self.weights.shape[2 + axis]) * self.dilation[axis] - self.padding[axis]

    def tap_range(self, axis: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """For each tap of an axis the neurons [first, last) that meet the image through it."""
        stride, size, neurons = (
            self.stride[axis],
            self.input_shape[1 + axis],
            self.sum_shape[1 + axis],
        )
        taps = self.taps(axis)  # neuron n meets n · stride + tap
        first, last = -(taps // stride), (size - 1 - taps) // stride + 1
        return np.clip(first, 0, neurons), np.clip(last, 0, neurons)


def kernel_extent(kernel: Sequence[int], dilation: Sequence[int]) -> tuple[int, int]:
    height, width = ((kernel[a] - 1) * dilation[a] + 1 for a in (0, 1))
    return height, width
