"""Slices: the box of one layer that sits on one core."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from neuromorph.chip import Chip
from neuromorph.network import Stage

__all__ = [
    "Range",
    "Slice",
    "axons_in",
    "channels_heard",
    "cut",
    "input_range",
    "owner_rows",
    "source_run",
    "source_tiles",
    "sum_range",
    "tap_counts",
]

Range = tuple[int, int]
_Ends = TypeVar("_Ends", int, NDArray[np.int64])


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """Part of a layer on one core: a box of channels, rows and columns.

    ``rows`` and ``columns`` bound the outputs (after the pool), ``sum_rows``
    and ``sum_columns`` the neurons behind them, ``input_rows`` and
    ``input_columns`` the part of the input image they see, ``inputs`` its
    channels that they hear.  All ranges are half open.

    Where the fan-in is split, slices of one box hear different channels.  The
    one that hears the first *owns* the neurons: the others send it their
    partial sums.
    """

    stage: int
    layer: str
    core: int
    channels: Range
    rows: Range
    columns: Range
    sum_rows: Range
    sum_columns: Range
    input_rows: Range
    input_columns: Range
    inputs: Range

    @property
    def box(self) -> tuple[Range, Range, Range]:
        """Channels, rows and columns of the outputs."""
        return self.channels, self.rows, self.columns

    @property
    def owns(self) -> bool:
        """Whether the neurons are thresholded here, or their partial sums leave."""
        return self.inputs[0] == 0

    @property
    def window(self) -> int:
        """Levels in the window, up-sampled pixels as often as it has them."""
        return _size(self.inputs) * _size(self.input_rows) * _size(self.input_columns)

    @property
    def neurons(self) -> int:
        """Neurons on the core (before the pool)."""
        return _size(self.channels) * _size(self.sum_rows) * _size(self.sum_columns)

    @property
    def outputs(self) -> int:
        """Neurons whose levels leave the core (after the pool)."""
        return _size(self.channels) * _size(self.rows) * _size(self.columns)


def _size(r: Range) -> int:
    return r[1] - r[0]


def cut(size: int, parts: int) -> list[Range]:
    """``size`` things in ``parts`` runs whose lengths differ by at most one."""
    edges = [size * i // parts for i in range(parts + 1)]
    return list(pairwise(edges))


def sum_range(stage: Stage, axis: int, outputs: Range) -> Range:
    """Neurons (axis 0 rows, 1 columns) behind a run of outputs.

    Neurons that no window covers go with the last output, so that every
    neuron belongs to exactly one slice.
    """
    neurons = stage.sum_shape[1 + axis]
    if stage.pool is None:
        return outputs
    stride = stage.pool.stride[axis]
    last = outputs[1] == stage.output_shape[1 + axis]
    return outputs[0] * stride, neurons if last else outputs[1] * stride


def input_range(stage: Stage, axis: int, sums: Range) -> Range:
    """Part of the input image (rows or columns) that a run of neurons sees."""
    size = stage.input_shape[1 + axis]
    low = sums[0] * stage.stride[axis] - stage.padding[axis]
    high = (sums[1] - 1) * stage.stride[axis] - stage.padding[axis] + stage.extent[axis]
    return min(max(low, 0), size), max(min(high, size), 0)


def source_run(low: _Ends, high: _Ends, factor: int) -> tuple[_Ends, _Ends]:
    """Pixels of a source that make up pixels low … high of it up-sampled by ``factor``."""
    return low // factor, -(-high // factor)


def channels_heard(stage: Stage, inputs: Range) -> list[int]:
    """How many of the channels of each source are among some of the input channels."""
    if len(stage.sources) == 1:
        return [_size(inputs)]  # of a flattened image, its pixels
    return [
        max(min(inputs[1], s.first + s.shape[0]) - max(inputs[0], s.first), 0)
        for s in stage.sources
    ]


def axons_in(stage: Stage, s: Slice) -> int:
    """Neurons that a slice hears; an up-sampled pixel is one, however often it is seen."""
    total = 0
    for source, channels in zip(stage.sources, channels_heard(stage, s.inputs)):
        runs = (source_run(*run, source.upsample) for run in (s.input_rows, s.input_columns))
        total += channels * math.prod(map(_size, runs))
    return total


def tap_counts(stage: Stage, axis: int, sums: Range) -> NDArray[np.int64]:
    """For each input row (or column): how many (neuron, tap) pairs of the run it meets."""
    size = stage.input_shape[1 + axis]
    reached = (np.arange(*sums)[:, None] * stage.stride[axis] + stage.taps(axis)).ravel()
    reached = reached[(reached >= 0) & (reached < size)]
    return np.bincount(reached, minlength=size).astype(np.int64)


def source_tiles(chip: Chip, slices: tuple[Slice, ...], inputs: int) -> NDArray[np.int64]:
    """(column, row) of the tile of everything that sends, shape (sources, 2).

    The first input port, the slices, then further ports; no more ports than inputs.
    """
    first, *more = chip.port_tiles[:inputs]
    return np.array([first, *(chip.tile(s.core) for s in slices), *more], np.int64)


def owner_rows(slices: tuple[Slice, ...]) -> NDArray[np.int64]:
    """For each row: the row that owns its neurons; row 0 owns itself."""
    owns = {(s.stage, s.box): row for row, s in enumerate(slices, start=1) if s.owns}
    return np.array([0, *(owns[s.stage, s.box] for s in slices)], np.int64)
