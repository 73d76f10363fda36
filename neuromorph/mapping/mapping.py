"""Neurons onto cores: which slice of which layer sits where, and who sends to whom."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from neuromorph.chip import Chip
from neuromorph.errors import MappingError
from neuromorph.events import Hardware, format_table
from neuromorph.mapping.partition import Limit, partition
from neuromorph.mapping.slices import Slice, tap_counts
from neuromorph.network import Network, Stage

__all__ = ["Fit", "Mapping", "check_fit", "map_network"]

INPUT_CORE = -1
INPUT_LAYER = "input"


@dataclass(frozen=True, kw_only=True, eq=False)
class Mapping:
    """A network placed on a chip.

    Row 0 of every table is the input port at tile (0, 0); row i + 1 is
    ``slices[i]``.  One core holds at most one slice.
    """

    network: Network
    chip: Chip
    slices: tuple[Slice, ...]
    limits: tuple[Limit, ...] = ()

    def __repr__(self) -> str:
        return (
            f"<Mapping of {self.network.name!r} on {self.chip.name}: "
            f"{len(self.slices)} of {self.chip.cores} cores>"
        )

    @property
    def cores_used(self) -> int:
        """Number of cores that hold a slice."""
        return len(self.slices)

    @property
    def rows(self) -> int:
        """Rows of every table: slices and the input port."""
        return len(self.slices) + 1

    @cached_property
    def row_layers(self) -> tuple[str, ...]:
        """Layer name of every row."""
        return (INPUT_LAYER, *(s.layer for s in self.slices))

    @cached_property
    def row_cores(self) -> NDArray[np.int64]:
        """Core of every row; −1 for the input port."""
        return np.array([INPUT_CORE, *(s.core for s in self.slices)], np.int64)

    @cached_property
    def tiles(self) -> NDArray[np.int64]:
        """(column, row) of the tile of every row, shape (rows, 2)."""
        return np.array([(0, 0), *(self.chip.tile(s.core) for s in self.slices)], np.int64)

    @cached_property
    def stage_rows(self) -> tuple[tuple[int, ...], ...]:
        """For each layer: the table rows of its slices."""
        return tuple(
            tuple(row for row, s in enumerate(self.slices, start=1) if s.stage == index)
            for index in range(len(self.network.stages))
        )

    @cached_property
    def pairs(self) -> NDArray[np.int64]:
        """Dense synaptic pairs of one sample, one value a row."""
        pairs = np.zeros(self.rows, np.int64)
        for index, stage in enumerate(self.network.stages):
            per_position = self.fetch_table(index).sum(axis=0)
            pairs[list(self.stage_rows[index])] = (
                per_position * stage.input_shape[0] * stage.spikes_per_input
            )
        return pairs

    @cached_property
    def hardware(self) -> Hardware:
        """The facts prices need."""
        return Hardware(
            chip=self.chip.name,
            dataflow=self.chip.dataflow,
            tick_s=self.chip.tick_s,
            cores_used=self.cores_used,
            synapse_memory_bits=self.chip.synapse_bits,
            state_memory_bits=self.chip.neurons * self.chip.accumulator_bits,
            axon_memory_bits=self.chip.axons_in * self.chip.axon_entry_bits,
        )

    def fetch_table(self, index: int) -> NDArray[np.int64]:
        """Synapses a spike fetches: (input positions, slices of the layer).

        A position is (row, column) of the layer's input image in C order;
        every input channel fetches alike, zeros included.
        """
        stage = self.network.stages[index]
        columns = [self._fetch(stage, self.slices[row - 1]) for row in self.stage_rows[index]]
        return np.stack(columns, axis=1)

    def reach_table(self, index: int) -> NDArray[np.bool_]:
        """Which slices of a layer an input position sends to: (positions, slices)."""
        return self.fetch_table(index) > 0

    @staticmethod
    def _fetch(stage: Stage, s: Slice) -> NDArray[np.int64]:
        rows = tap_counts(stage, 0, s.sum_rows)
        columns = tap_counts(stage, 1, s.sum_columns)
        fetched: NDArray[np.int64] = (s.channels[1] - s.channels[0]) * np.outer(rows, columns)
        return fetched.ravel()

    def source_rows(self, index: int) -> list[tuple[int, NDArray[np.int64]]]:
        """(table row, flat neuron indices) of everything that sends to layer ``index``."""
        if index == 0:
            return [(0, np.arange(self.network.input.size))]
        stage = self.network.stages[index - 1]
        numbers = np.arange(stage.outputs).reshape(stage.output_shape)
        return [
            (row, numbers[slice(*s.channels), slice(*s.rows), slice(*s.columns)].ravel())
            for row, s in ((r, self.slices[r - 1]) for r in self.stage_rows[index - 1])
        ]

    @property
    def packet_hops(self) -> int:
        """Links crossed in one inference if every neuron sent one spike (tokens not counted)."""
        total = 0
        for index, stage in enumerate(self.network.stages):
            reach = self.reach_table(index)
            targets = self.tiles[list(self.stage_rows[index])]
            for row, neurons in self.source_rows(index):
                copies = reach[neurons % len(reach)].sum(axis=0)
                distance = np.abs(targets - self.tiles[row]).sum(axis=1)
                total += int(copies @ distance) * stage.spikes_per_input
        return total

    def summary(self) -> str:
        """Table of the slices: where they sit and what they fill."""
        rows = []
        for s in self.slices:
            stage = self.network.stages[s.stage]
            window = (s.input_rows[1] - s.input_rows[0]) * (s.input_columns[1] - s.input_columns[0])
            rows.append(
                [
                    s.layer,
                    s.core,
                    "{},{}".format(*self.chip.tile(s.core)),
                    f"{s.channels[0]}:{s.channels[1]}",
                    f"{s.rows[0]}:{s.rows[1]}×{s.columns[0]}:{s.columns[1]}",
                    f"{s.neurons} ({s.neurons / self.chip.neurons:.0%})",
                    f"{stage.input_shape[0] * window}",
                ]
            )
        header = ["layer", "core", "tile", "channels", "rows×columns", "neurons", "axons in"]
        return (
            f"{self.network.name} on {self.chip.name}: {self.cores_used} of {self.chip.cores} "
            f"cores, {self.packet_hops:,} packet-hops if every neuron spikes\n"
            + format_table(header, rows)
        )

    __str__ = summary


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Answer of a dry run: does the network fit the chip, and by how much."""

    network: str
    chip: str
    limits: tuple[Limit, ...]
    mapping: Mapping | None

    @property
    def fits(self) -> bool:
        """Whether every limit is respected."""
        return all(limit.fits for limit in self.limits)

    def __str__(self) -> str:
        rows = [
            [m.where, m.limit, f"{m.needed:,}", f"{m.available:,}", "yes" if m.fits else "NO"]
            for m in self.limits
        ]
        verdict = "fits" if self.fits else "does not fit"
        lines = [
            f"{self.network} {verdict} {self.chip}",
            format_table(["where", "limit", "needed", "available", "fits"], rows),
        ]
        lines += [f"{m.where}: {m.limit}: {m.remedy}" for m in self.limits if not m.fits]
        return "\n".join(lines)


