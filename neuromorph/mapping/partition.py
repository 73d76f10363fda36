"""Cutting layers into slices that fit a core.

What a slice takes of a limit is a product of what its rows, its columns and
its channels take (of input axons, the sum of such products over the sources),
so a cut is judged from its runs; slices are made only of the cut that is taken.

A layer of which no single output fits, because its fan-in needs more input
axons or synapse memory than a core has, is cut by input channels as well: the
parts of a box send their partial sums to the one that owns its neurons.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import NDArray

from neuromorph.chip import Chip
from neuromorph.mapping.slices import (
    Range,
    Slice,
    channels_heard,
    cut,
    input_range,
    source_run,
    sum_range,
)
from neuromorph.network import Network, Source, Stage

__all__ = ["SUM_BITS", "Limit", "partition"]

# Bits of a partial sum in a packet, sign included.
SUM_BITS = 16

REMEDIES = {
    "neurons": "use a chip with more neurons a core, or a pool with smaller, separate windows",
    "axons_in": "use a chip with more input axons, or a layer with a smaller fan-in",
    "axons_out": "use a chip with more output axons, or larger cores in the next layer",
    "synapse_bits": "use a chip with more synapse memory, a smaller fan-in, or fewer weight levels",
    "accumulator_bits": "use a chip with wider accumulators, a smaller fan-in, or fewer levels",
    "partial_sum_bits": "use a chip with more input axons, or fewer levels",
    "weight_bits": "use a chip with wider weights, or a network of fewer weight levels",
    "ways": (
        "no turns that keep buffers free of deadlock lead there: keep slices away with "
        "mesh.dead_cores, or leave mesh.buffer out"
    ),
    "cores": "use a larger mesh or larger cores, several chips ([board]), or a smaller network",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One limit of the chip beside what the network needs of it."""

    limit: str
    needed: int
    available: int
    where: str

    @property
    def fits(self) -> bool:
        """Whether the need is within the limit."""
        return self.needed <= self.available

    @property
    def remedy(self) -> str:
        """What would help."""
        return REMEDIES[self.limit]


def partition(network: Network, chip: Chip) -> tuple[tuple[Slice, ...] | None, tuple[Limit, ...]]:
    """Slices of every layer (cores not yet given), None if a limit is broken; and all limits.

    Layers are cut from the last to the first, since the output axons of a
    core depend on how the next layer is cut.  A layer that cannot be cut
    small enough contributes the limits it breaks and no slices; how many
    output axons the layer before it needs is then not known and not said.
    """
    cuts: list[_Cut | None] = []
    limits: list[Limit] = []
    ears: dict[int, list[_Ears] | None] = {index: [] for index in range(len(network.stages))}
    for index in range(len(network.stages) - 1, -1, -1):
        stage = network.stages[index]
        found, needs = _cut_stage(stage, chip, ears[index])
        limits = needs + limits
        cuts.insert(0, found)
        for source in stage.sources:
            others = ears.get(source.stage)
            if found is None:
                ears[source.stage] = None
            elif others is not None:
                others.append(_Ears.of(found, source))
    known = [found for found in cuts if found is not None]
    where = "whole network" if len(known) == len(cuts) else "layers that can be cut"
    needed = sum(found.slices for found in known)
    if chip.unusable_cores:
        dead, cut_off = len(chip.dead_cores), len(chip.unusable_cores) - len(chip.dead_cores)
        said = [f"{dead} of {chip.cores} cores are dead"] if dead else []
        said += [f"{cut_off} of {chip.cores} cores are cut off by dead links"] if cut_off else []
        where += f" ({', '.join(said)})"
    limits.append(Limit(limit="cores", needed=needed, available=chip.working_cores, where=where))
    if not all(limit.fits for limit in limits):
        return None, tuple(limits)
    slices = [s for index, found in enumerate(known) for s in _slices(index, found)]
    return tuple(slices), tuple(limits)


