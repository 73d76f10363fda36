"""Untimed run of a mapped network by the bit-sliced kernel (twin of ``reference.counting``).

Samples run in blocks of up to 64 … 512, blocks in threads.  Every layer of a
block runs in one of two orientations (``vcount.h``), whichever costs less:
lanes are samples and zero weights are skipped, or lanes are outputs and levels
at rest are skipped.  The kernel counts sums, levels and synaptic events;
packets and fetched rows follow from the levels by exact integer products with
the mapping's tables.

Layers that each hear the one before run in one go, as a *chain*; what joins several
sources begins a new one, and a layer of fixed point ends one: the kernel gives its
sums, which are then rounded.  A layer whose fan-in is split runs once more for each
part, as a layer of sums.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from neuromorph.errors import SimulationError
from neuromorph.events import HOPS
from neuromorph.kernels._vcount import Kernel, Plan
from neuromorph.kernels.costs import Costs
from neuromorph.kernels.packets import count_packets
from neuromorph.kernels.plans import NetworkPlan, Numbers, part_of, slice_numbers, summed
from neuromorph.mapping import COUNTED, Mapping, Tally
from neuromorph.mapping.slices import Range
from neuromorph.network import Stage
from neuromorph.network.forward import arriving, fire

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
        self.plans: dict[str, NetworkPlan] = {}
        self.parts: dict[tuple[int, Range], _Engine] = {}
        self.lock = Lock()

    def plan(self, kernel: Kernel, by_output: list[bool]) -> Plan:
        """The plan for a vector width, ready for these orientations."""
        with self.lock:
            if kernel.name not in self.plans:
                self.plans[kernel.name] = NetworkPlan(self.stages, self.numbers, kernel)
            return self.plans[kernel.name].prepare(by_output)

    def part(self, mapping: Mapping, index: int, heard: Range) -> _Engine:
        """The engine of a layer with a part of its fan-in."""
        if (index, heard) not in self.parts:
            stage = part_of(mapping.network.stages[index], heard)
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


class _Chain(_Engine):
    """Layers of a network from ``first`` on, each of which hears the one before."""

    def __init__(self, mapping: Mapping, first: int, last: int) -> None:
        self.first, self.last = first, last
        numbers = [slice_numbers(mapping, index) for index in range(first, last)]
        *stages, end = mapping.network.stages[first:last]
        self.rounded = None if end.rounding is None else end
        super().__init__([*stages, end if self.rounded is None else summed(end)], numbers)

    def run(
        self, inputs: NDArray[Any], levels: list[NDArray[Any]], results: list[dict[str, Any]]
    ) -> None:
        """One block: fills ``results`` of all layers as ``Plan.run``, ``levels`` among them."""
        part = arriving(self.stages[0], inputs, levels)
        part = np.ascontiguousarray(part, np.int16)
        self.costs.see(0, part)
        kernel, by_output = self.choose(len(part))
        mine = results[self.first : self.last]
        if self.rounded is not None and mine[-1]["sums"] is None:
            mine[-1]["sums"] = _empty_sums(len(part), self.rounded)
        self.plan(kernel, by_output).run(kernel, part, mine, by_output)
        if self.rounded is not None:
            sums = mine[-1]["sums"].reshape(-1, *self.rounded.sum_shape)
            levels[self.last - 1][...] = fire(self.rounded, sums)
        for i, found in enumerate(levels[self.first : self.last], start=1):
            self.costs.see(i, found)


def _empty_sums(samples: int, stage: Stage) -> NDArray[Any]:
    return np.empty((samples, stage.neurons), stage.sum_dtype)


_chains: WeakKeyDictionary[Mapping, list[_Chain]] = WeakKeyDictionary()


def _chains_of(mapping: Mapping) -> list[_Chain]:
    chains = _chains.get(mapping)
    if chains is None:
        stages = mapping.network.stages
        starts = [
            i
            for i, s in enumerate(stages)
            if s.joins or s.sources[0].stage != i - 1 or i == 0 or stages[i - 1].rounding
        ]
        chains = [_Chain(mapping, *ends) for ends in pairwise([*starts, len(stages)])]
        _chains[mapping] = chains
    return chains


def _chain_of(mapping: Mapping, index: int) -> _Chain:
    return next(chain for chain in _chains_of(mapping) if chain.first <= index < chain.last)


def count(mapping: Mapping, inputs: NDArray[np.int16], *, threads: int = 1) -> Tally:
    """Run encoded inputs (batch, size) through the mapping and count every event."""
    chains, network = _chains_of(mapping), mapping.network
    inputs = _checked(mapping, inputs)
    batch = len(inputs)
    outputs = _empty_sums(batch, network.stages[-1])
    levels = [np.empty((batch, s.outputs), s.levels.dtype) for s in network.stages if s.levels]
    tallies = [_tallies(batch, mapping, i) for i in range(len(network.stages))]
    counted = {name: np.zeros((batch, mapping.rows), np.int64) for name in COUNTED}

    def block(cut: slice) -> None:
        results = []
        for i, stage in enumerate(network.stages):
            result: dict[str, Any] = dict.fromkeys(("levels8", "levels16", "sums", "neuron_events"))
            if stage.levels is None:
                result["sums"] = outputs[cut]
            elif stage.rounding is None:
                key = "levels16" if stage.levels.dtype == np.int16 else "levels8"
                result[key] = levels[i][cut]
            result.update({key: array[cut] for key, array in tallies[i].items()})
            results.append(result)
        here = [found[cut] for found in levels]
        for chain in chains:
            chain.run(inputs[cut], here, results)

    def packets(cut: slice) -> None:
        here = {name: table[cut] for name, table in counted.items()}
        for sender, sent in enumerate([inputs, *levels], start=-1):
            count_packets(mapping, sender, sent[cut], here)

    cuts = _blocks(batch, threads)
    if cuts and not all(chain.costs.complete for chain in chains):
        block(cuts.pop(0))  # tells the activity of the layers
    _each(block, cuts, threads)
    share = max(1, -(-batch // max(1, threads)))
    _each(packets, [slice(at, at + share) for at in range(0, batch, share)], threads)
    for i, stage in enumerate(network.stages):
        rows = list(mapping.stage_rows[i])
        counted["xnor_event"][:, rows] = tallies[i]["xnor"]
        counted["graded_event"][:, rows] = tallies[i]["graded"]
        counted["neuron_update_active"][:, rows] = tallies[i]["active"]
        if mapping.owner_rows[i] != mapping.stage_rows[i]:
            for cut in _blocks(batch, 1):
                part = arriving(stage, inputs[cut], [found[cut] for found in levels])
                _count_parts(mapping, i, part, {k: v[cut] for k, v in counted.items()})
    return Tally(outputs=outputs, levels=list(levels), counted=counted)


def neuron_counts(
    mapping: Mapping, inputs: NDArray[np.int16]
) -> list[tuple[NDArray[Any], NDArray[np.int32]]]:
    """(sums, synaptic events) of every neuron, layer by layer: (batch, neurons).

    Sums are int32, or int64 where they may be wider; events int32.
    """
    network = mapping.network
    inputs = _checked(mapping, inputs)
    batch = len(inputs)
    levels = [np.empty((batch, s.outputs), s.levels.dtype) for s in network.stages if s.levels]
    found = [
        (_empty_sums(batch, s), np.empty((batch, s.neurons), np.int32)) for s in network.stages
    ]
    for cut in _blocks(batch, 1):
        results = []
        for i, (stage, (sums, events)) in enumerate(zip(network.stages, found)):
            result: dict[str, Any] = {"levels8": None, "levels16": None}
            if stage.levels is not None and stage.rounding is None:
                key = "levels16" if stage.levels.dtype == np.int16 else "levels8"
                result[key] = levels[i][cut]
            result |= {"sums": sums[cut], "neuron_events": events[cut]}
            results.append(result | _tallies(len(sums[cut]), mapping, i))
        here = [leaving[cut] for leaving in levels]
        for chain in _chains_of(mapping):
            chain.run(inputs[cut], here, results)
    return found


def partial_sums(
    mapping: Mapping, index: int, image: NDArray[Any]
) -> Iterator[tuple[int, NDArray[Any]]]:
    """(row, (batch, neurons of its slice)) of every row of a layer that sends partial sums.

    ``image``: levels (batch, inputs) that the layer gets.
    """
    found: dict[int, list[NDArray[Any]]] = {}
    for cut in _blocks(len(image), 1):
        for row, part in _parts(mapping, index, image[cut]):
            if not mapping.slices[row - 1].owns:
                numbers = mapping.sum_numbers(row)
                found.setdefault(row, []).append(part["sums"][:, numbers])
    return ((row, np.concatenate(sums)) for row, sums in found.items())


def _parts(
    mapping: Mapping, index: int, image: NDArray[Any]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """What the part of every row of a layer comes to, in one block; see ``Plan.run``."""
    stage = mapping.network.stages[index]
    samples, area = len(image), stage.input_shape[1] * stage.input_shape[2]
    heard_by: dict[Range, list[int]] = {}
    for row in mapping.stage_rows[index]:
        heard_by.setdefault(mapping.slices[row - 1].inputs, []).append(row)
    for heard, rows in heard_by.items():
        engine = _chain_of(mapping, index).part(mapping, index, heard)
        part = np.ascontiguousarray(image[:, heard[0] * area : heard[1] * area], np.int16)
        engine.costs.see(0, part)
        kernel, by_output = engine.choose(samples)
        slices = engine.numbers[0][1]
        result: dict[str, Any] = dict.fromkeys(("levels8", "levels16", "neuron_events"))
        result["sums"] = _empty_sums(samples, stage)
        for key in ("xnor", "graded", "active"):
            result[key] = np.zeros((samples, slices), np.int64)
        engine.plan(kernel, by_output).run(kernel, part, [result], by_output)
        yield from ((row, result) for row in rows)


def _count_parts(
    mapping: Mapping, index: int, image: NDArray[Any], counted: dict[str, Array]
) -> None:
    """Events by part of the fan-in, and the partial sums, in one block."""
    places = {row: place for place, row in enumerate(mapping.stage_rows[index])}
    for row, part in _parts(mapping, index, image):
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
        for action, links in zip(HOPS, mapping.ways.crossed(row, (owner,))):
            counted[action][:, row] += copies * links
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
