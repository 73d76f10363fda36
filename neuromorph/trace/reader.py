"""Trace: reads a trace file, lazily and without trust."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from math import prod
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from neuromorph.chip import Chip
from neuromorph.errors import TraceError, TraceVersionError
from neuromorph.events import ACTIONS, Counts, plural
from neuromorph.mapping import Mapping, Slice
from neuromorph.mapping.packets import TOKEN
from neuromorph.mapping.slices import owner_rows
from neuromorph.network import Network
from neuromorph.trace import schema
from neuromorph.trace.about import facts_of, text_of
from neuromorph.trace.choosing import Choice, packet_blocks, spike_rows
from neuromorph.trace.door import Opened, attribute, column, reading, strings
from neuromorph.trace.layout import check_origin
from neuromorph.trace.objects import to_neo, to_pandas
from neuromorph.trace.origin import read_hardware, read_origin
from neuromorph.trace.paths import packet_paths
from neuromorph.trace.schema import Detail, NetworkInfo
from neuromorph.trace.synapses import Expansion
from neuromorph.trace.tallies import counts_by_block, counts_of, sums_of
from neuromorph.trace.timing import spike_times

__all__ = ["Trace"]

Columns = dict[str, NDArray[Any]]

BLOCK_ROWS = 1 << 18


class Trace(Opened):
    """A recorded run, open for reading; a context manager.

    Only descriptions are read at once, rows when asked for.  A file that was
    left unfinished opens too; ``complete`` is then False, and what was flushed
    is there.

    Parameters
    ----------
    path : path

    Raises
    ------
    TraceVersionError
        Written in a format version this program does not read.
    TraceError
        Not a trace, or damaged; says what is wrong and where.  Every method
        may raise it, since rows are read late.
    """

    what = "trace"

    def _read(self, root: h5py.File) -> None:
        self._read_root(root)
        self._read_origin(root)
        self._read_tables(root)

    def __len__(self) -> int:
        return self.samples

    def __repr__(self) -> str:
        state = "" if self.complete else ", incomplete"
        return (
            f"<Trace of {plural(self.samples, 'sample')} of {self.network_name!r} on "
            f"{self.chip_name}, mode {self.mode}, detail {self.detail}{state}>"
        )

    # --- opening

    def _read_root(self, root: h5py.File) -> None:
        known = attribute(self.path, root, "format", str) if "format" in root.attrs else ""
        if known == schema.LEARNING_FORMAT:
            raise TraceError(
                f"{self.path} is a learning record, not the trace of a run; trace info, trace "
                "validate and energy reprice read it"
            )
        if known != schema.FORMAT:
            raise TraceError(f"{self.path} is not a {schema.FORMAT} file")
        self.version: str = attribute(self.path, root, "version", str)
        if not re.fullmatch(r"\d{1,9}\.\d{1,9}", self.version, re.ASCII):
            raise TraceError(f"{self.path}: trace version is {self.version!r}; it must be like 1.0")
        major = schema.VERSION[0]
        if int(self.version.split(".")[0]) != major:
            raise TraceVersionError(
                f"{self.path}: trace version is {self.version}; this program reads "
                f"{major}.0 to {major}.x"
            )
        found = {n: attribute(self.path, root, n, k) for n, k in schema.ROOT_ATTRIBUTES.items()}
        self.created: str = found["created"]
        self.generator: str = found["generator"]
        self.complete: bool = found["complete"]
        self.mode: str = found["mode"]
        self.detail: Detail = found["detail"]
        self.tick_s: float = found["tick_s"]
        if self.mode not in schema.MODES or self.detail not in schema.DETAILS:
            raise TraceError(
                f"{self.path}: mode {self.mode!r} or detail {self.detail!r} is not known"
            )
        if self.detail in schema.TIMED_DETAILS and self.mode != "timed":
            raise TraceError(f"{self.path}: a run in mode {self.mode!r} has no {self.detail}")

    def _read_origin(self, root: h5py.File) -> None:
        origin = read_origin(self.path, root, self.tick_s)
        self.network_info: NetworkInfo = origin.network
        self.chip: Chip = origin.chip
        self.slices: tuple[Slice, ...] = origin.slices
        self.options: dict[str, Any] = origin.options
        self.environment: dict[str, Any] = origin.environment
        self.provenance: dict[str, Any] = origin.provenance

    def _read_tables(self, root: h5py.File) -> None:
        path = self.path
        rows, actions = len(self.slices) + 1, strings(path, root, "counts/actions")
        unknown = sorted(set(actions) - set(ACTIONS))
        if unknown:
            raise TraceVersionError(
                f"{path}: counts the action {unknown[0]!r}, which this program does not know; "
                "it was written by a newer one"
            )
        if len(set(actions)) != len(actions):
            raise TraceError(f"{path}: /counts/actions names an action twice")
        self.action_names = actions
        eight = np.dtype("<i8")
        self._values = column(path, root, "counts/values", eight, (None, rows, len(actions)))
        column(path, root, "counts/ticks", eight, (None,))
        column(path, root, "counts/active_ticks", eight, (None,))
        column(path, root, "counts/cores", eight, (rows,))
        column(path, root, "counts/pairs", eight, (rows,))
        self.count_layers: tuple[str, ...] = strings(path, root, "counts/layers")
        if len(self.count_layers) != rows:
            raise TraceError(f"{path}: /counts/layers does not name {rows} rows")
        group = root["counts"]
        self.hardware = read_hardware(path, group)
        shapes: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {
            name: (dtype, self.network_info.pixels) for name, dtype in schema.SAMPLE_COLUMNS.items()
        }
        if self.mode == "timed":
            shapes |= {name: (dtype, ()) for name, dtype in schema.TIME_COLUMNS.items()}
        sums = np.dtype("<i8" if _is_wide(root["samples"]) else "<i4")
        shapes["outputs"] = sums, (self.network_info.outputs,)
        self._columns: dict[str, dict[str, h5py.Dataset]] = {
            "samples": {
                name: column(path, root, f"samples/{name}", dtype, (None, *shape))
                for name, (dtype, shape) in shapes.items()
            }
        }
        for name, wanted in schema.EVENT_TABLES.items():
            if name in schema.tables_of(self.detail):
                self._columns[name] = {
                    n: column(path, root, f"{name}/{n}", d, (None,)) for n, d in wanted.items()
                }
        self._read_lengths()
        self._columns["counts"] = {"values": self._values}

    def _read_lengths(self) -> None:
        """Rows of every table: those that ``flushed`` vouches for."""
        samples, number = self._root()["samples"], schema.FEWEST_TABLES
        if "flushed" not in samples.attrs:
            raise TraceError(f"{self.path}: attribute 'flushed' of /samples is missing")
        entry = h5py.h5a.open(samples.id, b"flushed")
        if len(entry.shape) != 1 or entry.shape[0] < number or entry.dtype != np.dtype("<i8"):
            raise TraceError(f"{self.path}: attribute 'flushed' of /samples is not {number} int64")
        # a later version may count more tables, an earlier one counts fewer
        flushed = samples.attrs["flushed"].tolist()
        self._rows: dict[str, int] = dict.fromkeys(schema.TABLES, 0)
        self._rows |= zip(schema.TABLES, flushed)
        for table, rows in self._rows.items():
            columns = dict(self._columns.get(table, {}))
            if table == "samples":
                columns["../counts/values"] = self._values
            elif not columns and rows:
                raise TraceError(
                    f"{self.path}: 'flushed' has {rows} {table}, but there is no table"
                )
            for name, dataset in columns.items():
                if len(dataset) < rows or rows < 0 or (self.complete and len(dataset) != rows):
                    raise TraceError(
                        f"{self.path}: /{table}/{name} has {len(dataset)} rows, 'flushed' says "
                        f"{rows}"
                    )

    # --- what it is

    @property
    def samples(self) -> int:
        """Number of recorded samples."""
        return self._rows["samples"]

    @property
    def spike_count(self) -> int:
        """Rows of the spike table."""
        return self._rows["spikes"]

    @property
    def packet_count(self) -> int:
        """Rows of the packet table, tokens included."""
        return self._rows["packets"]

    @property
    def hop_count(self) -> int:
        """Rows of the hop table, deliveries included."""
        return self._rows["hops"]

    def holds(self, table: str) -> bool:
        """Whether the level of detail has ``"spikes"``, ``"packets"`` or ``"hops"``."""
        return table in schema.tables_of(self.detail)

    @property
    def last_tick(self) -> int | None:
        """Tick of the last recorded packet; None without packets."""
        if not self.packet_count:
            return None
        return int(self.rows("packets", self.packet_count - 1, self.packet_count)["delivered"][0])

    @property
    def network_name(self) -> str:
        """Name of the network that ran."""
        return self.network_info.name

    @property
    def network_hash(self) -> str:
        """SHA-256 of the network that ran, see ``Network.hash``."""
        return self.network_info.hash

    @property
    def chip_name(self) -> str:
        """Name of the chip it ran on."""
        return self.chip.name

    # --- samples

    def _sample_column(self, name: str) -> NDArray[Any]:
        self._root()
        with reading(self.path, f"/samples/{name}"):
            values: NDArray[Any] = self._columns["samples"][name][: self.samples]
            return values

    @property
    def labels(self) -> NDArray[np.int64]:
        """Labels, int64 (samples,) or, of pixels, (samples, height, width); −1 where not known."""
        return self._sample_column("label")

    @property
    def predictions(self) -> NDArray[np.int64]:
        """Predicted classes, int64, of the shape of the labels."""
        return self._sample_column("prediction")

    @property
    def outputs(self) -> NDArray[Any]:
        """Sums of the last layer, int32 or int64 (samples, read-out neurons)."""
        return self._sample_column("outputs")

    @property
    def started_ticks(self) -> NDArray[np.int64] | None:
        """First injection of each sample, int64 (samples,); timed mode only."""
        return self._sample_column("start") if self.mode == "timed" else None

    @property
    def finished_ticks(self) -> NDArray[np.int64] | None:
        """Read-out of each sample, int64 (samples,); timed mode only."""
        return self._sample_column("finish") if self.mode == "timed" else None

    @property
    def latency_s(self) -> float | None:
        """Mean seconds from first injection to read-out; timed mode only."""
        start, finish = self.started_ticks, self.finished_ticks
        if start is None or finish is None or not len(start):
            return None
        # the same order of operations as Run.latency_s, so the same float
        return float(((finish - start) * self.tick_s).mean())

    @property
    def interval_s(self) -> float | None:
        """Mean seconds between read-outs; timed mode, two samples or more."""
        finish = self.finished_ticks
        if finish is None or len(finish) < 2:
            return None
        return (int(finish[-1]) - int(finish[0])) * self.tick_s / (len(finish) - 1)

    @property
    def accuracy(self) -> float | None:
        """Share of labelled samples (or pixels) predicted as labelled; None without labels."""
        labels, predictions = self.labels, self.predictions
        known = labels >= 0
        return float((labels == predictions)[known].mean()) if known.any() else None

    @property
    def dice(self) -> float | None:
        """Dice of the pixels of class 1, see ``Run.dice``; None without labelled pixels."""
        labels, predictions = self.labels, self.predictions
        known = labels >= 0
        if not self.network_info.pixels or not known.any():
            return None
        wanted, found = labels[known] == 1, predictions[known] == 1
        either = int(found.sum()) + int(wanted.sum())
        return 2 * int((found & wanted).sum()) / either if either else 1.0

    # --- counts

    @property
    def count_columns(self) -> Columns:
        """What belongs to the whole run: ``cores``, ``pairs``, ``ticks``, ``active_ticks``."""
        root = self._root()
        with reading(self.path, "/counts"):
            return {n: root[f"counts/{n}"][:] for n in ("cores", "pairs", "ticks", "active_ticks")}

    @cached_property
    def counts(self) -> Counts:
        """The counts of the run, equal to ``Run.counts``; ready to be priced.

        Those of every sample are in memory; for long traces see :attr:`sums` and
        :meth:`counts_by_block`.
        """
        return counts_of(self)

    def counts_by_block(self) -> Iterator[Counts]:
        """The counts of the samples in order, some samples at a time, in bounded memory.

        Each has the time of the whole run.
        """
        return counts_by_block(self)

    @cached_property
    def sums(self) -> Counts:
        """The counts summed over the samples, as ``Counts.summed``, in bounded memory."""
        return sums_of(self)

    # --- spikes and packets

    def _need(self, table: str) -> dict[str, h5py.Dataset]:
        self._root()
        if table not in self._columns:
            raise TraceError(
                f"{self.path} was recorded with detail {self.detail!r} and has no {table}; "
                f"record with detail {table!r}"
            )
        return self._columns[table]

    def rows(
        self, table: str, start: int, stop: int, *, only: tuple[str, ...] | None = None
    ) -> Columns:
        """Neighbouring rows of a table by their numbers, tables as in :meth:`blocks`.

        ``only`` names the columns that are read; left out, all are.
        """
        columns = self._need(table)
        with reading(self.path, f"/{table}"):
            return {n: columns[n][start:stop] for n in only or columns}

    def blocks(self, table: str, *, rows: int | None = None) -> Iterator[Columns]:
        """The rows of a table in order, so many at a time.

        ``"samples"``, ``"counts"`` (one column ``values``: samples, rows of
        cores, actions as in ``action_names``), ``"spikes"``, ``"packets"`` or
        ``"hops"``.
        """
        if table not in ("counts", *schema.TABLES):
            known = ", ".join(schema.TABLES)
            raise TraceError(f"table is {table!r}; choose counts, {known}")
        if rows is not None and rows < 1:
            raise TraceError(f"rows is {rows}; must be at least 1")
        wide = max(prod(column.shape[1:]) for column in self._need(table).values())
        step = rows or max(1, BLOCK_ROWS // wide)
        total = self._rows["samples" if table == "counts" else table]
        for start in range(0, total, step):
            yield self.rows(table, start, min(start + step, total))

    def spikes(
        self,
        sample: int | slice | None = None,
        *,
        layer: str | None = None,
        core: int | None = None,
    ) -> Columns:
        """Spikes, sorted by sample, layer and neuron.

        Parameters
        ----------
        sample : int or slice, optional
            Only these samples.
        layer : str, optional
            Only spikes of this layer; the input is called ``"input"``.
        core : int, optional
            Only spikes of neurons on this core.

        Returns
        -------
        dict of arrays, shape (spikes,)
            ``sample`` uint32; ``layer`` uint16, 0 is the input; ``neuron``
            uint32, flat in the output of the layer; ``level`` int16.
        """
        return spike_rows(self, Choice.of(self, sample, None, layer, core))

    def packets(
        self,
        sample: int | slice | None = None,
        *,
        ticks: tuple[int, int] | None = None,
        layer: str | None = None,
        core: int | None = None,
    ) -> Columns:
        """Packets in order of delivery.

        Parameters
        ----------
        sample : int or slice, optional
            Only these samples.  Samples overlap in time, so the whole table is
            looked through, a block at a time.
        ticks : (int, int), optional
            Only packets delivered from the first tick up to before the second;
            these are found at once.
        layer : str, optional
            Only packets to this layer.
        core : int, optional
            Only packets to this core.

        Returns
        -------
        dict of arrays, shape (packets,)
            The fields of ``PACKET_DTYPE``; ``sent`` and ``delivered`` in ticks.
        """
        found = [{n: np.zeros(0, d) for n, d in schema.PACKET_COLUMNS.items()}]
        found += packet_blocks(self, Choice.of(self, sample, ticks, layer, core))
        return {n: np.concatenate([f[n] for f in found]) for n in schema.PACKET_COLUMNS}

    def paths(self) -> Iterator[tuple[Columns, Columns]]:
        """The way of every packet through the routers, in order of delivery, in blocks.

        Yields
        ------
        (hops, packets)
            Columns of ``HOP_DTYPE`` and of ``PACKET_DTYPE`` for the next
            packets.  The column ``packet`` of hops is the place among these
            packets; it ascends, and the rows of a packet are in order of time.
        """
        return packet_paths(self)

    def timed_spikes(self) -> Iterator[Columns]:
        """Every spike that was sent to a core, by the tick it was sent, in blocks.

        Needs packets.  Memory holds a block and the packets under way.

        Yields
        ------
        dict of arrays, shape (spikes,)
            ``sample``, ``layer``, ``neuron``, ``level`` as in :meth:`spikes`,
            and ``tick`` int64.  A bitplane input sends one spike a set bit.
        """
        return spike_times(self)

    @cached_property
    def owners(self) -> NDArray[np.int64]:
        """For each row the row that owns its neurons, where a fan-in is split; see ``Mapping``."""
        return owner_rows(self.slices)

    def is_spike(self, packets: Columns) -> NDArray[np.bool_]:
        """Which packets are spikes: not tokens, nor partial sums on their way to an owner."""
        rows = len(self.slices) + 1
        owns = self.owners == np.arange(rows)
        source = packets["source"]
        spikes: NDArray[np.bool_] = owns[np.where(source < rows, source, 0)]
        spikes &= packets["neuron"] != TOKEN
        return spikes

    # --- with the network

    def mapping(self, network: Network) -> Mapping:
        """The mapping that ran, made again from the file and its network.

        Raises
        ------
        TraceError
            Another network than the one that ran, or slices that do not fit it.
        """
        check_origin(self.path, self.network_info, self.slices, network)
        return Mapping(network=network, chip=self.chip, slices=self.slices)

    def synaptic_events(
        self,
        network: Network,
        *,
        sample: int | slice | None = None,
        ticks: tuple[int, int] | None = None,
        layer: str | None = None,
        core: int | None = None,
        batch: int = 1 << 18,
    ) -> Iterator[Columns]:
        """Every single synaptic event of a packet trace.

        Parameters
        ----------
        network : Network
            The network that ran; a trace holds no weights.
        sample, ticks, layer, core : optional
            Only events of these packets, see :meth:`packets`.
        batch : int
            About how many events to make at a time; bounds the memory.

        Yields
        ------
        dict of arrays, shape (events,), int64 and int32
            ``sample``; ``tick`` at which the packet reached the core; ``core``;
            ``layer`` of the target, 1 is the first after the input, and
            ``source_layer``, 0 is the input; ``source``, flat in the output of
            its layer; ``target``, flat in the layer before its pool; ``level``
            (the payload); ``weight``.  In order of delivery, then ascending target.

        Raises
        ------
        TraceError
            No packets were recorded, or another network.
        """
        self._need("packets")
        if batch < 1:
            raise TraceError(f"batch is {batch}; must be at least 1")
        expansion = Expansion(self.mapping(network))
        for packets in packet_blocks(self, Choice.of(self, sample, ticks, layer, core)):
            spikes = self.is_spike(packets)
            chosen = {name: values[spikes] for name, values in packets.items()}
            if not expansion.fits(chosen):
                raise TraceError(f"{self.path}: /packets names a core or neuron that is not there")
            yield from expansion.expand(chosen, batch)

    # --- for people and programs

    def to_pandas(self, table: str = "spikes") -> Any:
        """A table as a ``pandas.DataFrame``, whole in memory; counts one row a sample and core.

        Raises
        ------
        MissingDependencyError
            pandas is not installed.
        """
        return to_pandas(self, table)

    def to_neo(self) -> Any:
        """The timed spikes as a ``neo.Block``, one train a neuron, whole in memory.

        Raises
        ------
        TraceError
            No packets were recorded, so spikes have no times.
        MissingDependencyError
            neo is not installed.
        """
        return to_neo(self)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the rows, for JSON; SI units."""
        return facts_of(self)

    def info(self) -> str:
        """Table of what the trace holds, for people."""
        return text_of(self)

    __str__ = info


def _is_wide(samples: h5py.Group) -> bool:
    """Whether the sums of the last layer are int64 (format 1.4)."""
    sums = samples.get("outputs")
    return isinstance(sums, h5py.Dataset) and sums.dtype == np.dtype("<i8")