class _Runs:
    """One axis of a layer's outputs in equal runs, and what the runs take of limits."""

    def __init__(self, stage: Stage, axis: int, parts: int) -> None:
        self.stage, self.axis, self.parts = stage, axis, parts
        edges = stage.output_shape[1 + axis] * np.arange(parts + 1) // parts
        self.first, self.last = edges[:-1], edges[1:]
        starts, stops = self.first.copy(), self.last.copy()
        if stage.pool is not None:
            starts *= stage.pool.stride[axis]
            stops *= stage.pool.stride[axis]
            stops[-1] = stage.sum_shape[1 + axis]  # as sum_range
        self.starts, self.stops = starts, stops
        self.most_sums = int((stops - starts).max())
        size = stage.input_shape[1 + axis]
        low = starts * stage.stride[axis] - stage.padding[axis]
        high = (stops - 1) * stage.stride[axis] - stage.padding[axis] + stage.extent[axis]
        self.low, self.high = np.clip(low, 0, size), np.clip(high, 0, size)  # as input_range

    def seen(self, factor: int) -> NDArray[np.int64]:
        """Rows (or columns) that each run sees of a source up-sampled by ``factor``."""
        low, high = source_run(self.low, self.high, factor)
        return high - low

    def most_heard(self, heard: NDArray[np.int64]) -> int:
        """Most destinations of the outputs of one run, from those of every output."""
        before = np.concatenate(([0], np.cumsum(heard)))
        return int((before[self.last] - before[self.first]).max())

    @cached_property
    def taps(self) -> NDArray[np.int64]:
        """Neurons of a run that use each kernel row (or column): (different runs, kernel)."""
        low, high = self.stage.tap_range(self.axis)
        stops = np.minimum(self.stops[:, None], high)
        used = np.maximum(stops - np.maximum(self.starts[:, None], low), 0)
        different: NDArray[np.int64] = np.unique(used, axis=0)
        return different


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cut:
    """A layer cut into equal boxes of rows, columns and channels, and of input channels."""

    stage: Stage
    rows: _Runs
    columns: _Runs
    channels: int  # parts
    inputs: int = 1  # parts of the fan-in

    @property
    def boxes(self) -> int:
        return self.rows.parts * self.columns.parts * self.channels

    @property
    def slices(self) -> int:
        return self.boxes * self.inputs


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ears:
    """How many slices of a layer that listens hear an output: rows × columns × channel parts."""

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    parts: int

    @classmethod
    def of(cls, following: _Cut, source: Source) -> _Ears:
        """For the outputs of ``source``, whose listener is cut so."""
        _, height, width = source.shape
        if following.stage.input_shape[1:] == (1, 1):  # flattened: everybody is heard by all
            rows, columns = np.ones(height, np.int64), np.ones(width, np.int64)
            return cls(rows=rows, columns=columns, parts=following.boxes)
        return cls(
            rows=_covered(following.rows, height, source.upsample),
            columns=_covered(following.columns, width, source.upsample),
            parts=following.channels,
        )


def _covered(runs: _Runs, size: int, factor: int) -> NDArray[np.int64]:
    """How many runs see each row (or column) of a source, up-sampled by ``factor``."""
    low, high = source_run(runs.low, runs.high, factor)
    steps = np.bincount(low, minlength=size + 1) - np.bincount(high, minlength=size + 1)
    return np.cumsum(steps)[:size]


