"""Neurons onto cores: which slice of which layer sits where, and who sends to whom."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from neuromorph.chip import Chip
from neuromorph.errors import MappingError
from neuromorph.events import Hardware, format_table
from neuromorph.mapping.board import chip_edges
from neuromorph.mapping.hearing import Hearing
from neuromorph.mapping.links import legs, link_load, lost_ways, pairs_of
from neuromorph.mapping.notebook import mapping_html
from neuromorph.mapping.partition import Limit, partition
from neuromorph.mapping.placement import place
from neuromorph.mapping.slices import Slice, axons_in, owner_rows, source_tiles, tap_counts
from neuromorph.mapping.traffic import INPUT_LAYER, Spikes, Traffic, flows, spikes_of
from neuromorph.mapping.ways import Ways
from neuromorph.network import Network, Stage

__all__ = ["Fit", "Mapping", "check_fit", "link_packets", "map_network"]

INPUT_CORE = -1


@dataclass(frozen=True, kw_only=True, eq=False)
class Mapping:
    """A network placed on a chip.

    Row 0 of every table is the input; row i + 1 is ``slices[i]``.  One core holds
    at most one slice.

    What sends is a *source*: the number of its row, and for the second and every
    further input port a number beyond the rows.  Tables count these ports in row 0.
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
        """Rows of every table: slices and the input."""
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
        """(column, row) of the tile of every source, shape (sources, 2)."""
        return source_tiles(self.chip, self.slices, self.network.input.size)

    @cached_property
    def ports(self) -> tuple[int, ...]:
        """Source of every input port; input neuron i enters at number i modulo the ports."""
        return (0, *range(self.rows, len(self.tiles)))

    def row_of(self, source: int) -> int:
        """Row of the tables that a source is counted in."""
        return source if source < self.rows else 0

    def traffic(self, spikes: list[NDArray[np.float64]]) -> Traffic:
        """Packets between slices if every neuron sends these spikes."""
        return flows(self.network, self.slices, spikes, self.chip.port_tiles)

    @cached_property
    def ways(self) -> Ways:
        """How packets get from row to row."""
        pairs, _ = pairs_of(self, self.traffic(spikes_of(self.network, None)))
        return Ways(self.chip, self.tiles, pairs)

    @cached_property
    def stage_rows(self) -> tuple[tuple[int, ...], ...]:
        """For each layer: the table rows of its slices."""
        return tuple(
            tuple(row for row, s in enumerate(self.slices, start=1) if s.stage == index)
            for index in range(len(self.network.stages))
        )

    @cached_property
    def owner_rows(self) -> tuple[tuple[int, ...], ...]:
        """For each layer: the table rows of the slices that own their neurons."""
        return tuple(
            tuple(row for row in rows if self.slices[row - 1].owns) for rows in self.stage_rows
        )

    @cached_property
    def owners(self) -> NDArray[np.int64]:
        """For each row: the row that owns its neurons, to which its partial sums go."""
        return owner_rows(self.slices)

    @cached_property
    def depths(self) -> NDArray[np.int64]:
        """Global steps from the start of a frame to the firing of every row.

        One a layer, and one more before an owner fires in a layer whose fan-in
        is split.
        """
        depths, fired = np.zeros(self.rows, np.int64), [0]
        for stage, rows, owners in zip(self.network.stages, self.stage_rows, self.owner_rows):
            before = max(fired[source.stage + 1] for source in stage.sources)
            depths[list(rows)] = before + 1
            fired.append(before + (1 if rows == owners else 2))
            depths[list(owners)] = fired[-1]
        return depths

    @cached_property
    def pairs(self) -> NDArray[np.int64]:
        """Dense synaptic pairs of one sample, one value a row."""
        pairs = np.zeros(self.rows, np.int64)
        for row, s in enumerate(self.slices, start=1):
            stage = self.network.stages[s.stage]
            taps = int(tap_counts(stage, 0, s.sum_rows).sum())
            taps *= int(tap_counts(stage, 1, s.sum_columns).sum())
            channels = s.channels[1] - s.channels[0]
            heard = s.inputs[1] - s.inputs[0]
            pairs[row] = channels * taps * heard * stage.spikes_per_input
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
            chips=self.chip.chips,
        )

    def fetch_table(self, index: int, place: int = 0) -> NDArray[np.int64]:
        """Synapses a spike fetches: (positions, slices of the layer), zeros included.

        The spike comes from the source at ``place`` among those of the layer.  The
        position of a neuron is its number modulo the positions: (row, column)
        of the source's image in C order, since all its channels fetch alike;
        where the fan-in is split, (channel, row, column).  A neuron that is
        up-sampled fetches for every pixel it stands for.
        """
        stage = self.network.stages[index]
        table = self._arriving_table(stage, index)
        if not stage.joins:
            return table
        source = stage.sources[place]
        (channels, height, width), factor = source.shape, source.upsample
        area, slices = height * width * factor**2, table.shape[1]
        if len(table) == area:
            channels = 1
        else:
            table = table[source.first * area : (source.first + channels) * area]
        squares = table.reshape(channels, height, factor, width, factor, slices)
        fetched: NDArray[np.int64] = squares.sum(axis=(2, 4)).reshape(-1, slices)
        return fetched

    def _arriving_table(self, stage: Stage, index: int) -> NDArray[np.int64]:
        """As :meth:`fetch_table`, by the position at which a level arrives."""
        slices = [self.slices[row - 1] for row in self.stage_rows[index]]
        table = np.stack([self._fetch(stage, s) for s in slices], axis=1)
        channels = np.arange(stage.input_shape[0])[:, None]
        first, last = np.array([s.inputs for s in slices], np.int64).T
        hears = (first <= channels) & (channels < last)
        if hears.all():
            return table
        split: NDArray[np.int64] = hears[:, None, :] * table
        return split.reshape(-1, len(slices))

    def reach_table(self, index: int, place: int = 0) -> NDArray[np.bool_]:
        """Which slices of a layer a position of a source sends to: (positions, slices)."""
        return self.fetch_table(index, place) > 0

    def hearing(self, index: int) -> Hearing:
        """Who hears what of the input of a layer, as it arrives."""
        if index not in self._hearing:
            rows = self.stage_rows[index]
            slices = [self.slices[row - 1] for row in rows]
            self._hearing[index] = Hearing(self.network.stages[index], slices, rows)
        return self._hearing[index]

    def target_rows(self, sender: int) -> list[int]:
        """Rows of all layers that hear layer ``sender`` (−1: the input)."""
        return [row for index, _ in self.listeners(sender) for row in self.stage_rows[index]]

    def send_table(self, sender: int) -> NDArray[np.bool_]:
        """Which of the :meth:`target_rows` a position of a layer sends to: (positions, rows)."""
        tables = [self.reach_table(*listener) for listener in self.listeners(sender)]
        if any(len(table) != len(tables[0]) for table in tables):  # then neuron by neuron
            numbers = np.arange(self.senders(sender))
            tables = [table[numbers % len(table)] for table in tables]
        return np.hstack(tables)

    def senders(self, sender: int) -> int:
        """Number of neurons of layer ``sender``, or of the input (−1)."""
        return self.network.input.size if sender < 0 else self.network.stages[sender].outputs

    def target_sets(self, sender: int) -> tuple[NDArray[np.int64], list[tuple[int, ...]]]:
        """For each position of a layer which of the sets of rows it sends to; the sets."""
        if sender not in self._target_sets:
            (index, _), *others = self.listeners(sender)
            if not others and not self.network.stages[index].joins:
                return self.hearing(index).sets
            rows = self.target_rows(sender)
            packed = np.packbits(self.send_table(sender), axis=1)
            sets, which = np.unique(packed, axis=0, return_inverse=True)
            reached = np.unpackbits(sets, axis=1, count=len(rows))
            goals = [tuple(rows[i] for i in np.flatnonzero(r)) for r in reached]
            self._target_sets[sender] = which.ravel(), goals
        return self._target_sets[sender]

    @cached_property
    def _hearing(self) -> dict[int, Hearing]:
        return {}

    @cached_property
    def _target_sets(self) -> dict[int, tuple[NDArray[np.int64], list[tuple[int, ...]]]]:
        return {}

    def heard(self, sender: int, positions: NDArray[np.int64]) -> tuple[int, ...]:
        """Rows that at least one of these positions of a layer sends to."""
        which, sets = self.target_sets(sender)
        return tuple(sorted({row for i in np.unique(which[positions]) for row in sets[i]}))

    def sending(self, source: int, sender: int, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """What a spike of a layer at each position costs on its way from a source: (positions, 5).

        Packets, links by kind as in ``HOPS``, deliveries: one packet for each
        row that hears it, or with multicast one for all.
        """
        which, sets = self.target_sets(sender)
        used, place = np.unique(which[positions], return_inverse=True)
        each = np.array([self.costs(source, sets[i]) for i in used], np.int64).reshape(-1, 5)
        found: NDArray[np.int64] = each[place.ravel()]
        return found

    def costs(self, source: int, targets: tuple[int, ...]) -> NDArray[np.int64]:
        """Packets, links by kind and deliveries of one spike from a source to rows."""
        if self.chip.routing == "multicast":
            each = (int(bool(targets)), *self.ways.crossed(source, targets), len(targets))
            return np.array(each, np.int64)
        pairs = np.array([(source, target) for target in targets], np.int64).reshape(-1, 2)
        far = self.ways.distances(pairs).sum(axis=0)
        return np.array((len(targets), *far, len(targets)), np.int64)

    @staticmethod
    def _fetch(stage: Stage, s: Slice) -> NDArray[np.int64]:
        rows = tap_counts(stage, 0, s.sum_rows)
        columns = tap_counts(stage, 1, s.sum_columns)
        fetched: NDArray[np.int64] = (s.channels[1] - s.channels[0]) * np.outer(rows, columns)
        return fetched.ravel()

    def listeners(self, sender: int) -> list[tuple[int, int]]:
        """(layer, place among its sources) of all that hear layer ``sender`` (−1: the input)."""
        return [
            (index, place)
            for index, stage in enumerate(self.network.stages)
            for place, source in enumerate(stage.sources)
            if source.stage == sender
        ]

    def sending_rows(self, sender: int) -> list[tuple[int, NDArray[np.int64]]]:
        """(source, flat neuron indices) of layer ``sender``, or of the input (−1)."""
        if sender < 0:
            inputs = np.arange(self.network.input.size)
            return [(port, inputs[i :: len(self.ports)]) for i, port in enumerate(self.ports)]
        stage = self.network.stages[sender]
        numbers = np.arange(stage.outputs).reshape(stage.output_shape)
        return [
            (row, numbers[slice(*s.channels), slice(*s.rows), slice(*s.columns)].ravel())
            for row, s in ((r, self.slices[r - 1]) for r in self.owner_rows[sender])
        ]

    def sum_numbers(self, row: int) -> NDArray[np.int64]:
        """Flat numbers of the neurons of a row's slice, before the pool."""
        s = self.slices[row - 1]
        stage = self.network.stages[s.stage]
        numbers = np.arange(stage.neurons).reshape(stage.sum_shape)
        return numbers[slice(*s.channels), slice(*s.sum_rows), slice(*s.sum_columns)].ravel()

    @property
    def packet_hops(self) -> int:
        """Links crossed in one inference if every neuron sent one spike (tokens not counted)."""
        return int(self.hops(None))

    @property
    def chips_used(self) -> int:
        """Number of chips of a board that hold a slice."""
        chip = self.chip
        used = self.tiles[1 : self.rows] // np.array((chip.columns, chip.rows))
        return len(np.unique(used, axis=0))

    @property
    def edge_hops(self) -> int:
        """Of :attr:`packet_hops` those from chip to chip."""
        return int(link_packets(self)[chip_edges(self.chip)].sum())

    def hops(self, traffic: Spikes | None) -> float:
        """Links crossed in one inference with the spikes of :func:`map_network`'s ``traffic``."""
        source, target, packets = legs(self, spikes_of(self.network, traffic))
        return float(packets @ np.abs(target - source).sum(axis=1))

    def table(self) -> tuple[list[str], list[list[str]]]:
        """(header, rows) of the slices: where they sit and what they fill."""
        rows = []
        split = not all(s.owns for s in self.slices)
        for s in self.slices:
            rows.append(
                [
                    s.layer,
                    f"{s.core}",
                    "{},{}".format(*self.chip.tile(s.core)),
                    f"{s.channels[0]}:{s.channels[1]}",
                    f"{s.rows[0]}:{s.rows[1]}×{s.columns[0]}:{s.columns[1]}",
                    f"{s.neurons} ({s.neurons / self.chip.neurons:.0%})",
                    f"{axons_in(self.network.stages[s.stage], s)}",
                    *([f"{s.inputs[0]}:{s.inputs[1]}"] if split else []),
                ]
            )
        header = ["layer", "core", "tile", "channels", "rows×columns", "neurons", "axons in"]
        header += ["of inputs"] if split else []
        return header, rows

    @property
    def caption(self) -> str:
        """What is where and how far its packets go, in one line."""
        chips = self.chip.chips
        on, between = "", ""
        if chips > 1:
            on = f" on {self.chips_used} of {chips} chips"
            between = f", {self.edge_hops:,} of them between chips"
        return (
            f"{self.network.name} on {self.chip.name}: {self.cores_used} of {self.chip.cores} "
            f"cores{on}, {self.packet_hops:,} packet-hops if every neuron spikes{between}"
        )

    def summary(self) -> str:
        """Table of the slices: where they sit and what they fill."""
        return f"{self.caption}\n{format_table(*self.table())}"

    __str__ = summary

    def _repr_html_(self) -> str:
        """The mesh and the same table, for notebooks."""
        return mapping_html(self)


def link_packets(mapping: Mapping, traffic: Spikes | None = None) -> NDArray[np.float64]:
    """Packets that cross each link in one inference, tokens not counted.

    Parameters
    ----------
    mapping : Mapping
    traffic : Counts or dict, optional
        See :func:`map_network`.

    Returns
    -------
    float64 array, shape (rows, columns, 4)
        What leaves the router of a tile to each of
        :data:`~neuromorph.chip.LINK_SIDES`.

    Raises
    ------
    MappingError
        Traffic that is not of this network.

    Examples
    --------
    >>> import neuromorph as nm
    >>> mapping = nm.map_network(nm.load_network("digits-gxnor"), nm.load_chip("gxnor45"))
    >>> float(link_packets(mapping).sum()) == mapping.packet_hops
    True
    """
    return link_load(mapping.chip, legs(mapping, spikes_of(mapping.network, traffic)))


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
        if self.mapping is not None and self.mapping.chip.chips > 1:
            lines.append(self.mapping.caption)
        return "\n".join(lines)


def check_fit(network: Network, chip: Chip, *, traffic: Spikes | None = None) -> Fit:
    """Dry run of :func:`map_network`: every limit beside what is needed, nothing raised.

    Parameters
    ----------
    network : Network
    chip : Chip
    traffic : Counts or dict, optional
        See :func:`map_network`.

    Returns
    -------
    Fit
        ``fits``, ``limits``, and the mapping if it fits.

    Raises
    ------
    MappingError
        Traffic that is not of this network.
    """
    spikes = spikes_of(network, traffic)
    slices, limits = partition(network, chip)
    mapping = None
    if slices is not None:
        cores = place(flows(network, slices, spikes, chip.port_tiles), chip).tolist()
        mapping = Mapping(
            network=network,
            chip=chip,
            slices=tuple(replace(s, core=core) for s, core in zip(slices, cores)),
            limits=limits,
        )
        if chip.dead_links and (broken := lost_ways(mapping.ways)):
            mapping, limits = None, limits + broken
    return Fit(network=network.name, chip=chip.name, limits=limits, mapping=mapping)


def map_network(network: Network, chip: Chip, *, traffic: Spikes | None = None) -> Mapping:
    """Place a network on a chip.

    Every layer is cut into equal boxes of channels, rows and columns that
    respect all limits of a core, as few as possible; the slices are then
    placed for few packet-hops by annealing.  The same network, chip and
    traffic always give the same mapping.

    Parameters
    ----------
    network : Network
    chip : Chip
    traffic : Counts or dict, optional
        What placement weighs the ways between cores with: the counts of a
        run, of which the mean spikes a neuron of each layer are taken, or
        layer name → spikes a neuron sends in one inference, one number or an
        array of the layer's outputs; ``"input"`` for the input.  Layers left
        out, and all without it, send one spike a neuron.

    Returns
    -------
    Mapping

    Raises
    ------
    MappingError
        The network does not fit; says which limit, how much is needed and
        available, where, and what would help.  Traffic that is not of this
        network.

    Examples
    --------
    >>> import neuromorph as nm
    >>> nm.map_network(nm.load_network("digits-gxnor"), nm.load_chip("gxnor45")).cores_used > 0
    True
    """
    fit = check_fit(network, chip, traffic=traffic)
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
