"""Untimed run of a mapped network, written to be read (twin of ``kernels.counting``).

Per layer, for an image a of levels and a kernel w (a linear layer is a 1×1
image):

    sum[o, Y, X]   = Σ w[o, i, ky, kx] · a[i, Y·s − p + ky·d, X·s − p + kx·d]
    level[o, Y, X] = lowest + stride · #{t : direction · sum ≥ threshold[o, t]}

or, in fixed point, clip(⌊(direction · sum + offset[o]) / 2**shift⌋, low, high).

A pair (a, w) is a synaptic event where both are non-zero; it is an XNOR event
where both are ±1 and a graded event otherwise.  Outside the image there is no
pair.  All arithmetic is int64.

Where the fan-in is split, Σ over i falls into parts.  One core owns the neuron;
every other one sends it its partial sum, unless that is zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromorph.events import HOPS
from neuromorph.mapping import COUNTED, Mapping, Tally
from neuromorph.mapping.slices import Range
from neuromorph.network import Network, Pool, Stage
from neuromorph.network.forward import arriving

__all__ = ["count", "run_network", "spikes_of", "tally"]

Array = NDArray[np.int64]


def spikes_of(planes: int, levels: NDArray[Any]) -> tuple[Array, Array]:
    """(spikes, spikes of payload ±1) that each level stands for.

    A level sends one spike if it is not zero.  A bitplane value sends one
    spike of payload 2**b for each set bit b of its ``planes``.
    """
    levels = levels.astype(np.int64)
    if planes == 1:
        return (levels != 0).astype(np.int64), (np.abs(levels) == 1).astype(np.int64)
    bits = (levels[..., None] >> np.arange(planes)) & 1
    return bits.sum(axis=-1), bits[..., 0]


def correlate(stage: Stage, image: Array, weights: Array) -> Array:
    """Σ over taps of weights (o, i, ky, kx) and image (batch, i, y, x); zero outside."""
    _, height, width = stage.sum_shape
    (sy, sx), (py, px), (dy, dx) = stage.stride, stage.padding, stage.dilation
    padded = np.pad(image, ((0, 0), (0, 0), (py, py), (px, px)))
    total = np.zeros((len(image), *stage.sum_shape), np.int64)
    for ky in range(weights.shape[2]):
        for kx in range(weights.shape[3]):
            top, left = ky * dy, kx * dx
            seen = padded[:, :, top : top + height * sy : sy, left : left + width * sx : sx]
            seen = seen[:, :, :height, :width]
            total += np.einsum("oi,biyx->boyx", weights[:, :, ky, kx], seen)
    return total


def fire(stage: Stage, sums: Array) -> NDArray[Any]:
    """Sums (batch, channel, row, column) to levels, before the pool."""
    assert stage.directions is not None
    assert stage.levels is not None
    directed = sums * stage.directions[:, None, None]
    if stage.rounding is not None:
        return stage.rounding.levels(directed).astype(stage.levels.dtype)
    assert stage.thresholds is not None
    climbed = np.zeros_like(sums)
    for step in stage.thresholds.T:
        climbed += directed >= step[:, None, None]
    levels = stage.levels.stride * climbed - stage.levels.maximum
    return levels.astype(stage.levels.dtype)


def pool(p: Pool, levels: NDArray[Any]) -> NDArray[Any]:
    """Maximum of each window; the minimum in channels whose sums were pooled downhill."""
    rows = (levels.shape[2] - p.size[0]) // p.stride[0] + 1
    columns = (levels.shape[3] - p.size[1]) // p.stride[1] + 1
    result = np.empty((*levels.shape[:2], rows, columns), levels.dtype)
    for y in range(rows):
        for x in range(columns):
            top, left = y * p.stride[0], x * p.stride[1]
            cut = levels[:, :, top : top + p.size[0], left : left + p.size[1]]
            result[:, :, y, x] = np.where(p.minimum, cut.min(axis=(2, 3)), cut.max(axis=(2, 3)))
    return result


def run_network(
    network: Network, inputs: NDArray[Any]
) -> Iterator[tuple[Stage, NDArray[Any], Array, NDArray[Any] | None]]:
    """For each layer: (layer, arriving levels, sums, leaving levels or None).

    ``inputs`` are encoded input levels (batch, size).  Sums have shape
    (batch, channels, rows, columns) before the pool; levels (batch, channels,
    rows, columns) after it.
    """
    levels: list[NDArray[Any]] = []
    for stage in network.stages:
        image = arriving(stage, inputs, levels)
        image = image.reshape(len(inputs), *stage.input_shape).astype(np.int64)
        sums = correlate(stage, image, stage.weights.astype(np.int64))
        leaving = None
        if stage.levels is not None:
            leaving = fire(stage, sums)
            if stage.pool is not None:
                leaving = pool(stage.pool, leaving)
            levels.append(leaving)
        yield stage, image, sums, leaving


def count(mapping: Mapping, inputs: NDArray[Any]) -> Tally:
    """Run encoded inputs (batch, size) through the mapping and count every event."""
    layers = list(run_network(mapping.network, inputs))
    levels = [v.reshape(len(inputs), s.outputs) for s, _, _, v in layers if v is not None]
    sums = layers[-1][2].reshape(len(inputs), mapping.network.outputs)
    outputs = sums.astype(mapping.network.stages[-1].sum_dtype)
    return tally(mapping, inputs, levels, outputs)


def tally(
    mapping: Mapping,
    inputs: NDArray[Any],
    levels: list[NDArray[Any]],
    outputs: NDArray[Any],
) -> Tally:
    """Every event that the levels (batch, neurons) of all layers make, counted."""
    batch = len(inputs)
    counted = {name: np.zeros((batch, mapping.rows), np.int64) for name in COUNTED}
    for index, stage in enumerate(mapping.network.stages):
        image = arriving(stage, inputs, levels)
        image = image.reshape(batch, *stage.input_shape).astype(np.int64)
        _count_synapses(mapping, index, image, counted)
        _count_partial_sums(mapping, index, image, counted)
    for sender, sent in enumerate([inputs, *levels], start=-1):
        _count_packets(mapping, sender, sent, counted)
    return Tally(outputs=outputs, levels=levels, counted=counted)


def _count_synapses(mapping: Mapping, index: int, image: Array, counted: dict[str, Array]) -> None:
    """Events of every neuron, summed over the neurons of each slice."""
    stage = mapping.network.stages[index]
    spikes, units = spikes_of(stage.spikes_per_input, image)
    weights = np.abs(stage.weights.astype(np.int64))
    present, single = (weights != 0).astype(np.int64), (weights == 1).astype(np.int64)
    all_events = correlate(stage, spikes, present)
    for row in mapping.owner_rows[index]:
        touched = all_events[_box(mapping, row)] > 0
        counted["neuron_update_active"][:, row] = touched.sum(axis=(1, 2, 3))
    for heard, rows in _parts(mapping, index).items():
        channels = (slice(None), slice(*heard))
        events = correlate(stage, spikes[channels], present[channels])
        xnor = correlate(stage, units[channels], single[channels])
        fetched = correlate(stage, spikes[channels], np.ones_like(present[channels]))
        for row in rows:
            box = _box(mapping, row)
            counted["xnor_event"][:, row] = xnor[box].sum(axis=(1, 2, 3))
            counted["graded_event"][:, row] = (events - xnor)[box].sum(axis=(1, 2, 3))
            counted["fetched"][:, row] = fetched[box].sum(axis=(1, 2, 3))


def _parts(mapping: Mapping, index: int) -> dict[Range, list[int]]:
    """Runs of input channels that slices of a layer hear, and the rows of these slices."""
    found: dict[Range, list[int]] = {}
    for row in mapping.stage_rows[index]:
        found.setdefault(mapping.slices[row - 1].inputs, []).append(row)
    return found


def _box(mapping: Mapping, row: int) -> tuple[slice, ...]:
    s = mapping.slices[row - 1]
    return slice(None), slice(*s.channels), slice(*s.sum_rows), slice(*s.sum_columns)


def _count_partial_sums(
    mapping: Mapping, index: int, image: Array, counted: dict[str, Array]
) -> None:
    """What slices that do not own their neurons send, and the tokens behind it."""
    stage = mapping.network.stages[index]
    weights = stage.weights.astype(np.int64)
    for heard, rows in _parts(mapping, index).items():
        channels = (slice(None), slice(*heard))
        if heard[0] == 0:
            continue  # these own their neurons
        sums = correlate(stage, image[channels], weights[channels])
        for row in rows:
            owner = int(mapping.owners[row])
            copies = (sums[_box(mapping, row)] != 0).sum(axis=(1, 2, 3))
            counted["partial_out"][:, row] += copies
            counted["partial_in"][:, owner] += copies
            if mapping.chip.sync == "token":
                counted["token_out"][:, row] += 1
                counted["token_in"][:, owner] += 1
                copies = copies + 1
            for action, links in zip(HOPS, mapping.ways.crossed(row, (owner,))):
                counted[action][:, row] += copies * links
            counted["hop_local"][:, row] += copies


def _count_packets(
    mapping: Mapping, sender: int, levels: NDArray[Any], counted: dict[str, Array]
) -> None:
    """Every spike of a layer (−1: input) to every core that needs it, and the tokens behind.

    One packet for each core, or one for all that forks on its way.
    """
    chip, targets = mapping.chip, mapping.target_rows(sender)
    spikes = spikes_of(mapping.network.spikes_per_neuron(sender), levels)[0]
    reach = mapping.send_table(sender)
    spikes = spikes.reshape(len(spikes), math.prod(spikes.shape[1:]))

    def send(sample: int | slice, source: int, wanted: Any, copies: int, kind: str) -> None:
        rows = [targets[target] for target in np.flatnonzero(wanted)]
        together = [rows] if chip.routing == "multicast" and rows else [[row] for row in rows]
        sent, out = mapping.row_of(source), "packet_out" if kind == "spike" else "token_out"
        for goals in together:
            counted[out][sample, sent] += copies
            for action, links in zip(HOPS, mapping.ways.crossed(source, goals)):
                counted[action][sample, sent] += copies * links
            counted["hop_local"][sample, sent] += copies * len(goals)
            for row in goals:
                counted[f"{kind}_in"][sample, row] += copies

    for source, neurons in mapping.sending_rows(sender):
        needed = reach[neurons % len(reach)]
        for sample in range(len(spikes)):
            for neuron, wanted in zip(neurons, needed):
                copies = int(spikes[sample, neuron])
                if copies == 0:
                    continue
                counted["spike_out"][sample, mapping.row_of(source)] += copies
                send(sample, source, wanted, copies, "spike")
        if chip.sync == "token":
            send(slice(None), source, needed.any(axis=0), 1, "token")