class _Needs:
    """What the slices of one layer take of the limits of a core."""

    def __init__(self, stage: Stage, chip: Chip, ears: list[_Ears] | None, inputs: int = 1) -> None:
        self.stage, self.chip, self.ears, self.inputs = stage, chip, ears, inputs
        self.bits = stage.weight_bits + chip.index_bits
        present = stage.weights != 0 if chip.storage == "sparse" else np.ones_like(stage.weights)
        # stored weights of each (part of the fan-in and channel, kernel row, kernel column)
        self.channels, heard = present.shape[:2]
        parts = cut(heard, inputs)
        edges = np.array([first for first, _ in parts])
        self.present = np.add.reduceat(present, edges, axis=1, dtype=np.int64).swapaxes(0, 1)
        self.largest_part = _largest_sum(stage, edges)
        # channels of each source that each part of the fan-in hears
        self.heard = np.array([channels_heard(stage, part) for part in parts])

    def of_channel(self, rows: _Runs, columns: _Runs) -> dict[str, int]:
        """What one channel of the largest box takes, as far as it is known."""
        need = {
            "neurons": rows.most_sums * columns.most_sums,
            # does not depend on the number of channels
            "axons_in": int(self.axons(rows, columns).max()),
        }
        if self.ears is not None:
            need["axons_out"] = sum(
                rows.most_heard(ears.rows) * columns.most_heard(ears.columns) * ears.parts
                for ears in self.ears
            )
        if self.inputs > 1:  # to the owner
            need["axons_out"] = max(need.get("axons_out", 0), need["neurons"])
        return need

    def axons(self, rows: _Runs, columns: _Runs) -> NDArray[np.int64]:
        """Neurons that each box hears: (parts of the fan-in, rows, columns)."""
        factors = [source.upsample for source in self.stage.sources]
        windows = [np.outer(rows.seen(f), columns.seen(f)) for f in factors]
        axons: NDArray[np.int64] = np.tensordot(self.heard, windows, axes=1)
        return axons

    def synapse_bits(self, rows: _Runs, columns: _Runs) -> NDArray[np.int64]:
        """Bits of each channel in every different box: (boxes, channels)."""
        if self.chip.kernels == "shared":
            stored = self.present.sum(axis=(2, 3))
        else:
            per_column = self.present @ columns.taps.T  # (parts, channels, kernel rows, runs)
            each = (rows.taps @ per_column).swapaxes(1, 3)  # (parts, runs, runs, channels)
            stored = each.reshape(-1, self.channels)
        bits: NDArray[np.int64] = stored * self.bits
        return bits

    def parts(self, rows: _Runs, columns: _Runs) -> int | None:
        """Fewest runs of channels that let every box fit; None if one channel does not."""
        channels, chip = self.channels, self.chip
        need = self.of_channel(rows, columns)
        if need["axons_in"] > chip.axons_in:
            return None
        if self.inputs > 1 and self.largest_part.bit_length() + 1 > SUM_BITS:
            return None
        room = channels
        for limit in ("neurons", "axons_out"):
            if need.get(limit):
                room = min(room, getattr(chip, limit) // need[limit])
        if room == 0:
            return None
        bits = self.synapse_bits(rows, columns)
        if (bits > chip.synapse_bits).any():
            return None
        before = np.zeros((len(bits), channels + 1), np.int64)
        before[:, 1:] = np.cumsum(bits, axis=1)
        fewest = max(-(-channels // room), -(-int(before[:, -1].max()) // chip.synapse_bits), 1)
        for parts in range(fewest, channels + 1):
            edges = channels * np.arange(parts + 1) // parts  # as cut
            if (np.diff(before[:, edges], axis=1) <= chip.synapse_bits).all():
                return parts
        raise AssertionError("single channels fit, so there is a cut")

    def of(self, found: _Cut) -> dict[str, int]:
        """The most that a slice of the cut takes of every limit that is known."""
        channels = self.channels
        longest = -(-channels // found.channels)
        need = self.of_channel(found.rows, found.columns)
        edges = channels * np.arange(found.channels) // found.channels
        bits = np.add.reduceat(self.synapse_bits(found.rows, found.columns), edges, axis=1)
        most = {k: v if k == "axons_in" else v * longest for k, v in need.items()}
        return {**most, "synapse_bits": int(bits.max())}


def _cut_stage(
    stage: Stage, chip: Chip, ears: list[_Ears] | None
) -> tuple[_Cut | None, list[Limit]]:
    """The cut with the fewest cores, then the fewest axons, that respects every limit."""
    where = f"layer {stage.name!r}"
    spatial = stage.pool is None or not stage.pool.overlaps
    sizes = stage.output_shape[1:] if spatial else (1, 1)
    rows, columns = (
        [_Runs(stage, axis, parts) for parts in _part_counts(size)]
        for axis, size in enumerate(sizes)
    )
    needs = _Needs(stage, chip, ears)
    best = _best(needs, rows, columns)
    part, shown = "largest part", best
    if best is None and (fan_in := _split(stage, chip, ears, rows[-1], columns[-1])) is not None:
        needs, best = fan_in, _best(fan_in, rows, columns)
        part, shown = f"largest part (fan-in in {needs.inputs})", best
    if shown is None:
        part = "smallest possible part"
        fewest = stage.input_shape[0] if _breaks(needs, chip, rows[-1], columns[-1]) else 1
        needs = _Needs(stage, chip, ears, fewest)
        shown = _Cut(
            stage=stage,
            rows=rows[-1],
            columns=columns[-1],
            channels=stage.output_shape[0],
            inputs=fewest,
        )
    limits = [
        Limit(limit=limit, needed=most, available=getattr(chip, limit), where=f"{where}, {part}")
        for limit, most in needs.of(shown).items()
    ]
    if chip.weight_bits is not None:
        bits, most = stage.weight_bits, chip.weight_bits
        limits.append(Limit(limit="weight_bits", needed=bits, available=most, where=where))
    if shown.inputs > 1:
        bits = needs.largest_part.bit_length() + 1
        limits.append(Limit(limit="partial_sum_bits", needed=bits, available=SUM_BITS, where=where))
    limits.append(
        Limit(
            limit="accumulator_bits",
            needed=stage.largest_sum.bit_length() + 1,
            available=chip.accumulator_bits,
            where=where,
        )
    )
    return best, limits


def _best(needs: _Needs, rows: list[_Runs], columns: list[_Runs]) -> _Cut | None:
    best: _Cut | None = None
    cheapest: tuple[int, int] | None = None
    for y, x in product(rows, columns):
        if cheapest is not None and y.parts * x.parts * needs.inputs > cheapest[0]:
            continue
        parts = needs.parts(y, x)
        if parts is None:
            continue
        found = _Cut(stage=needs.stage, rows=y, columns=x, channels=parts, inputs=needs.inputs)
        cost = (found.slices, parts * int(needs.axons(y, x).sum()))
        if cheapest is None or cost < cheapest:
            best, cheapest = found, cost
    return best


def _breaks(needs: _Needs, chip: Chip, rows: _Runs, columns: _Runs) -> bool:
    """Whether the fan-in of one output is too much for a core."""
    axons = needs.of_channel(rows, columns)["axons_in"]
    bits = int(needs.synapse_bits(rows, columns).max())
    return axons > chip.axons_in or bits > chip.synapse_bits


def _split(
    stage: Stage, chip: Chip, ears: list[_Ears] | None, rows: _Runs, columns: _Runs
) -> _Needs | None:
    """Needs with the fan-in in as few parts as let one output fit; None if none or all do."""
    channels, whole = stage.input_shape[0], _Needs(stage, chip, ears)
    if channels == 1 or not _breaks(whole, chip, rows, columns):
        return None
    if _Needs(stage, chip, ears, channels).parts(rows, columns) is None:
        return None  # not even with a channel a part
    axons = int(whole.axons(rows, columns).max())
    bits = int(whole.synapse_bits(rows, columns).max())
    fewest = max(2, -(-axons // chip.axons_in), -(-bits // chip.synapse_bits))
    for parts in range(fewest, channels):  # more parts may need more: channels weigh differently
        needs = _Needs(stage, chip, ears, parts)
        if needs.parts(rows, columns) is not None:
            return needs
    return _Needs(stage, chip, ears, channels)


def _largest_sum(stage: Stage, edges: NDArray[np.int64]) -> int:
    """Largest magnitude a sum can take on its way, whatever the order of events.

    ``edges``: where the parts of the fan-in begin; the largest of any part.
    """
    weights = np.abs(stage.weights.astype(np.int64)).sum(axis=(2, 3))
    return int(np.add.reduceat(weights, edges, axis=1).max()) * stage.input_maximum


def _part_counts(size: int) -> list[int]:
    """Numbers of parts worth trying: those that give different largest parts."""
    return sorted({math.ceil(size / length) for length in range(1, size + 1)})


def _slices(index: int, found: _Cut) -> list[Slice]:
    """All slices of a cut: row by row, column by column, channel by channel, part by part."""
    stage = found.stage
    channels, height, width = stage.output_shape
    spans: list[list[tuple[Range, Range, Range]]] = []
    for axis, (size, runs) in enumerate(((height, found.rows), (width, found.columns))):
        sums = [(run, sum_range(stage, axis, run)) for run in cut(size, runs.parts)]
        spans.append([(run, s, input_range(stage, axis, s)) for run, s in sums])
    return [
        Slice(
            stage=index,
            layer=stage.name,
            core=-1,
            channels=run,
            rows=rows,
            columns=columns,
            sum_rows=sum_rows,
            sum_columns=sum_columns,
            input_rows=input_rows,
            input_columns=input_columns,
            inputs=heard,
        )
        for rows, sum_rows, input_rows in spans[0]
        for columns, sum_columns, input_columns in spans[1]
        for run in cut(channels, found.channels)
        for heard in cut(stage.input_shape[0], found.inputs)
    ]
