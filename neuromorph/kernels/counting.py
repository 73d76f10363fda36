"""Untimed run of a mapped network by the bit-sliced kernel (twin of ``reference.counting``).

Lanes are samples: 64 to 512 run side by side in one block, blocks in threads.
The kernel counts sums, levels and synaptic events; packets and fetched rows
follow from the levels by exact integer products with the mapping's tables.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from neuromorph.errors import SimulationError
from neuromorph.kernels._vcount import Kernel, Plan
from neuromorph.mapping import COUNTED, Mapping, Tally
from neuromorph.network import Stage

__all__ = ["count", "kernel_name", "neuron_counts"]

Array = NDArray[np.int64]

_plans: WeakKeyDictionary[Mapping, dict[int, Plan]] = WeakKeyDictionary()


@lru_cache
def _kernel(name: str) -> Kernel:
    try:
        return Kernel(name)
    except ValueError:
        raise SimulationError(
            f"NEUROMORPH_SIMD is {name!r}; this processor runs a subset of avx512, avx2, v128, u64"
        ) from None


def kernel_name() -> str:
    """Vector width in use: the widest here, or what NEUROMORPH_SIMD names."""
    name: str = _kernel(os.environ.get("NEUROMORPH_SIMD", "")).name
    return name


def count(mapping: Mapping, inputs: NDArray[np.int16], *, threads: int = 1) -> Tally:
    """Run encoded inputs (batch, size) through the mapping and count every event."""
    kernel = _kernel(os.environ.get("NEUROMORPH_SIMD", ""))
    plan, network = _plan(mapping, kernel), mapping.network
    inputs = np.ascontiguousarray(inputs, np.int16)
    batch = len(inputs)
    outputs = np.empty((batch, network.classes), np.int32)
    levels = [np.empty((batch, s.outputs), s.levels.dtype) for s in network.stages if s.levels]
    tallies = [_tallies(batch, mapping, i) for i in range(len(network.stages))]

    def block(start: int) -> None:
        cut = slice(start, start + kernel.lanes)
        results = []
        for i, stage in enumerate(network.stages):
            result: dict[str, Any] = dict.fromkeys(
                ("levels8", "levels16", "sums", "neuron_events")
            )
            if stage.levels is None:
                result["sums"] = outputs[cut]
            else:
                key = "levels16" if stage.levels.dtype == np.int16 else "levels8"
                result[key] = levels[i][cut]
            result.update({key: array[cut] for key, array in tallies[i].items()})
            results.append(result)
        plan.run(kernel, inputs[cut], results)

    _each(block, range(0, batch, kernel.lanes), threads)
    counted = {name: np.zeros((batch, mapping.rows), np.int64) for name in COUNTED}
    for i, stage in enumerate(network.stages):
        rows = list(mapping.stage_rows[i])
        counted["xnor_event"][:, rows] = tallies[i]["xnor"]
        counted["graded_event"][:, rows] = tallies[i]["graded"]
        counted["neuron_update_active"][:, rows] = tallies[i]["active"]
        _count_packets(mapping, i, stage, inputs if i == 0 else levels[i - 1], counted)
    return Tally(outputs=outputs, levels=list(levels), counted=counted)


def neuron_counts(
    mapping: Mapping, inputs: NDArray[np.int16]
) -> list[tuple[NDArray[np.int32], NDArray[np.int32]]]:
    """(sums, synaptic events) of every neuron, layer by layer: int32 (batch, neurons)."""
    kernel = _kernel(os.environ.get("NEUROMORPH_SIMD", ""))
    plan, network = _plan(mapping, kernel), mapping.network
    inputs = np.ascontiguousarray(inputs, np.int16)
    batch = len(inputs)
    found = [
        (np.empty((batch, s.neurons), np.int32), np.empty((batch, s.neurons), np.int32))
        for s in network.stages
    ]
    for start in range(0, batch, kernel.lanes):
        cut = slice(start, start + kernel.lanes)
        results = []
        for i, (sums, events) in enumerate(found):
            tallies = _tallies(len(inputs[cut]), mapping, i)
            wanted = {"sums": sums[cut], "neuron_events": events[cut]}
            results.append({"levels8": None, "levels16": None, **wanted, **tallies})
        plan.run(kernel, inputs[cut], results)
    return found


def _tallies(batch: int, mapping: Mapping, index: int) -> dict[str, Array]:
    shape = (batch, len(mapping.stage_rows[index]))
    return {key: np.zeros(shape, np.int64) for key in ("xnor", "graded", "active")}


def _each(work: Any, items: range, threads: int) -> None:
    if threads <= 1 or len(items) <= 1:
        for item in items:
            work(item)
        return
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(work, items):
            pass


def _count_packets(
    mapping: Mapping, index: int, stage: Stage, levels: NDArray[Any], counted: dict[str, Array]
) -> None:
    """Spikes, packets, hops, tokens and fetched synapses of everything sent to one layer."""
    spikes = _spikes(stage, levels)
    reach, fetch = mapping.reach_table(index), mapping.fetch_table(index)
    targets, positions = list(mapping.stage_rows[index]), len(reach)
    senders = mapping.source_rows(index)
    for source, neurons in senders:
        first, last = int(neurons[0]), int(neurons[-1]) + 1
        whole = last - first == len(neurons)
        sent = spikes[:, first:last] if whole else spikes[:, neurons]
        needed = reach[neurons % positions]
        total = _totals(sent, stage.spikes_per_input)
        if positions == 1:  # every spike goes everywhere
            copies = np.outer(total, needed[0])
            counted["fetched"][:, targets] += np.outer(total, fetch[0])
        else:
            copies = _product(sent, needed)
            counted["fetched"][:, targets] += _product(sent, fetch[neurons % positions])
        distance = np.abs(mapping.tiles[targets] - mapping.tiles[source])
        counted["spike_out"][:, source] += total
        counted["packet_out"][:, source] += copies.sum(axis=1)
        counted["spike_in"][:, targets] += copies
        if mapping.chip.sync == "token":
            token = needed.any(axis=0).astype(np.int64)
            counted["token_out"][:, source] += token.sum()
            counted["token_in"][:, targets] += token
            copies = copies + token
        counted["hop_x"][:, source] += copies @ distance[:, 0]
        counted["hop_y"][:, source] += copies @ distance[:, 1]
        counted["hop_local"][:, source] += copies.sum(axis=1)


def _spikes(stage: Stage, levels: NDArray[Any]) -> NDArray[np.uint8]:
    """Spikes that each level stands for; see ``reference.counting.spikes_of``."""
    if stage.spikes_per_input == 1:
        return (levels != 0).view(np.uint8)
    spikes = np.zeros(levels.shape, np.uint8)
    for bit in range(stage.spikes_per_input):
        spikes += ((levels >> bit) & 1).astype(np.uint8)
    return spikes


def _totals(spikes: NDArray[np.uint8], most: int) -> Array:
    """Row sums; where a neuron sends at most one spike, eight neurons at a time."""
    if most == 1 and spikes.shape[1] % 8 == 0 and spikes.strides[1] == 1:
        spikes = np.bitwise_count(spikes.view(np.uint64))
    return spikes.sum(axis=1, dtype=np.int64)


def _product(a: NDArray[Any], b: NDArray[Any]) -> Array:
    """Integer matrix product through floating point, in a type that stays exact."""
    largest = a.shape[1] * int(a.max(initial=0)) * int(b.max(initial=0))
    dtype = np.float32 if largest < 2**24 else np.float64  # integers are exact up to there
    return (a.astype(dtype) @ b.astype(dtype)).astype(np.int64)


def _plan(mapping: Mapping, kernel: Kernel) -> Plan:
    plans = _plans.setdefault(mapping, {})
    if kernel.lanes not in plans:
        stages = mapping.network.stages
        layers = [
            _layer(mapping, i, stage, stages[i + 1] if i + 1 < len(stages) else None, kernel)
            for i, stage in enumerate(stages)
        ]
        first = stages[0].input_shape
        plans[kernel.lanes] = Plan(layers, int(np.prod(first)), first[1], first[2])
    return plans[kernel.lanes]


def _padded(stage: Stage) -> tuple[int, int, int]:
    channels, height, width = stage.input_shape
    return channels, height + 2 * stage.padding[0], width + 2 * stage.padding[1]


def _layer(
    mapping: Mapping, index: int, stage: Stage, following: Stage | None, kernel: Kernel
) -> dict[str, Any]:
    """One layer as the kernel wants it: lists of taps, widths of counters, geometry."""
    channels = stage.sum_shape[0]
    weights = stage.weights.astype(np.int64)
    value_planes = stage.input_maximum.bit_length()
    weight_planes = int(np.abs(weights).max()).bit_length() or 1
    fused = value_planes == 1 and weight_planes == 1
    _, height, width = _padded(stage)
    rows = np.arange(weights[0].size)
    channel, rest = np.divmod(rows, weights.shape[2] * weights.shape[3])
    ky, kx = np.divmod(rest, weights.shape[3])
    row_of = ((channel * height + ky) * width + kx).astype(np.int64)
    flat = weights.reshape(channels, -1)
    width_bytes = kernel.lanes // 8
    taps, lists = _lists(
        ((row_of * 2 * value_planes + (w < 0)) * width_bytes)[(np.abs(w) >> b) & 1 == 1]
        for w in flat
        for b in range(weight_planes)
    )
    spike_planes = stage.spikes_per_input
    event_rows, event_lists = _lists(
        (row_of * (spike_planes + 1) * width_bytes)[chosen]
        for w in flat
        for chosen in (w != 0, np.abs(w) == 1)
    )
    if fused:
        event_rows, event_lists = event_rows[:0], event_lists[:0]
    largest = int(np.abs(flat).sum(axis=1).max()) * stage.input_maximum
    events = int(np.count_nonzero(flat, axis=1).max()) * spike_planes
    slice_of, slices = _slice_numbers(mapping, index, stage)
    per_slice = np.bincount(slice_of, minlength=slices).max() * events
    p = stage.pool
    if following is None:
        planes, steps, corner = 1, (0, 0, 0), 0
    else:
        planes = following.input_maximum.bit_length()
        _, rows_after, columns_after = _padded(following)
        area = rows_after * columns_after
        corner = following.padding[0] * columns_after + following.padding[1]
        if following.input_shape == stage.output_shape:
            steps = area, columns_after, 1
        else:  # flattened: every neuron becomes an image of one (padded) pixel
            _, rows_out, columns_out = stage.output_shape
            steps = rows_out * columns_out * area, columns_out * area, area
    none8, none32 = np.zeros(0, np.int8), np.zeros(0, np.int32)
    return {
        "input": _padded(stage),
        "sums": stage.sum_shape,
        "stride": stage.stride,
        "value_planes": value_planes,
        "spike_planes": spike_planes,
        "fused": int(fused),
        "weight_planes": weight_planes,
        "lists": lists,
        "taps": taps,
        "event_lists": event_lists,
        "event_rows": event_rows,
        "bits": (
            max(7, int(np.diff(lists).max(initial=0)).bit_length()),
            largest.bit_length() + 1,
            max(7, events.bit_length()),
        ),
        "steps": 0 if stage.thresholds is None else stage.thresholds.shape[1],
        "binary": int(stage.levels is not None and stage.levels.n == 0),
        "top": stage.levels.maximum if stage.levels else 1,
        "thresholds": none32 if stage.thresholds is None else stage.thresholds.ravel(),
        "directions": none8 if stage.directions is None else stage.directions,
        "largest": largest,
        "pool": (0, 0, 1, 1) if p is None else (*p.size, *p.stride),
        "minimum": none8.view(np.uint8) if p is None else p.minimum.view(np.uint8),
        "outputs": stage.output_shape[1:],
        "next": (planes, *steps, corner),
        "slice_of": slice_of,
        "slices": slices,
        "slice_bits": max(7, int(per_slice).bit_length()),
    }


def _lists(parts: Iterator[Array]) -> tuple[NDArray[np.uint32], NDArray[np.int32]]:
    """Lists end to end, and where each begins."""
    arrays = list(parts)
    starts = np.cumsum([0, *(len(a) for a in arrays)])
    return np.concatenate(arrays).astype(np.uint32), starts.astype(np.int32)


def _slice_numbers(
    mapping: Mapping, index: int, stage: Stage
) -> tuple[NDArray[np.int32], int]:
    """Slice (numbered within the layer) of every neuron, flat."""
    number = np.zeros(stage.sum_shape, np.int32)
    rows = mapping.stage_rows[index]
    for i, row in enumerate(rows):
        s = mapping.slices[row - 1]
        number[slice(*s.channels), slice(*s.sum_rows), slice(*s.sum_columns)] = i
    return number.ravel(), len(rows)
