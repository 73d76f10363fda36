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
Events = tuple[Ints, NDArray[np.int32], NDArray[np.int32]]  # of packets: number, target, weight
Tables = tuple[Ints, Ints, NDArray[np.int32], NDArray[np.int32]]

LARGEST_TABLE = 1 << 24  # synapses that are kept one by one, 8 bytes each
TABLE_PART = 1 << 12  # input neurons whose synapses are made in one go

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
        self._sum_width = np.ones(rows, np.int64)
        self._stride, self._padding = np.ones((2, rows), np.int64), np.zeros((2, rows), np.int64)
        self._low, self._high = np.zeros((2, rows), np.int64), np.ones((2, rows), np.int64)
        self._first = np.zeros(rows, np.int64)  # place of channel 0 in ``_edges``
        self._inputs = np.zeros(rows, np.int64)
        self._seen = [np.zeros(0, np.int64)]  # inputs that reach each row
        self._all = 0  # synapses that all inputs together have at all rows, at most
        self._looked = 0
        self._tables: Tables | None = None
        kernels: dict[tuple[int, tuple[int, int]], int] = {}
        sizes: dict[tuple[int, tuple[int, int]], int] = {}  # non-zero weights
        parts: list[tuple[Ints, ...]] = []
        edges: list[Ints] = []
        places = entries = 0
        for row, s in enumerate(mapping.slices, start=1):
            stage = stages[s.stage]
            self._layer[row] = s.stage + 1
            self._area[row] = stage.input_shape[1] * stage.input_shape[2]
            self._image_width[row] = stage.input_shape[2]
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
                sizes[key] = int(starts[-1])
            self._first[row] = kernels[key]
            self._inputs[row] = stage.inputs
            numbers = np.arange(stage.inputs).reshape(stage.input_shape)
            seen = numbers[:, slice(*s.input_rows), slice(*s.input_columns)].ravel()
            self._seen.append(seen)
            self._all += len(seen) // stage.input_shape[0] * sizes[key]
        self._edges = np.concatenate(edges)
        target, tap_y, tap_x, rest_y, rest_x, weight = (
            np.concatenate([part[i] for part in parts]) for i in range(6)
        )
        self._target, self._weight = target, weight
        self._tap, self._rest = (tap_y, tap_x), (rest_y, rest_x)
        self._is_strided = any(s.stride != (1, 1) for s in stages)
        self._is_point = all(s.weights.shape[2:] == (1, 1) for s in stages) and all(
            s.sum_shape[1:] == (1, 1) and s.input_shape[1:] == (1, 1) for s in stages
        )

    def expand(self, packets: dict[str, NDArray[Any]], batch: int) -> Iterator[dict[str, Ints]]:
        """Events of spike packets, at most about ``batch`` at a time.

        Parameters
        ----------
        packets : columns of spikes (no tokens), each shape (packets,)
        batch : int
            Synapses looked at in one go; one packet may exceed it.

        Yields
        ------
        dict of int arrays, shape (events,), names :data:`EVENT_COLUMNS`
        """
        row = packets["target"].astype(np.int64)
        neuron = packets["neuron"].astype(np.int64)
        place = self._first[row] + neuron // self._area[row]
        ends = np.cumsum(self._edges[place + 1] - self._edges[place])
        done, first = 0, 0
        while first < len(row):
            last = max(int(np.searchsorted(ends, done + batch, side="right")), first + 1)
            cut = slice(first, last)
            part = {name: values[cut] for name, values in packets.items()}
            looked = int(ends[last - 1]) - done
            self._looked += looked
            if self._looked > self._all <= LARGEST_TABLE:
                # so many were made one by one that all of them would have been made by now
                if self._tables is None:
                    self._tables = self._all_events()
                events = self._look_up(row[cut], neuron[cut])
            else:
                events = self._compute(row[cut], neuron[cut])
            lengths, target, weight = events
            yield self._columns(part, row[cut], neuron[cut], lengths, target, weight)
            done, first = int(ends[last - 1]), last

    def _columns(
        self,
        packets: dict[str, NDArray[Any]],
        row: Ints,
        neuron: Ints,
        lengths: Ints,
        target: NDArray[np.int32],
        weight: NDArray[np.int32],
    ) -> dict[str, Ints]:
        """What an event takes from its packet, beside what it takes from its synapse."""
        of_packet: dict[str, NDArray[Any]] = {
            "sample": packets["sample"].astype(np.int64),
            "tick": packets["delivered"].astype(np.int64, copy=False),
            "core": self._core[row].astype(np.int32),
            "layer": self._layer[row].astype(np.int32),
            "source": neuron.astype(np.int32),
            "level": packets["payload"].astype(np.int32),
        }
        events: dict[str, NDArray[Any]] = {}
        for name, values in of_packet.items():
            events[name] = np.repeat(values, lengths)
        events |= {"target": target, "weight": weight}
        return {name: events[name] for name in EVENT_COLUMNS}

    def _compute(self, row: Ints, neuron: Ints) -> Events:
        """Events of each packet: how many, their targets and weights."""
        place = self._first[row] + neuron // self._area[row]
        start = self._edges[place]
        lengths = self._edges[place + 1] - start
        entry = _ranges(start, lengths)
        if self._is_point:
            return lengths, self._target[entry], self._weight[entry]
        inside = np.ones(len(entry), bool)
        base = np.zeros(len(row), np.int64)
        places = np.divmod(neuron % self._area[row], self._image_width[row])
        for axis, width in ((0, self._sum_width[row]), (1, 1)):
            # of (place + padding − tap) / stride the whole part, and whether it is whole
            at, rest = np.divmod(places[axis] + self._padding[axis][row], self._stride[axis][row])
            base += at * width
            tap = self._tap[axis][entry]
            inside &= tap <= np.repeat((at - self._low[axis][row]).astype(np.int32), lengths)
            inside &= tap > np.repeat((at - self._high[axis][row]).astype(np.int32), lengths)
            if self._is_strided:
                inside &= self._rest[axis][entry] == np.repeat(rest.astype(np.int32), lengths)
        ends = np.concatenate([[0], np.cumsum(inside)])
        lengths = np.diff(ends[np.concatenate([[0], np.cumsum(lengths)])])
        entry = entry[inside]
        target = np.repeat(base.astype(np.int32), lengths)
        target += self._target[entry]
        return lengths, target, self._weight[entry]

    def _all_events(self) -> Tables:
        """The events of every input neuron at every row, made once."""
        rows = np.repeat(np.arange(len(self._seen)), [len(seen) for seen in self._seen])
        neurons = np.concatenate(self._seen)
        parts = []
        for start in range(0, len(rows), TABLE_PART):
            cut = slice(start, start + TABLE_PART)
            parts.append(self._compute(rows[cut], neurons[cut]))
        lengths, targets, weights = (np.concatenate([p[i] for p in parts]) for i in range(3))
        first = np.concatenate([[0], np.cumsum(self._inputs)])
        numbers = np.zeros(first[-1], np.int64)
        numbers[first[rows] + neurons] = lengths
        return first, np.concatenate([[0], np.cumsum(numbers)]), targets, weights

    def _look_up(self, row: Ints, neuron: Ints) -> Events:
        """As :meth:`_compute`, from the tables."""
        assert self._tables is not None
        first, edges, targets, weights = self._tables
        place = first[row] + neuron
        start = edges[place]
        lengths = edges[place + 1] - start
        entry = _ranges(start, lengths)
        return lengths, targets[entry], weights[entry]


