"""Cutting layers into slices that fit a core."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from neuromorph.chip import Chip
from neuromorph.mapping.slices import Slice, cut, input_range, sum_range
from neuromorph.network import Network, Stage

__all__ = ["Limit", "partition"]

REMEDIES = {
    "neurons": "use a chip with more neurons a core, or fewer channels",
    "axons_in": "use a chip with more input axons, or a layer with a smaller fan-in",
    "axons_out": "use a chip with more output axons, or larger cores in the next layer",
    "synapse_bits": "use a chip with more synapse memory, or fewer levels a weight",
    "accumulator_bits": "use a chip with wider accumulators, or fewer levels",
    "cores": "use a larger mesh or larger cores, or a smaller network",
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


def partition(network: Network, chip: Chip) -> tuple[list[Slice], list[Limit]]:
    """Slices of every layer (cores not yet given) and the limits they meet.

    Layers are cut from the last to the first, since the output axons of a
    core depend on how the next layer is cut.  A layer that cannot be cut
    small enough contributes the limits it breaks and no slices.
    """
    slices: list[Slice] = []
    limits: list[Limit] = []
    following: list[Slice] = []
    next_stage: Stage | None = None
    for index in range(len(network.stages) - 1, -1, -1):
        stage = network.stages[index]
        fan_out = _fan_out(stage, next_stage, following)
        found, needs = _cut_stage(index, stage, chip, fan_out)
        limits = needs + limits
        slices = found + slices
        following, next_stage = found, stage
    limits.append(
        Limit(limit="cores", needed=len(slices), available=chip.cores, where="whole network")
    )
    return slices, limits


def _fan_out(stage: Stage, nxt: Stage | None, following: list[Slice]) -> NDArray[np.int64]:
    """Number of destination cores of an output at each (row, column)."""
    _, height, width = stage.output_shape
    count = np.zeros((height, width), np.int64)
    if nxt is None:
        return count
    if nxt.input_shape[1:] == (1, 1):
        return count + len(following)
    for s in following:
        count[slice(*s.input_rows), slice(*s.input_columns)] += 1
    return count


def _cut_stage(
    index: int, stage: Stage, chip: Chip, fan_out: NDArray[np.int64]
) -> tuple[list[Slice], list[Limit]]:
    """The cut with the fewest cores, then the fewest axons, that respects every limit."""
    where = f"layer {stage.name!r}"
    channels, height, width = stage.output_shape
    widest = int(
        (np.abs(stage.weights.astype(np.int64)).sum(axis=(1, 2, 3)) * stage.input_maximum).max()
    )
    accumulator = Limit(
        limit="accumulator_bits",
        needed=widest.bit_length() + 1,
        available=chip.accumulator_bits,
        where=where,
    )
    spatial = stage.pool is None or not stage.pool.overlaps
    best: tuple[tuple[int, int], list[Slice]] | None = None
    parts_y = _part_counts(height) if spatial else [1]
    parts_x = _part_counts(width) if spatial else [1]
    for ny, nx in product(parts_y, parts_x):
        if best is not None and ny * nx > best[0][0]:
            continue
        boxes = [_box(index, stage, y, x) for y in cut(height, ny) for x in cut(width, nx)]
        room = min(_channels_that_fit(stage, chip, box, fan_out) for box in boxes)
        if room == 0:
            continue
        runs = cut(channels, math.ceil(channels / room))
        found = [replace(box, channels=run) for box in boxes for run in runs]
        cost = (len(found), sum(_needs(stage, chip, s, fan_out)["axons_in"] for s in found))
        if best is None or cost < best[0]:
            best = cost, found
    if best is None:
        smallest = [
            _box(index, stage, y, x)
            for y in (cut(height, height) if spatial else [(0, height)])
            for x in (cut(width, width) if spatial else [(0, width)])
        ]
        # dense rows are alike, sparse ones are not
        heads = range(channels) if chip.storage == "sparse" else range(1)
        found = [replace(box, channels=(c, c + 1)) for box in smallest for c in heads]
        part = "smallest possible part"
    else:
        found, part = best[1], "largest part"
    limits = []
    needs = [_needs(stage, chip, s, fan_out) for s in found]
    for limit in ("neurons", "axons_in", "axons_out", "synapse_bits"):
        needed = max(need[limit] for need in needs)
        available = getattr(chip, limit)
        limits.append(
            Limit(limit=limit, needed=needed, available=available, where=f"{where}, {part}")
        )
    return (best[1] if best else []), [*limits, accumulator]


def _part_counts(size: int) -> list[int]:
    """Numbers of parts worth trying: those that give different largest parts."""
    return sorted({math.ceil(size / length) for length in range(1, size + 1)})


def _box(index: int, stage: Stage, rows: tuple[int, int], columns: tuple[int, int]) -> Slice:
    sum_rows, sum_columns = sum_range(stage, 0, rows), sum_range(stage, 1, columns)
    return Slice(
        stage=index,
        layer=stage.name,
        core=-1,
        channels=(0, stage.output_shape[0]),
        rows=rows,
        columns=columns,
        sum_rows=sum_rows,
        sum_columns=sum_columns,
        input_rows=input_range(stage, 0, sum_rows),
        input_columns=input_range(stage, 1, sum_columns),
    )


def _needs(stage: Stage, chip: Chip, s: Slice, fan_out: NDArray[np.int64]) -> dict[str, int]:
    """What a slice takes of every limit of a core."""
    channels = s.channels[1] - s.channels[0]
    rows, columns = s.input_rows, s.input_columns
    inputs = stage.input_shape[0] * (rows[1] - rows[0]) * (columns[1] - columns[0])
    edges = int(fan_out[slice(*s.rows), slice(*s.columns)].sum())
    bits = stage.weight_levels.bits + chip.index_bits
    weights = stage.weights[slice(*s.channels)]
    if chip.kernels == "shared":
        stored = int(np.count_nonzero(weights)) if chip.storage == "sparse" else weights.size
    else:
        taps_y = _taps_per_kernel_row(stage, 0, s.sum_rows)
        taps_x = _taps_per_kernel_row(stage, 1, s.sum_columns)
        present = weights != 0 if chip.storage == "sparse" else np.ones(weights.shape, bool)
        stored = int(np.einsum("ocyx,y,x->", present.astype(np.int64), taps_y, taps_x))
    return {
        "neurons": s.neurons,
        "axons_in": inputs,
        "axons_out": channels * edges,
        "synapse_bits": stored * bits,
    }


def _taps_per_kernel_row(stage: Stage, axis: int, sums: tuple[int, int]) -> NDArray[np.int64]:
    """How many neurons of the run use each kernel row (or column) inside the image."""
    kernel, size = stage.weights.shape[2 + axis], stage.input_shape[1 + axis]
    reached = np.arange(*sums)[:, None] * stage.stride[axis] - stage.padding[axis]
    reached = reached + np.arange(kernel)
    return ((reached >= 0) & (reached < size)).sum(axis=0)


def _channels_that_fit(stage: Stage, chip: Chip, box: Slice, fan_out: NDArray[np.int64]) -> int:
    """Most channels (any run of them) that the box may hold on one core; 0 if none."""
    whole = _needs(stage, chip, box, fan_out)
    if whole["axons_in"] > chip.axons_in:
        return 0
    channels = stage.output_shape[0]
    heaviest = max(
        _needs(stage, chip, replace(box, channels=(c, c + 1)), fan_out)["synapse_bits"]
        for c in (range(channels) if chip.storage == "sparse" else (0,))
    )
    room = channels
    for needed, available in (
        (whole["neurons"] // channels, chip.neurons),
        (whole["axons_out"] // channels, chip.axons_out),
        (heaviest, chip.synapse_bits),
    ):
        if needed:
            room = min(room, available // needed)
    return room


