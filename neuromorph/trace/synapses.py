"""From packets to single synaptic events.

A packet carries a level from one neuron to one core.  There it meets every
synapse of that neuron on the core; those with a non-zero weight are its
events, in ascending order of the target neuron.

For input position (Y, X) a kernel tap (ky, kx) belongs to the neuron at
y = (Y + padding − ky · dilation) / stride, if that is a whole number inside the slice;
likewise x.  Of an up-sampled layer every neuron stands for a square of positions.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromorph.mapping import Mapping
from neuromorph.network import Stage

__all__ = ["EVENT_COLUMNS", "Expansion"]

Ints = NDArray[np.int64]
Int32s = NDArray[np.int32]
Events = tuple[Ints, Int32s, Int32s]  # of packets: number, target, weight
Tables = tuple[Ints, Ints, Int32s, Int32s]

LARGEST_TABLE = 1 << 24  # synapses that are kept one by one, 8 bytes each
TABLE_PART = 1 << 12  # input neurons whose synapses are made in one go

EVENT_COLUMNS = (
    "sample", "tick", "core", "layer", "source_layer", "source", "target", "level", "weight",
)  # fmt: skip


class Expansion:
    """Tables of all synapses of a mapping, by port and input channel.

    A *port* is a table row with one of the layers it hears.  A kernel is stored
    once for all the positions it is used at, so that memory does not grow with
    the image.
    """

    def __init__(self, mapping: Mapping) -> None:
        stages = mapping.network.stages
        layers = [s.stage + 1 for s in mapping.slices]
        # layer of each source: the rows, then further input ports
        self._sender = np.array([0, *layers, *[0] * (len(mapping.ports) - 1)])
        self._port = np.full((mapping.rows, len(stages)), -1)  # of (row, layer of the sender)
        kernels: dict[tuple[int, tuple[int, int]], tuple[int, Ints]] = {}
        parts: list[tuple[Int32s, ...]] = []
        edges: list[Ints] = []
        seen: list[Ints] = []  # inputs that reach each port
        about: list[tuple[int, ...]] = []
        places = entries = 0
        self._all = 0  # synapses that all inputs together have at all ports, at most
        for row, s in enumerate(mapping.slices, start=1):
            stage = stages[s.stage]
            key = (s.stage, s.channels)
            if key not in kernels:
                starts, table = _kernel(stage, s.channels)
                kernels[key] = places, starts
                edges.append(starts + entries)
                parts.append(table)
                places += len(starts)
                entries += int(starts[-1])
            for source in stage.sources:
                shape, first, up = stage.input_shape, 0, 1
                if stage.joins:
                    shape, first, up = source.shape, source.first, source.upsample
                self._port[row, source.stage + 1] = len(about)
                about.append(
                    (
                        int(mapping.row_cores[row]),
                        s.stage + 1,
                        kernels[key][0] + first,
                        up,
                        *shape,
                        stage.sum_shape[2],
                        *stage.stride,
                        *stage.padding,
                        *(edge[0] for edge in (s.sum_rows, s.sum_columns)),
                        *(edge[1] for edge in (s.sum_rows, s.sum_columns)),
                    )
                )
                numbers = np.arange(prod(shape)).reshape(shape)
                rows, columns = (
                    slice(edge[0] // up, -(-edge[1] // up))
                    for edge in (s.input_rows, s.input_columns)
                )
                seen.append(numbers[:, rows, columns].ravel())
                starts = kernels[key][1]
                synapses = int(starts[first + shape[0]] - starts[first])
                self._all += len(seen[-1]) // shape[0] * up * up * synapses
        table_of = np.array(about).T.reshape(16, -1)
        self._core, self._layer, self._first, self._up = table_of[:4]
        self._area, self._width = table_of[5] * table_of[6], table_of[6]
        self._inputs = table_of[4] * self._area
        self._sum_width, self._stride, self._padding = table_of[7], table_of[8:10], table_of[10:12]
        self._low, self._high = table_of[12:14], table_of[14:16]
        self._seen = seen
        self._looked = 0
        self._tables: Tables | None = None
        self._edges = np.concatenate(edges)
        target, tap_y, tap_x, rest_y, rest_x, weight = (
            np.concatenate([part[i] for part in parts]) for i in range(6)
        )
        self._target, self._weight = target, weight
        self._tap, self._rest = (tap_y, tap_x), (rest_y, rest_x)
        self._is_strided = any(s.stride != (1, 1) for s in stages)
        self._is_upsampled = bool((self._up > 1).any())
        self._is_point = all(s.weights.shape[2:] == (1, 1) for s in stages) and all(
            s.sum_shape[1:] == (1, 1) and s.input_shape[1:] == (1, 1) for s in stages
        )

    def fits(self, packets: dict[str, NDArray[Any]]) -> bool:
        """Whether rows and neurons are there, and the targets hear the sources."""
        source, target = packets["source"].astype(np.int64), packets["target"].astype(np.int64)
        if (np.maximum(source, target) >= len(self._sender)).any():
            return False
        port = self._port[target, np.minimum(self._sender[source], self._port.shape[1] - 1)]
        is_heard = (port >= 0) & (self._sender[source] < self._port.shape[1])
        return bool((is_heard & (packets["neuron"] < self._inputs[port])).all())

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
        layer = self._sender[packets["source"].astype(np.int64)]
        port = self._port[packets["target"].astype(np.int64), layer]
        neuron = packets["neuron"].astype(np.int64)
        place = self._first[port] + neuron // self._area[port]
        ends = np.cumsum((self._edges[place + 1] - self._edges[place]) * self._up[port] ** 2)
        done, first = 0, 0
        while first < len(port):
            last = max(int(np.searchsorted(ends, done + batch, side="right")), first + 1)
            cut = slice(first, last)
            part = {name: values[cut] for name, values in packets.items()}
            looked = int(ends[last - 1]) - done
            self._looked += looked
            if self._looked > self._all <= LARGEST_TABLE:
                # so many were made one by one that all of them would have been made by now
                if self._tables is None:
                    self._tables = self._all_events()
                events = self._look_up(port[cut], neuron[cut])
            else:
                events = self._compute(port[cut], neuron[cut])
            yield self._columns(part, port[cut], layer[cut], *events)
            done, first = int(ends[last - 1]), last

    def _columns(
        self,
        packets: dict[str, NDArray[Any]],
        port: Ints,
        layer: Ints,
        lengths: Ints,
        target: Int32s,
        weight: Int32s,
    ) -> dict[str, Ints]:
        """What an event takes from its packet, beside what it takes from its synapse."""
        of_packet: dict[str, NDArray[Any]] = {
            "sample": packets["sample"].astype(np.int64),
            "tick": packets["delivered"].astype(np.int64, copy=False),
            "core": self._core[port].astype(np.int32),
            "layer": self._layer[port].astype(np.int32),
            "source_layer": layer.astype(np.int32),
            "source": packets["neuron"].astype(np.int32),
            "level": packets["payload"].astype(np.int32),
        }
        events: dict[str, NDArray[Any]] = {}
        for name, values in of_packet.items():
            events[name] = np.repeat(values, lengths)
        events |= {"target": target, "weight": weight}
        return {name: events[name] for name in EVENT_COLUMNS}

    def _compute(self, port: Ints, neuron: Ints) -> Events:
        """Events of each packet: how many, their targets and weights."""
        channel, place = np.divmod(neuron, self._area[port])
        y, x = np.divmod(place, self._width[port])
        if not self._is_upsampled:
            return self._at(port, channel, (y, x))
        up = self._up[port]
        number, place = _counted(up * up)  # every pixel of the square of a packet
        down, right = np.divmod(place, up[number])
        pixel = y[number] * up[number] + down, x[number] * up[number] + right
        lengths, target, weight = self._at(port[number], channel[number], pixel)
        packet = np.repeat(number, lengths)
        order = np.lexsort((target, packet))  # stable: of one target pixel after pixel
        return np.bincount(packet, minlength=len(port)), target[order], weight[order]

    def _at(self, port: Ints, channel: Ints, pixel: tuple[Ints, Ints]) -> Events:
        """Events of a neuron that stands for one arriving pixel."""
        place = self._first[port] + channel
        start = self._edges[place]
        lengths = self._edges[place + 1] - start
        entry = _ranges(start, lengths)
        if self._is_point:
            return lengths, self._target[entry], self._weight[entry]
        inside = np.ones(len(entry), bool)
        base = np.zeros(len(port), np.int64)
        for axis, width in ((0, self._sum_width[port]), (1, 1)):
            # of (place + padding − tap) / stride the whole part, and whether it is whole
            at, rest = np.divmod(pixel[axis] + self._padding[axis][port], self._stride[axis][port])
            base += at * width
            tap = self._tap[axis][entry]
            inside &= tap <= np.repeat((at - self._low[axis][port]).astype(np.int32), lengths)
            inside &= tap > np.repeat((at - self._high[axis][port]).astype(np.int32), lengths)
            if self._is_strided:
                inside &= self._rest[axis][entry] == np.repeat(rest.astype(np.int32), lengths)
        ends = np.concatenate([[0], np.cumsum(inside)])
        lengths = np.diff(ends[np.concatenate([[0], np.cumsum(lengths)])])
        entry = entry[inside]
        target = np.repeat(base.astype(np.int32), lengths)
        target += self._target[entry]
        return lengths, target, self._weight[entry]

    def _all_events(self) -> Tables:
        """The events of every input neuron at every port, made once."""
        ports = np.repeat(np.arange(len(self._seen)), [len(seen) for seen in self._seen])
        neurons = np.concatenate(self._seen)
        parts = []
        for start in range(0, len(ports), TABLE_PART):
            cut = slice(start, start + TABLE_PART)
            parts.append(self._compute(ports[cut], neurons[cut]))
        lengths, targets, weights = (np.concatenate([p[i] for p in parts]) for i in range(3))
        first = np.concatenate([[0], np.cumsum(self._inputs)])
        numbers = np.zeros(first[-1], np.int64)
        numbers[first[ports] + neurons] = lengths
        return first, np.concatenate([[0], np.cumsum(numbers)]), targets, weights

    def _look_up(self, port: Ints, neuron: Ints) -> Events:
        """As :meth:`_compute`, from the tables."""
        assert self._tables is not None
        first, edges, targets, weights = self._tables
        place = first[port] + neuron
        start = edges[place]
        lengths = edges[place + 1] - start
        entry = _ranges(start, lengths)
        return lengths, targets[entry], weights[entry]


def _counted(lengths: Ints) -> tuple[Ints, Ints]:
    """Each number as often as its length says, and 0, 1, … within each."""
    number = np.repeat(np.arange(len(lengths)), lengths)
    return number, _ranges(np.zeros(len(lengths), np.int64), lengths)


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
