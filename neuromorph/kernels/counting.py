"""Untimed run of a mapped network by the bit-sliced kernel (twin of ``reference.counting``).

Samples run in blocks of up to 64 … 512, blocks in threads.  Every layer of a
block runs in one of two orientations (``vcount.h``), whichever costs less:
lanes are samples and zero weights are skipped, or lanes are outputs and levels
at rest are skipped.  The kernel counts sums, levels and synaptic events;
packets and fetched rows follow from the levels by exact integer products with
the mapping's tables.

A layer whose fan-in is split runs once more for each part, as a layer of sums.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from neuromorph.errors import SimulationError
from neuromorph.kernels._vcount import Kernel, Plan
from neuromorph.kernels.costs import Costs
from neuromorph.kernels.plans import NetworkPlan, Numbers, part_of, slice_numbers
from neuromorph.mapping import COUNTED, Mapping, Tally
from neuromorph.mapping.slices import Range
from neuromorph.network import Stage

__all__ = ["count", "count_packets", "kernel_name", "neuron_counts", "partial_sums"]

Array = NDArray[np.int64]

WIDTHS = ("avx512", "avx512vl", "avx2", "v128", "u64")
ORIENTATIONS = ("auto", "samples", "outputs")


@lru_cache
def _kernel(name: str) -> Kernel:
    try:
        return Kernel(name)
    except ValueError:
        raise SimulationError(
            f"NEUROMORPH_SIMD is {name!r}; this processor runs a subset of {', '.join(WIDTHS)}"
        ) from None


def kernel_name() -> str:
    """Vector width in use: the widest here, or what NEUROMORPH_SIMD names."""
    name: str = _kernel(os.environ.get("NEUROMORPH_SIMD", "")).name
    return name


def _orientation() -> str:
    """What NEUROMORPH_LANES asks for: samples, outputs, or auto (the cheaper one)."""
    wanted = os.environ.get("NEUROMORPH_LANES", "auto")
    if wanted not in ORIENTATIONS:
        raise SimulationError(
            f"NEUROMORPH_LANES is {wanted!r}; use one of {', '.join(ORIENTATIONS)}"
        )
    return wanted


class _Engine:
    """What is kept between runs of some layers: plans by width, and the activity seen."""

    def __init__(self, stages: Sequence[Stage], numbers: Sequence[Numbers]) -> None:
        self.stages, self.numbers = stages, numbers
        self.costs = Costs(stages)
        self.plans: dict[int, NetworkPlan] = {}
        self.parts: dict[tuple[int, Range], _Engine] = {}
        self.lock = Lock()

    def plan(self, kernel: Kernel, by_output: list[bool]) -> Plan:
        """The plan for a vector width, ready for these orientations."""
        with self.lock:
            if kernel.lanes not in self.plans:
                self.plans[kernel.lanes] = NetworkPlan(self.stages, self.numbers, kernel)
            return self.plans[kernel.lanes].prepare(by_output)

    def part(self, mapping: Mapping, index: int, heard: Range) -> _Engine:
        """The engine of a layer with a part of its fan-in."""
        if (index, heard) not in self.parts:
            stage = part_of(self.stages[index], heard)
            self.parts[index, heard] = _Engine([stage], [slice_numbers(mapping, index, heard)])
        return self.parts[index, heard]

    def choose(self, samples: int) -> tuple[Kernel, list[bool]]:
        """Vector width and orientations for a block of samples."""
        widest, wanted = _kernel(os.environ.get("NEUROMORPH_SIMD", "")), _orientation()
        kernels = [widest]
        if widest.name == "avx512" and not os.environ.get("NEUROMORPH_SIMD"):
            kernels += _narrow()
        best: tuple[float, Kernel, list[bool]] | None = None
        for kernel in kernels:
            if samples > kernel.lanes:
                continue
            cost, by_output = self.costs.choose(samples, kernel.lanes, wanted)
            if best is None or cost < 0.9 * best[0]:  # the widest, unless it is clear
                best = cost, kernel, by_output
        assert best is not None
        return best[1], best[2]


@lru_cache
def _narrow() -> list[Kernel]:
    try:
        return [Kernel("avx512vl")]
    except ValueError:
        return []


_engines: WeakKeyDictionary[Mapping, _Engine] = WeakKeyDictionary()


def _engine(mapping: Mapping) -> _Engine:
    engine = _engines.get(mapping)
    if engine is None:
        stages = mapping.network.stages
        numbers = [slice_numbers(mapping, index) for index in range(len(stages))]
        engine = _engines[mapping] = _Engine(stages, numbers)
    return engine


def count(mapping: Mapping, inputs: NDArray[np.int16], *, threads: int = 1) -> Tally:
    """Run encoded inputs (batch, size) through the mapping and count every event."""
    engine, network = _engine(mapping), mapping.network
    inputs = _checked(mapping, inputs)
    batch = len(inputs)
    outputs = np.empty((batch, network.classes), np.int32)
    levels = [np.empty((batch, s.outputs), s.levels.dtype) for s in network.stages if s.levels]
    tallies = [_tallies(batch, mapping, i) for i in range(len(network.stages))]
    counted = {name: np.zeros((batch, mapping.rows), np.int64) for name in COUNTED}

    def block(cut: slice) -> None:
        part = inputs[cut]
        engine.costs.see(0, part)
        kernel, by_output = engine.choose(len(part))
        results = []
        for i, stage in enumerate(network.stages):
            result: dict[str, Any] = dict.fromkeys(("levels8", "levels16", "sums", "neuron_events"))
            if stage.levels is None:
                result["sums"] = outputs[cut]
            else:
                key = "levels16" if stage.levels.dtype == np.int16 else "levels8"
                result[key] = levels[i][cut]
            result.update({key: array[cut] for key, array in tallies[i].items()})
            results.append(result)
        engine.plan(kernel, by_output).run(kernel, part, results, by_output)
        for i, found in enumerate(levels):
            engine.costs.see(i + 1, found[cut])

    def packets(cut: slice) -> None:
        here = {name: table[cut] for name, table in counted.items()}
        for i, (stage, arriving) in enumerate(zip(network.stages, [inputs, *levels])):
            count_packets(mapping, i, stage, arriving[cut], here)

    cuts = _blocks(batch, threads)
    if cuts and not engine.costs.complete:  # the first block tells the activity of the layers
        block(cuts.pop(0))
    _each(block, cuts, threads)
    share = max(1, -(-batch // max(1, threads)))
    _each(packets, [slice(at, at + share) for at in range(0, batch, share)], threads)
    for i in range(len(network.stages)):
        rows = list(mapping.stage_rows[i])
        counted["xnor_event"][:, rows] = tallies[i]["xnor"]
        counted["graded_event"][:, rows] = tallies[i]["graded"]
        counted["neuron_update_active"][:, rows] = tallies[i]["active"]
        if mapping.owner_rows[i] != mapping.stage_rows[i]:
            arriving = inputs if i == 0 else levels[i - 1]
            for cut in _blocks(batch, 1):
                _count_parts(mapping, i, arriving[cut], {k: v[cut] for k, v in counted.items()})
    return Tally(outputs=outputs, levels=list(levels), counted=counted)


def neuron_counts(
    mapping: Mapping, inputs: NDArray[np.int16]
) -> list[tuple[NDArray[np.int32], NDArray[np.int32]]]:
    """(sums, synaptic events) of every neuron, layer by layer: int32 (batch, neurons)."""
    engine, network = _engine(mapping), mapping.network
    inputs = _checked(mapping, inputs)
    batch = len(inputs)
    found = [
        (np.empty((batch, s.neurons), np.int32), np.empty((batch, s.neurons), np.int32))
        for s in network.stages
    ]
    for cut in _blocks(batch, 1):
        part = inputs[cut]
        engine.costs.see(0, part)
        kernel, by_output = engine.choose(len(part))
        results = []
        for i, (sums, events) in enumerate(found):
            wanted = {"sums": sums[cut], "neuron_events": events[cut]}
            tallies = _tallies(len(part), mapping, i)
            results.append({"levels8": None, "levels16": None, **wanted, **tallies})
        engine.plan(kernel, by_output).run(kernel, part, results, by_output)
    return found


def partial_sums(
    mapping: Mapping, index: int, arriving: NDArray[Any]
) -> Iterator[tuple[int, NDArray[np.int32]]]:
    """(row, int32 (batch, neurons of its slice)) of every row of a layer that sends partial sums.

    ``arriving``: levels (batch, inputs) that the layer gets.
    """
    found: dict[int, list[NDArray[np.int32]]] = {}
    for cut in _blocks(len(arriving), 1):
        for row, part in _parts(mapping, index, arriving[cut]):
            if not mapping.slices[row - 1].owns:
                numbers = mapping.sum_numbers(row)
                found.setdefault(row, []).append(part["sums"][:, numbers])
    return ((row, np.concatenate(sums)) for row, sums in found.items())


def _parts(
    mapping: Mapping, index: int, arriving: NDArray[Any]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """What the part of every row of a layer comes to, in one block; see ``Plan.run``."""
    stage = mapping.network.stages[index]
    samples, area = len(arriving), stage.input_shape[1] * stage.input_shape[2]
    heard_by: dict[Range, list[int]] = {}
    for row in mapping.stage_rows[index]:
        heard_by.setdefault(mapping.slices[row - 1].inputs, []).append(row)
    for heard, rows in heard_by.items():
        engine = _engine(mapping).part(mapping, index, heard)
        part = np.ascontiguousarray(arriving[:, heard[0] * area : heard[1] * area], np.int16)
        engine.costs.see(0, part)
        kernel, by_output = engine.choose(samples)
        slices = engine.numbers[0][1]
        result: dict[str, Any] = dict.fromkeys(("levels8", "levels16", "neuron_events"))
        result["sums"] = np.empty((samples, stage.neurons), np.int32)
        for key in ("xnor", "graded", "active"):
            result[key] = np.zeros((samples, slices), np.int64)
        engine.plan(kernel, by_output).run(kernel, part, [result], by_output)
        yield from ((row, result) for row in rows)


def _count_parts(
    mapping: Mapping, index: int, arriving: NDArray[Any], counted: dict[str, Array]
) -> None:
    """Events by part of the fan-in, and the partial sums, in one block."""
    places = {row: place for place, row in enumerate(mapping.stage_rows[index])}
    for row, part in _parts(mapping, index, arriving):
        owner = int(mapping.owners[row])
        counted["xnor_event"][:, row] = part["xnor"][:, places[row]]
        counted["graded_event"][:, row] = part["graded"][:, places[row]]
        if owner == row:
            continue
        copies = np.count_nonzero(part["sums"][:, mapping.sum_numbers(row)], axis=1)
        counted["partial_out"][:, row] = copies
        counted["partial_in"][:, owner] += copies
        if mapping.chip.sync == "token":
            counted["token_out"][:, row] += 1
            counted["token_in"][:, owner] += 1
            copies = copies + 1
        along_x, along_y = mapping.ways.crossed(row, (owner,))
        counted["hop_x"][:, row] += copies * along_x
        counted["hop_y"][:, row] += copies * along_y
        counted["hop_local"][:, row] += copies


def _checked(mapping: Mapping, inputs: NDArray[Any]) -> NDArray[np.int16]:
    """Input levels as the kernel takes them; others would be cut to their lowest bits."""
    entry = mapping.network.input
    if inputs.dtype.kind not in "iu" or inputs.ndim != 2 or inputs.shape[1] != entry.size:
        raise SimulationError(
            f"encoded inputs are {inputs.dtype} of shape {list(inputs.shape)}; "
            f"need integers of shape [batch, {entry.size}]"
        )
    low = 0 if entry.encoding == "bitplane" else -entry.maximum
    if inputs.size and (inputs.min() < low or inputs.max() > entry.maximum):
        raise SimulationError(
            f"encoded inputs reach from {inputs.min()} to {inputs.max()}; "
            f"levels here are {low} to {entry.maximum}"
        )
    return np.ascontiguousarray(inputs, np.int16)


def _blocks(batch: int, threads: int) -> list[slice]:
    """Runs of samples, at most the lanes of the widest kernel, enough for every thread."""
    lanes = _kernel(os.environ.get("NEUROMORPH_SIMD", "")).lanes
    share = -(-batch // max(1, threads))
    size = min(lanes, max(64, -(-share // 64) * 64))
    return [slice(start, min(start + size, batch)) for start in range(0, batch, size)]


def _tallies(batch: int, mapping: Mapping, index: int) -> dict[str, Array]:
    shape = (batch, len(mapping.stage_rows[index]))
    return {key: np.zeros(shape, np.int64) for key in ("xnor", "graded", "active")}


def _each(work: Callable[[slice], None], items: list[slice], threads: int) -> None:
    if threads <= 1 or len(items) <= 1:
        for item in items:
            work(item)
        return
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(work, items):
            pass


def count_packets(
    mapping: Mapping, index: int, stage: Stage, levels: NDArray[Any], counted: dict[str, Array]
) -> None:
    """Spikes, packets, hops, tokens and fetched synapses of everything sent to one layer."""
    spikes, hearing = _spikes(stage, levels), mapping.hearing(index)
    targets, positions = list(mapping.stage_rows[index]), hearing.positions
    arrived, fetched = hearing.received(spikes)
    counted["spike_in"][:, targets] += arrived
    counted["fetched"][:, targets] += fetched
    for source, neurons in mapping.source_rows(index):
        first, last = int(neurons[0]), int(neurons[-1]) + 1
        whole = last - first == len(neurons)
        sent = spikes[:, first:last] if whole else spikes[:, neurons]
        total = _totals(sent, stage.spikes_per_input)
        if whole and first % positions == 0 and len(neurons) % positions == 0:
            sent = _over_channels(sent, positions, stage.spikes_per_input)
            neurons = neurons[:positions]
        at = neurons % positions
        each = mapping.sending(source, index, at)
        # where every spike goes everywhere, it costs the same
        cost = np.outer(total, each[0]) if positions == 1 else _product(sent, each)
        moved = {"packet_out": cost}
        counted["spike_out"][:, source] += total
        if mapping.chip.sync == "token":
            heard = mapping.heard(index, at)
            counted["token_in"][:, list(heard)] += 1
            moved["token_out"] = mapping.costs(source, heard)[None]
        for kind, cost in moved.items():
            counted[kind][:, source] += cost[:, 0]
            for place, action in enumerate(("hop_x", "hop_y", "hop_local"), start=1):
                counted[action][:, source] += cost[:, place]


def _spikes(stage: Stage, levels: NDArray[Any]) -> NDArray[np.uint8]:
    """Spikes that each level stands for; see ``reference.counting.spikes_of``."""
    if stage.spikes_per_input == 1:
        single: NDArray[np.uint8] = (levels != 0).view(np.uint8)
        return single
    spikes = np.zeros(levels.shape, np.uint8)
    for bit in range(stage.spikes_per_input):
        spikes += ((levels >> bit) & 1).astype(np.uint8)
    return spikes


def _totals(spikes: NDArray[np.uint8], most: int) -> Array:
    """Row sums; where a neuron sends at most one spike, eight neurons at a time."""
    if most == 1 and spikes.shape[1] % 8 == 0 and spikes.strides[1] == 1:
        spikes = np.bitwise_count(spikes.view(np.uint64))
    totals: Array = spikes.sum(axis=1, dtype=np.int64)
    return totals


def _over_channels(spikes: NDArray[np.uint8], positions: int, most: int) -> NDArray[Any]:
    """Spikes from every position of an image, its channels added up."""
    images = spikes.reshape(len(spikes), -1, positions)
    dtype = np.uint8 if images.shape[1] * most < 256 else np.uint32
    summed: NDArray[Any] = images.sum(axis=1, dtype=dtype)
    return summed


def _product(a: NDArray[Any], b: NDArray[Any]) -> Array:
    """Integer matrix product through floating point, in a type that stays exact."""
    largest = a.shape[1] * int(a.max(initial=0)) * int(b.max(initial=0))
    dtype = np.float32 if largest < 2**24 else np.float64  # integers are exact up to there
    product: Array = (a.astype(dtype) @ b.astype(dtype)).astype(np.int64)
    return product
