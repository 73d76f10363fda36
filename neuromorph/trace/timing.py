"""When every spike left its core: the packet table read as spikes with times.

A spike goes to several cores, a packet each.  Of those the one to the core of
the lowest row number stands for the spike; which core that is does not change
from sample to sample, so one look through the table finds it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neuromorph.errors import TraceError
from neuromorph.mapping.packets import TOKEN

if TYPE_CHECKING:
    from neuromorph.trace.reader import Trace

__all__ = ["spike_times"]

Columns = dict[str, NDArray[Any]]


def spike_times(trace: Trace) -> Iterator[Columns]:
    """Spikes by the tick they were sent, see :meth:`Trace.timed_spikes`."""
    ports = len(trace.chip.port_tiles[: trace.network_info.inputs])
    layer_of = np.array([0, *(s.stage + 1 for s in trace.slices), *[0] * (ports - 1)])
    # the read-out sends nothing: its neurons are nowhere
    starts = np.concatenate([[0], np.cumsum(trace.network_info.spiking_sizes)])
    first = np.full(int(starts[-1]), TOKEN, np.uint32)
    slowest = 0
    for packets in trace.blocks("packets"):
        spikes, place = _spikes(trace, packets, layer_of, starts)
        np.minimum.at(first, place, spikes["target"])
        if len(place):
            slowest = max(slowest, int((spikes["delivered"] - spikes["sent"]).max()))
    waiting: Columns | None = None
    for packets in trace.blocks("packets"):
        spikes, place = _spikes(trace, packets, layer_of, starts)
        chosen = spikes["target"] == first[place]
        spikes = {name: values[chosen] for name, values in spikes.items()}
        if waiting is not None:
            spikes = {name: np.concatenate([waiting[name], spikes[name]]) for name in spikes}
        order = np.lexsort([spikes[n] for n in ("payload", "neuron", "layer", "sample", "sent")])
        spikes = {name: values[order] for name, values in spikes.items()}
        # what is still to come is delivered later, so it was not sent before this tick
        ready = int(np.searchsorted(spikes["sent"], int(packets["delivered"][-1]) - slowest))
        waiting = {name: values[ready:] for name, values in spikes.items()}
        if ready:
            yield _renamed({name: values[:ready] for name, values in spikes.items()})
    if waiting is not None and len(waiting["sent"]):
        yield _renamed(waiting)


def _spikes(
    trace: Trace, packets: Columns, layer_of: NDArray[np.int64], starts: NDArray[np.int64]
) -> tuple[Columns, NDArray[np.int64]]:
    """The packets that are spikes, with their layer, and the place of each neuron among all."""
    chosen = trace.is_spike(packets)
    spikes = {name: values[chosen] for name, values in packets.items()}
    source, neuron = spikes["source"], spikes["neuron"].astype(np.int64)
    layer = layer_of[np.minimum(source, len(layer_of) - 1)]
    sizes = np.append(np.diff(starts), 0)
    if (source >= len(layer_of)).any() or (neuron >= sizes[layer]).any():
        raise TraceError(f"{trace.path}: /packets names a core or neuron that is not there")
    spikes["layer"] = layer.astype(np.uint16)
    return spikes, starts[layer] + neuron


def _renamed(spikes: Columns) -> Columns:
    names = {"sample": "sample", "layer": "layer", "neuron": "neuron", "level": "payload"}
    return {name: spikes[kept] for name, kept in names.items()} | {"tick": spikes["sent"]}
