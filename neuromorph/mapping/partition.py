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
    "neurons": "use a chip with more neurons a core, or a pool with smaller, separate windows",
    "axons_in": "use a chip with more input axons, or a layer with a smaller fan-in",
    "axons_out": "use a chip with more output axons, or larger cores in the next layer",
    "synapse_bits": "use a chip with more synapse memory, a smaller fan-in, or fewer weight levels",
    "accumulator_bits": "use a chip with wider accumulators, a smaller fan-in, or fewer levels",
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
    small enough contributes the limits it breaks and no slices; how many
    output axons the layer before it needs is then not known and not said.
    """
    slices: list[Slice] = []
    limits: list[Limit] = []
    following: list[Slice] | None = []
    next_stage: Stage | None = None
    all_cut = True
    for index in range(len(network.stages) - 1, -1, -1):
        stage = network.stages[index]
        fan_out = None if following is None else _fan_out(stage, next_stage, following)
        found, needs = _cut_stage(index, stage, chip, fan_out)
        limits = needs + limits
        slices = (found or []) + slices
        all_cut = all_cut and found is not None
        following, next_stage = found, stage
    where = "whole network" if all_cut else "layers that can be cut"
    limits.append(Limit(limit="cores", needed=len(slices), available=chip.cores, where=where))
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


class _Needs:
    """What slices of one layer take of the limits of a core."""

    def __init__(self, stage: Stage, chip: Chip, fan_out: NDArray[np.int64] | None) -> None:
        self.stage, self.chip, self.fan_out = stage, chip, fan_out
        present = stage.weights != 0 if chip.storage == "sparse" else np.ones_like(stage.weights)
        # stored weights of each (channel, kernel row, kernel column)
        self.present = present.astype(np.int64).sum(axis=1)

    def axons_in(self, s: Slice) -> int:
        """Neurons whose spikes may arrive."""
        (top, bottom), (left, right) = s.input_rows, s.input_columns
        return self.stage.input_shape[0] * (bottom - top) * (right - left)

    def axons_out(self, s: Slice) -> int | None:
        """(output, destination core) pairs; None where the next layer is not cut."""
        if self.fan_out is None:
            return None
        edges = int(self.fan_out[slice(*s.rows), slice(*s.columns)].sum())
        return (s.channels[1] - s.channels[0]) * edges

    def synapse_bits(self, s: Slice) -> NDArray[np.int64]:
        """Bits of synapse memory of each channel of the slice."""
        present = self.present[slice(*s.channels)]
        if self.chip.kernels == "shared":
            stored = present.sum(axis=(1, 2))
        else:
            taps_y = _taps_per_kernel_row(self.stage, 0, s.sum_rows)
            taps_x = _taps_per_kernel_row(self.stage, 1, s.sum_columns)
            stored = present @ taps_x @ taps_y
        bits: NDArray[np.int64] = stored * (self.stage.weight_levels.bits + self.chip.index_bits)
        return bits

    def of(self, s: Slice) -> dict[str, int | None]:
        """Every limit of a core."""
        return {
            "neurons": s.neurons,
            "axons_in": self.axons_in(s),
            "axons_out": self.axons_out(s),
            "synapse_bits": int(self.synapse_bits(s).sum()),
        }

    def parts(self, boxes: list[Slice]) -> int | None:
        """Fewest runs of channels that let every box fit; None if one channel does not."""
        channels, chip = self.stage.output_shape[0], self.chip
        room = channels
        for box in boxes:
            if self.axons_in(box) > chip.axons_in:
                return None
            for needed, available in (
                (box.neurons // channels, chip.neurons),
                ((self.axons_out(box) or 0) // channels, chip.axons_out),
            ):
                room = min(room, available // needed) if needed else room
        if room == 0:
            return None
        bits = np.zeros((len(boxes), channels + 1), np.int64)
        bits[:, 1:] = np.cumsum([self.synapse_bits(box) for box in boxes], axis=1)
        if (np.diff(bits, axis=1) > chip.synapse_bits).any():
            return None
        fewest = max(math.ceil(channels / room), math.ceil(bits[:, -1].max() / chip.synapse_bits))
        for parts in range(max(fewest, 1), channels + 1):
            edges = [0, *(stop for _, stop in cut(channels, parts))]
            if (np.diff(bits[:, edges], axis=1) <= chip.synapse_bits).all():
                return parts
        raise AssertionError("single channels fit, so there is a cut")


def _cut_stage(
    index: int, stage: Stage, chip: Chip, fan_out: NDArray[np.int64] | None
) -> tuple[list[Slice] | None, list[Limit]]:
    """The cut with the fewest cores, then the fewest axons, that respects every limit."""
    where = f"layer {stage.name!r}"
    channels, height, width = stage.output_shape
    needs = _Needs(stage, chip, fan_out)
    spatial = stage.pool is None or not stage.pool.overlaps
    best: tuple[tuple[int, int], list[Slice]] | None = None
    parts_y = _part_counts(height) if spatial else [1]
    parts_x = _part_counts(width) if spatial else [1]
    for ny, nx in product(parts_y, parts_x):
        if best is not None and ny * nx > best[0][0]:
            continue
        boxes = [_box(index, stage, y, x) for y in cut(height, ny) for x in cut(width, nx)]
        parts = needs.parts(boxes)
        if parts is None:
            continue
        runs = cut(channels, parts)
        found = [replace(box, channels=run) for box in boxes for run in runs]
        cost = (len(found), sum(needs.axons_in(s) for s in found))
        if best is None or cost < best[0]:
            best = cost, found
    if best is not None:
        shown, part = best[1], "largest part"
    else:
        smallest = [
            _box(index, stage, y, x)
            for y in (cut(height, height) if spatial else [(0, height)])
            for x in (cut(width, width) if spatial else [(0, width)])
        ]
        # dense rows are alike, sparse ones are not
        heads = range(channels) if chip.storage == "sparse" else range(1)
        shown = [replace(box, channels=(c, c + 1)) for box in smallest for c in heads]
        part = "smallest possible part"
    limits = []
    for limit, most in _most([needs.of(s) for s in shown]).items():
        available = getattr(chip, limit)
        limits.append(
            Limit(limit=limit, needed=most, available=available, where=f"{where}, {part}")
        )
    limits.append(
        Limit(
            limit="accumulator_bits",
            needed=_largest_sum(stage).bit_length() + 1,
            available=chip.accumulator_bits,
            where=where,
        )
    )
    return (None if best is None else best[1]), limits


def _most(needs: list[dict[str, int | None]]) -> dict[str, int]:
    """The largest of every limit that is known."""
    known: dict[str, int] = {}
    for need in needs:
        for limit, amount in need.items():
            if amount is not None:
                known[limit] = max(known.get(limit, 0), amount)
    return known


def _largest_sum(stage: Stage) -> int:
    """Largest magnitude a sum can take on its way, whatever the order of events."""
    weights = np.abs(stage.weights.astype(np.int64)).sum(axis=(1, 2, 3))
    return int(weights.max()) * stage.input_maximum


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


def _taps_per_kernel_row(stage: Stage, axis: int, sums: tuple[int, int]) -> NDArray[np.int64]:
    """How many neurons of the run use each kernel row (or column) inside the image."""
    kernel, size = stage.weights.shape[2 + axis], stage.input_shape[1 + axis]
    reached = np.arange(*sums)[:, None] * stage.stride[axis] - stage.padding[axis]
    reached = reached + np.arange(kernel)
    used: NDArray[np.int64] = ((reached >= 0) & (reached < size)).sum(axis=0)
    return used
