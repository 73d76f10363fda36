"""Activity: what a network does over a data set, from which the counts of any mapping follow.

Events, fetched synapses, packets and hops are linear in the spikes that arrive, so the sums
of the spikes over the samples give the sums of the counts exactly: one run of a network
serves every chip, dataflow and packing.  Only how the neurons that saw an event divide
between the cores of one layer is not kept; their number in the layer is.  Partial sums, where
a fan-in is split over cores, are not linear: for such a mapping the samples run once more.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromorph.chip import load_chip
from neuromorph.events import HOPS, Counts
from neuromorph.kernels.counting import count
from neuromorph.mapping import COUNTED, Form, Mapping, map_network, tabulate
from neuromorph.network import Network, Stage
from neuromorph.network.forward import arriving
from neuromorph.simulation import simulate

__all__ = ["Activity", "accumulator_bits", "counts_of", "measure"]

Array = NDArray[np.int64]
ROOM = 1 << 30  # of everything in a core: a whole layer fits
CHUNK = 2000  # samples whose levels are held at a time
CELLS = 1 << 26  # levels that are held at a time


@dataclass(frozen=True, kw_only=True, eq=False)
class Activity:
    """Sums over the samples, layer by layer.

    ``spikes`` and ``units``: spikes, and spikes of payload ±1, of every neuron of the input
    and of each layer that fires, int64 (neurons,).  ``active``: neurons of each layer that saw
    an event.  ``accuracy``: of samples, or of their pixels.  ``images``: the samples, for
    mappings that split a fan-in; None stands for samples without a spike.
    """

    network: Network
    samples: int
    spikes: tuple[Array, ...]
    units: tuple[Array, ...]
    active: tuple[int, ...]
    accuracy: float | None = None
    images: Any = None
    _split: dict[Any, dict[str, Array]] = field(default_factory=dict, repr=False)

    def arriving(self, index: int) -> tuple[Array, Array]:
        """``spikes`` and ``units`` as they arrive at a layer, of the shape of its input."""
        stage = self.network.stages[index]
        spikes, units = (
            arriving(stage, sent[0][None], [s[None] for s in sent[1:]]).reshape(stage.input_shape)
            for sent in (self.spikes, self.units)
        )
        return spikes, units

    def silent(self) -> Activity:
        """As many samples without any spike."""
        zero = tuple(np.zeros_like(s) for s in self.spikes)
        none = (0,) * len(zero)
        return replace(self, spikes=zero, units=zero, active=none, images=None, _split={})


def accumulator_bits(network: Network) -> int:
    """Bits that hold every sum of the network on its way, sign included."""
    return max(s.largest_sum for s in network.stages).bit_length() + 1


def measure(network: Network, images: Any, labels: Any = None) -> Activity:
    """Run all images in count mode, on cores that hold a whole layer each."""
    roomy = replace(
        load_chip("gxnor45"),
        accumulator_bits=max(16, accumulator_bits(network)),
        neurons=ROOM,
        synapse_bits=ROOM,
        axons_in=ROOM,
        axons_out=ROOM,
    )
    mapping = map_network(network, roomy)
    stages = network.stages
    firing = [s for s in stages if not s.is_readout]
    sizes = [network.input.size, *(s.outputs for s in firing)]
    spikes, units = ([np.zeros(size, np.int64) for size in sizes] for _ in range(2))
    active = np.zeros(len(stages), np.int64)
    right = 0
    chunk = max(1, min(CHUNK, CELLS // sum(sizes)))
    for start in range(0, len(images), chunk):
        part = images[start : start + chunk]
        run = simulate(mapping, part)
        sent = [network.encode(part), *(run.levels(s.name) for s in firing)]
        for i, levels in enumerate(sent):
            for every, single in _spikes(network.spikes_per_neuron(i - 1), levels):
                spikes[i] += every
                units[i] += single
        active += run.counts["neuron_update_active"].sum(axis=0)[1:]
        if labels is not None:
            right += int((run.predictions == labels[start : start + chunk]).sum())
    return Activity(
        network=network,
        samples=len(images),
        spikes=tuple(spikes),
        units=tuple(units),
        active=tuple(int(a) for a in active),
        accuracy=None if labels is None else right / np.size(labels),
        images=images,
    )


def _spikes(planes: int, levels: NDArray[Any]) -> Iterator[tuple[Array, Array]]:
    """(spikes, spikes of payload ±1) of every neuron, plane by plane, summed over samples."""
    if planes == 1:
        magnitude = np.abs(levels)
        yield (magnitude != 0).sum(axis=0), (magnitude == 1).sum(axis=0)
        return
    for bit in range(planes):
        sent = ((levels >> bit) & 1).sum(axis=0, dtype=np.int64)
        yield sent, sent if bit == 0 else np.zeros_like(sent)


def counts_of(activity: Activity, mapping: Mapping, form: Form | None = None) -> Counts:
    """Counts of all samples, summed, on a mapping of the same network."""
    split = not all(s.owns for s in mapping.slices)
    if split and activity.images is not None:
        counted = _run(activity, mapping)
    else:
        counted = {name: np.zeros((1, mapping.rows), np.int64) for name in COUNTED}
        for index, stage in enumerate(mapping.network.stages):
            _synapses(activity, mapping, index, stage, counted)
        for sender in range(-1, len(activity.spikes) - 1):
            _packets(activity, mapping, sender, counted)
        _silent_sums(activity, mapping, counted)
    table = tabulate(mapping, counted, samples=activity.samples, form=form or Form())
    return Counts(
        values=table,
        layers=mapping.row_layers,
        cores=mapping.row_cores,
        pairs=mapping.pairs,
        hardware=mapping.hardware,
        inferences=activity.samples,
    )


def _run(activity: Activity, mapping: Mapping) -> dict[str, Array]:
    """Tallies of all samples on a mapping that splits a fan-in, (1, rows)."""
    chip = mapping.chip
    ways = chip.routing, chip.columns, chip.rows, chip.dead_links, chip.buffer
    key = mapping.slices, mapping.tiles.tobytes(), chip.sync, ways
    if key not in activity._split:
        found = {name: np.zeros((1, mapping.rows), np.int64) for name in COUNTED}
        for start in range(0, len(activity.images), CHUNK):
            encoded = mapping.network.encode(activity.images[start : start + CHUNK])
            tally = count(mapping, encoded, threads=os.cpu_count() or 1)
            for name, values in tally.counted.items():
                found[name] += values.sum(axis=0)
        activity._split[key] = found
    return activity._split[key]


def _silent_sums(activity: Activity, mapping: Mapping, counted: dict[str, Array]) -> None:
    """Tokens of cores that send partial sums, of which there are none."""
    for row, owner in enumerate(mapping.owners):
        if row and owner != row and mapping.chip.sync == "token":
            links = mapping.ways.crossed(row, (int(owner),))
            counted["token_out"][0, row] += activity.samples
            counted["token_in"][0, owner] += activity.samples
            for action, number in zip(HOPS, links):
                counted[action][0, row] += number * activity.samples
            counted["hop_local"][0, row] += activity.samples


def _synapses(
    activity: Activity, mapping: Mapping, index: int, stage: Stage, counted: dict[str, Array]
) -> None:
    weights = np.abs(stage.weights.astype(np.int64))
    present, single = (weights != 0).astype(np.int64), (weights == 1).astype(np.int64)
    spikes, units = activity.arriving(index)
    left = activity.active[index]
    for row in mapping.stage_rows[index]:
        s = mapping.slices[row - 1]
        rows, columns = _taps(stage, 0, s.sum_rows), _taps(stage, 1, s.sum_columns)
        seen, ones = (
            np.einsum("ky,iyx,lx->ikl", rows, image, columns, optimize=True)
            for image in (spikes, units)
        )
        cut = slice(*s.channels)
        events, xnor = (
            (present[cut].sum(axis=0) * seen).sum(),
            (single[cut].sum(axis=0) * ones).sum(),
        )
        counted["xnor_event"][0, row] = xnor
        counted["graded_event"][0, row] = events - xnor
        counted["fetched"][0, row] = seen.sum() * (s.channels[1] - s.channels[0])
        counted["neuron_update_active"][0, row] = min(left, s.neurons * activity.samples)
        left -= int(counted["neuron_update_active"][0, row])


def _taps(stage: Stage, axis: int, sums: tuple[int, int]) -> Array:
    """1 where a neuron of the run meets an input row with a kernel row: (kernel, inputs)."""
    taps, size = stage.taps(axis), stage.input_shape[1 + axis]
    table = np.zeros((len(taps), size), np.int64)
    for k, tap in enumerate(taps):
        met = np.arange(*sums) * stage.stride[axis] + tap
        table[k, met[(met >= 0) & (met < size)]] = 1
    return table


def _packets(activity: Activity, mapping: Mapping, sender: int, counted: dict[str, Array]) -> None:
    """What a layer (−1: the input) sends."""
    spikes = activity.spikes[sender + 1]
    for index, place in mapping.listeners(sender):
        reach = mapping.reach_table(index, place)
        arrived = spikes.reshape(-1, len(reach)).sum(axis=0) @ reach
        counted["spike_in"][0, list(mapping.stage_rows[index])] += arrived
    positions = len(mapping.target_sets(sender)[0])
    for source, neurons in mapping.sending_rows(sender):
        row = mapping.row_of(source)
        sent, at = spikes[neurons], neurons % positions
        counted["spike_out"][0, row] += sent.sum()
        moved = {"packet_out": sent @ mapping.sending(source, sender, at)}
        if mapping.chip.sync == "token":
            heard = mapping.heard(sender, at)
            counted["token_in"][0, list(heard)] += activity.samples
            moved["token_out"] = mapping.costs(source, heard) * activity.samples
        for kind, costs in moved.items():
            for action, number in zip((kind, *HOPS, "hop_local"), costs):
                counted[action][0, row] += number
