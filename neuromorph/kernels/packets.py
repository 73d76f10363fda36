"""What follows from the levels of a layer alone: spikes, packets, hops, tokens, fetched synapses.

All are sums of spikes, each times what one spike at its place costs: products of
small matrices of integers, in floating point that is exact for them.  Where all
channels of an image cost alike, their spikes are added up first.  The tables are
made once for a mapping.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from neuromorph.events import HOPS
from neuromorph.kernels._packets import add_up
from neuromorph.mapping import Mapping
from neuromorph.mapping.products import exact_float, product
from neuromorph.mapping.slices import Range

__all__ = ["count_packets"]

Array = NDArray[np.int64]

# What is counted in the row of a source; the tables have a column for each.
_SENT = ("spike_out", "packet_out", *HOPS, "hop_local", "token_out")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """What one source sends of a layer, and what that costs.

    Its neurons lie among those from ``first`` to ``last``, whose spikes are added
    up at so many ``places``; of these it has a ``box`` of images of a ``shape``, or all.
    """

    row: int
    first: int
    last: int
    places: int
    shape: tuple[int, ...]
    box: tuple[slice, ...]
    costs: NDArray[Any]  # (places of the box, actions of _SENT): of one spike
    alike: Array | None  # (actions of _SENT,): the same, if it is everywhere
    token: Array  # (actions of _SENT,): of the token behind them
    heard: list[int]  # rows that the token goes to

    def count(self, spikes: _Spikes) -> Array:
        """Actions of _SENT: (batch, actions)."""
        here, totals = spikes.added_up(self.first, self.last, self.places)
        if self.box:
            images = here.reshape(len(here), self.places // math.prod(self.shape), *self.shape)
            cut = images[:, :, *self.box]
            here = cut.reshape(len(here), math.prod(cut.shape[1:]))
        elif self.alike is not None:
            return np.outer(totals, self.alike) + self.token
        return product(here, self.costs).astype(np.int64) + self.token


class _Spikes:
    """Spikes that levels (batch, neurons) stand for, at most ``most`` a neuron."""

    def __init__(self, levels: NDArray[Any], most: int) -> None:
        dtype = levels.dtype if levels.dtype == np.int8 else np.int16
        self.levels, self.most = np.ascontiguousarray(levels, dtype), most
        self._sums: dict[tuple[int, int, int], tuple[NDArray[Any], Array]] = {}

    def added_up(self, first: int, last: int, places: int) -> tuple[NDArray[Any], Array]:
        """Of the neurons from ``first`` to ``last``, at their number modulo; their totals.

        (batch, places) of the shortest type, and (batch,).
        """
        key = first, last, places
        if key not in self._sums:
            largest = (last - first) // places * self.most
            dtype = np.uint8 if largest < 2**8 else np.uint16 if largest < 2**16 else np.uint32
            sums = np.empty((len(self.levels), places), dtype)
            totals = np.empty(len(sums), np.int64)
            add_up(self.levels, first, last, self.most, sums, totals)
            self._sums[key] = sums, totals
        return self._sums[key]


def count_packets(
    mapping: Mapping, sender: int, levels: NDArray[Any], counted: dict[str, Array]
) -> None:
    """Spikes, packets, hops, tokens and fetched synapses of all that a layer (−1: input) sends."""
    spikes = _Spikes(levels, mapping.network.spikes_per_neuron(sender))
    for index, place in mapping.listeners(sender):
        rows = list(mapping.stage_rows[index])
        if mapping.network.stages[index].joins:
            arrived, fetched = _joined(mapping.fetch_table(index, place), spikes)
        else:
            hearing = mapping.hearing(index)
            area = hearing.area
            heard = [spikes.added_up(a * area, b * area, area)[0] for a, b in hearing.parts]
            arrived, fetched = hearing.received(heard)
        counted["spike_in"][:, rows] += arrived
        counted["fetched"][:, rows] += fetched
    for source in _sources_of(mapping, sender):
        for action, found in zip(_SENT, source.count(spikes).T):
            counted[action][:, source.row] += found
        if source.heard:
            counted["token_in"][:, source.heard] += 1


def _joined(fetch: Array, spikes: _Spikes) -> tuple[Array, Array]:
    """(spikes that arrive, synapses they fetch): (batch, slices), of a layer that joins."""
    neurons = spikes.levels.shape[1]
    dtype = exact_float(neurons * spikes.most * int(fetch.max(initial=0)))
    here, _ = spikes.added_up(0, neurons, len(fetch))
    found = product(here, np.hstack([fetch > 0, fetch]).astype(dtype))
    arrived, fetched = np.hsplit(found.astype(np.int64), 2)
    return arrived, fetched


_known: WeakKeyDictionary[Mapping, dict[int, list[_Source]]] = WeakKeyDictionary()


def _sources_of(mapping: Mapping, sender: int) -> list[_Source]:
    known = _known.setdefault(mapping, {})
    if sender not in known:
        known[sender] = list(_sources(mapping, sender))
    return known[sender]


def _sources(mapping: Mapping, sender: int) -> Iterator[_Source]:
    if sender < 0:
        ports, size = mapping.ports, mapping.senders(sender)
        for number, port in enumerate(ports):
            box = (slice(number, None, len(ports)),) if len(ports) > 1 else ()
            yield _source(mapping, sender, port, (0, size), (size,), box)
        return
    _, height, width = mapping.network.stages[sender].output_shape
    area = height * width
    for row in mapping.owner_rows[sender]:
        s = mapping.slices[row - 1]
        is_whole = (s.rows, s.columns) == ((0, height), (0, width))
        part = () if is_whole else (slice(*s.rows), slice(*s.columns))
        run = s.channels[0] * area, s.channels[1] * area
        yield _source(mapping, sender, row, run, (height, width), part)


def _source(
    mapping: Mapping,
    sender: int,
    source: int,
    run: Range,
    shape: tuple[int, ...],
    box: tuple[slice, ...],
) -> _Source:
    """The tables of a source; all its spikes are added up that cost alike wherever it is."""
    first, last = run
    positions, size = len(mapping.target_sets(sender)[0]), last - first
    unit = math.prod(shape) if box else positions
    places = unit if first % unit == size % unit == unit % positions == 0 else size
    at = first + np.arange(places)
    if box:
        at = at.reshape(-1, *shape)[:, *box].ravel()
    each = mapping.sending(source, sender, at % positions)
    costs = np.pad(each, ((0, 0), (1, 1)))
    costs[:, 0] = 1
    heard, token = list[int](), np.zeros(len(_SENT), np.int64)
    if mapping.chip.sync == "token":
        heard = list(mapping.heard(sender, at % positions))
        token[-1], *token[2:-1] = mapping.costs(source, tuple(heard))
    most = size * mapping.network.spikes_per_neuron(sender) * int(costs.max())
    return _Source(
        row=mapping.row_of(source),
        first=first,
        last=last,
        places=places,
        shape=shape,
        box=box,
        costs=costs.astype(exact_float(most)),
        alike=costs[0] if (costs == costs[0]).all() else None,
        token=token,
        heard=heard,
    )