def check_fit(network: Network, chip: Chip) -> Fit:
    """Dry run of :func:`map_network`: every limit beside what is needed, nothing raised.

    Parameters
    ----------
    network : Network
    chip : Chip

    Returns
    -------
    Fit
        ``fits``, ``limits``, and the mapping if it fits.
    """
    slices, limits = partition(network, chip)
    fits = all(limit.fits for limit in limits)
    mapping = _place(network, chip, slices, limits) if fits else None
    return Fit(network=network.name, chip=chip.name, limits=tuple(limits), mapping=mapping)


def map_network(network: Network, chip: Chip) -> Mapping:
    """Place a network on a chip.

    Every layer is cut into equal boxes of channels, rows and columns that
    respect all limits of a core, as few as possible; the slices then follow a
    snake of the width with the fewest packet-hops.

    Parameters
    ----------
    network : Network
    chip : Chip

    Returns
    -------
    Mapping

    Raises
    ------
    MappingError
        The network does not fit; says which limit, how much is needed and
        available, where, and what would help.

    Examples
    --------
    >>> import neuromorph as nm
    >>> nm.map_network(nm.load_network("digits-gxnor"), nm.load_chip("gxnor45")).cores_used > 0
    True
    """
    fit = check_fit(network, chip)
    if fit.mapping is None:
        broken = [m for m in fit.limits if not m.fits]
        first = broken[0]
        others = len(broken) - 1
        more = f" (and {others} more limit{'s' * (others > 1)}; see a dry run)" if others else ""
        raise MappingError(
            f"network {network.name!r} does not fit chip {chip.name!r}: {first.where} needs "
            f"{first.needed:,} {first.limit}, {first.available:,} available{more}; {first.remedy}"
        )
    return fit.mapping


def _place(network: Network, chip: Chip, slices: list[Slice], limits: list[Limit]) -> Mapping:
    """Slices in order along a snake; the width with the fewest packet-hops wins."""
    tiles_needed = -(-len(slices) // chip.cores_per_tile)
    best: Mapping | None = None
    fewest = 0
    for width in range(min(chip.columns, tiles_needed), 0, -1):
        if width * chip.rows < tiles_needed:
            break
        placed = []
        for position, s in enumerate(slices):
            tile, place = divmod(position, chip.cores_per_tile)
            row, column = divmod(tile, width)
            column = column if row % 2 == 0 else width - 1 - column
            core = (row * chip.columns + column) * chip.cores_per_tile + place
            placed.append(replace(s, core=core))
        mapping = Mapping(network=network, chip=chip, slices=tuple(placed), limits=tuple(limits))
        hops = mapping.packet_hops
        if best is None or hops < fewest:
            best, fewest = mapping, hops
    assert best is not None
    return best
