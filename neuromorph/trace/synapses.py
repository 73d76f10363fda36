"""From packets to single synaptic events.

A packet carries a level from one neuron to one core.  There it meets every
synapse of that neuron on the core; those with a non-zero weight are its
events, in ascending order of the target neuron.

For input position (Y, X) a kernel tap (ky, kx) belongs to the neuron at
y = (Y + padding − ky · dilation) / stride, if that is a whole number inside the slice;
likewise x.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromorph.mapping import Mapping
from neuromorph.network import Stage

__all__ = ["EVENT_COLUMNS", "Expansion"]

Ints = NDArray[np.int64]

EVENT_COLUMNS = ("sample", "tick", "core", "layer", "source", "target", "level", "weight")


class Expansion:
    """Tables of all synapses of a mapping, by table row and input channel.

    A kernel is stored once for all the positions it is used at, so that memory
    does not grow with the image.
    """

    def __init__(self, mapping: Mapping) -> None:
        stages = mapping.network.stages
        rows = mapping.rows
        self._core = mapping.row_cores
        self._layer = np.zeros(rows, np.int64)
        self._area = np.ones(rows, np.int64)  # positions of one input channel
        self._image_width = np.ones(rows, np.int64)
        self._sum_area = np.ones(rows, np.int64)
        self._sum_width = np.ones(rows, np.int64)
        self._stride, self._padding = np.ones((2, rows), np.int64), np.zeros((2, rows), np.int64)
        self._low, self._high = np.zeros((2, rows), np.int64), np.ones((2, rows), np.int64)
        self._first = np.zeros(rows, np.int64)  # place of channel 0 in ``_edges``
        kernels: dict[tuple[int, tuple[int, int]], int] = {}
        parts: list[tuple[Ints, ...]] = []
        edges: list[Ints] = []
        places = entries = 0
        for row, s in enumerate(mapping.slices, start=1):
            stage = stages[s.stage]
            self._layer[row] = s.stage + 1
            self._area[row] = stage.input_shape[1] * stage.input_shape[2]
            self._image_width[row] = stage.input_shape[2]
            self._sum_area[row] = stage.sum_shape[1] * stage.sum_shape[2]
            self._sum_width[row] = stage.sum_shape[2]
            self._stride[:, row] = stage.stride
            self._padding[:, row] = stage.padding
            self._low[:, row] = s.sum_rows[0], s.sum_columns[0]
            self._high[:, row] = s.sum_rows[1], s.sum_columns[1]
            key = (s.stage, s.channels)
            if key not in kernels:
                kernels[key] = places
                starts, table = _kernel(stage, s.channels)
                edges.append(starts + entries)
                parts.append(table)
                places += len(starts)
                entries += int(starts[-1])
            self._first[row] = kernels[key]
        self._edges = np.concatenate(edges)
        self._channel, self._ky, self._kx, self._weight = (
            np.concatenate([part[i] for part in parts]) for i in range(4)
        )
        self._is_point = all(s.weights.shape[2:] == (1, 1) for s in stages) and all(
            s.sum_shape[1:] == (1, 1) and s.input_shape[1:] == (1, 1) for s in stages
        )

    def expand(self, packets: dict[str, NDArray[Any]], batch: int) -> Iterator[dict[str, Ints]]:
        """Events of spike packets, at most about ``batch`` at a time.

        Parameters
        ----------
        packets : columns of spikes (no tokens), each shape (packets,)
        batch : int
            Table entries looked at in one go; one packet may exceed it.

        Yields
        ------
        dict of int64 arrays, shape (events,), names :data:`EVENT_COLUMNS`
        """
        row = packets["target"].astype(np.int64)
        neuron = packets["neuron"].astype(np.int64)
        place = self._first[row] + neuron // self._area[row]
        start, stop = self._edges[place], self._edges[place + 1]
        ends = np.cumsum(stop - start)
        done, first = 0, 0
        while first < len(row):
            last = max(int(np.searchsorted(ends, done + batch, side="right")), first + 1)
            cut = slice(first, last)
            yield self._expand(
                {name: values[cut] for name, values in packets.items()},
                row[cut],
                start[cut],
                stop[cut] - start[cut],
            )
            done, first = int(ends[last - 1]), last

    def _expand(
        self, packets: dict[str, NDArray[Any]], row: Ints, start: Ints, lengths: Ints
    ) -> dict[str, Ints]:
        total = int(lengths.sum())
        packet = np.repeat(np.arange(len(row)), lengths)
        before = np.cumsum(lengths) - lengths
        entry = np.arange(total) + np.repeat(start - before, lengths)
        target = self._channel[entry].astype(np.int64)
        if not self._is_point:
            at = row[packet]
            y, x = np.divmod(
                packets["neuron"].astype(np.int64) % self._area[row], self._image_width[row]
            )
            inside = np.ones(total, bool)
            found = []
            for axis, position, tap in ((0, y, self._ky), (1, x, self._kx)):
                stride = self._stride[axis][row][packet]
                shifted = (position + self._padding[axis][row])[packet] - tap[entry]
                place = shifted // stride
                inside &= place * stride == shifted
                inside &= (place >= self._low[axis][at]) & (place < self._high[axis][at])
                found.append(place)
            target = target * self._sum_area[at] + found[0] * self._sum_width[at] + found[1]
            packet, entry, target = packet[inside], entry[inside], target[inside]
        return {
            "sample": packets["sample"].astype(np.int64)[packet],
            "tick": packets["delivered"].astype(np.int64)[packet],
            "core": self._core[row][packet],
            "layer": self._layer[row][packet],
            "source": packets["neuron"].astype(np.int64)[packet],
            "target": target,
            "level": packets["payload"].astype(np.int64)[packet],
            "weight": self._weight[entry].astype(np.int64),
        }


def _kernel(stage: Stage, channels: tuple[int, int]) -> tuple[Ints, tuple[NDArray[Any], ...]]:
    """Non-zero weights of some output channels, by input channel.

    Within an input channel they stand by ascending output channel, then
    descending tap (given in pixels): so the neurons they belong to ascend.
    """
    by_input = stage.weights[slice(*channels)].transpose(1, 0, 2, 3)[:, :, ::-1, ::-1]
    inputs, outputs, ky, kx = np.nonzero(by_input)
    weights = by_input[inputs, outputs, ky, kx]
    starts = np.searchsorted(inputs, np.arange(by_input.shape[0] + 1))
    height, width = by_input.shape[2:]
    return starts, (
        (outputs + channels[0]).astype(np.int32),
        ((height - 1 - ky) * stage.dilation[0]).astype(np.int32),
        ((width - 1 - kx) * stage.dilation[1]).astype(np.int32),
        weights.astype(np.int16),
    )