def _ranges(starts: Ints, lengths: Ints) -> Ints:
    """``arange(start, start + length)`` of each, one after the other."""
    ends = np.cumsum(lengths)
    entry = np.repeat(starts - (ends - lengths), lengths)
    entry += np.arange(len(entry))
    return entry


def _kernel(stage: Stage, channels: tuple[int, int]) -> tuple[Ints, tuple[NDArray[Any], ...]]:
    """Non-zero weights of some output channels, by input channel.

    Within an input channel they stand by ascending output channel, then
    descending tap (given in pixels): so the neurons they belong to ascend.  With
    a tap of stride · quotient + rest, and likewise place + padding, the neuron is at the
    difference of the quotients if the rests agree.  Columns: what the weight
    adds to the flat number of the neuron, quotients, rests, the weight itself.
    """
    by_input = stage.weights[slice(*channels)].transpose(1, 0, 2, 3)[:, :, ::-1, ::-1]
    inputs, outputs, ky, kx = np.nonzero(by_input)
    weights = by_input[inputs, outputs, ky, kx]
    starts = np.searchsorted(inputs, np.arange(by_input.shape[0] + 1))
    height, width = by_input.shape[2:]
    tap_y, rest_y = np.divmod((height - 1 - ky) * stage.dilation[0], stage.stride[0])
    tap_x, rest_x = np.divmod((width - 1 - kx) * stage.dilation[1], stage.stride[1])
    _, rows, columns = stage.sum_shape
    target = ((outputs + channels[0]) * rows - tap_y) * columns - tap_x
    columns_of = (target, tap_y, tap_x, rest_y, rest_x, weights)
    return starts, tuple(values.astype(np.int32) for values in columns_of)
