"""Discrete-event run of a mapped network (twin of ``reference.timed``).

Levels do not depend on time, so the counting kernel finds them, and with them
sums and synaptic events, for all frames at once.  The engine then moves every
packet: which ones a core sends follows from its levels, how long it serves
each from a table of its synapses.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from neuromorph.chip import Chip
from neuromorph.errors import SimulationError
from neuromorph.events import HOPS
from neuromorph.kernels._timed import TimedRun
from neuromorph.kernels.counting import count, partial_sums
from neuromorph.kernels.trees import STRAIGHT, Trees
from neuromorph.mapping import Mapping, Slice, Tally
from neuromorph.mapping.board import busy_ticks, hop_ticks
from neuromorph.mapping.deadlock import Place, Stuck, Waiting, deadlock
from neuromorph.mapping.packets import HOP_DTYPE, PACKET_DTYPE, HopSink, Lender, PacketSink
from neuromorph.mapping.slices import tap_counts
from neuromorph.mapping.timing import Timing
from neuromorph.network import Stage
from neuromorph.network.forward import arriving

__all__ = ["Agenda", "PartSink", "timed"]

PartSink = Callable[[Tally], None]
Agenda = Literal["wheel", "heap"]

RECORDS = 1 << 16
EVENTS = 1 << 21
PART_S = 0.1  # what a killed run loses of its samples, at most about this
INT32_MAX = 2**31 - 1  # more lanes than any core has synapses or neurons
# What the engine counts, in the order of timed.h; "served" is checked against the kernel.
MOVED = (
    "spike_out",
    "packet_out",
    "spike_in",
    "token_out",
    "token_in",
    "partial_out",
    "partial_in",
    *HOPS,
    "hop_local",
    "served",
)
ROW_TIMES = ("busy", "blocked", "longest_queue")
INSIDE = -(2**63)  # wants nothing: the packet is in its core


def timed(
    mapping: Mapping,
    inputs: NDArray[np.int16],
    *,
    sink: PacketSink | None = None,
    hops: HopSink | None = None,
    progress: Callable[[int], None] | None = None,
    parts: PartSink | None = None,
    agenda: Agenda = "wheel",
) -> Tally:
    """Run encoded inputs (batch, size) tick by tick.

    ``sink`` gets the records of delivered packets, ``hops`` those of packets at
    every router, a bounded batch at a time (valid until it returns; a ``Lender`` says where they
    are put);
    ``progress`` the number of samples read out.  ``parts`` gets the results of
    the next samples every second or so, once all their packets were delivered;
    together they are all samples in order, and the last part, which comes when
    all is over, has the time of the run.  The result is the same with each
    ``agenda``; the heap is slower.

    Raises
    ------
    SimulationError
        Full buffers wait for each other in a circle; names it.
    """
    frames, sources = len(inputs), len(mapping.tiles)
    inputs = np.ascontiguousarray(inputs, np.int16)
    tally = count(mapping, inputs)
    results: dict[str, Any] = {
        "counted": [np.zeros((frames, sources), np.int64) for _ in MOVED],
        "started": np.zeros(frames, np.int64),
        "finished": np.zeros(frames, np.int64),
        "busy": np.zeros(sources, np.int64),
        "blocked": np.zeros(sources, np.int64),
        "longest_queue": np.zeros(sources, np.int64),
    }
    links = np.zeros((3, mapping.chip.mesh_rows, mapping.chip.mesh_columns, 4), np.int64)
    ready: _Parts | None = None
    if frames:
        fans, trees = _fans(mapping), Trees(mapping.ways)
        table = _rows(mapping, fans, trees, [inputs, *tally.levels])
        run = TimedRun(
            agenda,
            chip_table(mapping.chip, mapping.rows),
            frames,
            fans=fans,
            rows=table,
            nodes=trees.tables,
            results=results,
        )
        if parts is not None:
            ready = _Parts(tally, results, parts)

        def read_out(samples: int) -> None:
            if progress is not None:
                progress(samples)
            if ready is not None:
                ready.look(samples)

        advance(run, sink, hops, read_out)
        if run.is_stuck:
            raise SimulationError(deadlock(mapping, _stuck(run, sources, trees)))
        run.links(links.reshape(3, -1))
    moved = {name: _by_row(mapping, v, sum) for name, v in zip(MOVED, results["counted"])}
    served, synapses = moved.pop("served"), tally.counted["fetched"]
    if mapping.chip.storage == "sparse":
        synapses = tally.counted["xnor_event"] + tally.counted["graded_event"]
    assert np.array_equal(served, synapses)  # every synapse once
    finished, started = results["finished"], results["started"]
    result = Tally(
        outputs=tally.outputs,
        levels=tally.levels,
        counted=tally.counted | moved,
        ticks=int(finished[-1] - started[0]) if frames else 0,
        timing=Timing(
            **{name: _by_row(mapping, results[name], max) for name in ROW_TIMES},
            link_packets=links[0],
            link_busy=links[0] * busy_ticks(mapping.chip),
            link_waited=links[1],
            link_longest=links[2],
        ),
        started=started,
        finished=finished,
    )
    if ready is not None:
        rest = result.part(ready.given, frames)
        rest.ticks, rest.timing = result.ticks, result.timing
        ready.give(rest)
    return result


def _by_row(
    mapping: Mapping, of_source: NDArray[np.int64], fold: Callable[[Any], Any]
) -> NDArray[np.int64]:
    """Values of sources (…, sources) by row (…, rows); those of several ports folded into one."""
    table = of_source[..., : mapping.rows]
    if len(mapping.ports) > 1:
        table[..., 0] = fold(of_source[..., port] for port in mapping.ports)
    return table


class _Parts:
    """Samples whose results are complete, handed over every so often."""

    def __init__(self, tally: Tally, results: dict[str, Any], give: PartSink) -> None:
        self.give, self.given = give, 0
        self._last = time.monotonic()
        arriving = ("spike_in", "token_in", "partial_in")
        self._due = sum(tally.counted[action].sum(axis=1) for action in arriving)
        moved = dict(zip(MOVED, results["counted"]))
        self._arrived = [moved[action] for action in arriving]
        # what is counted does not depend on time; only these are known late
        times = {name: results[name] for name in ("started", "finished")}
        self._tally = replace(tally, **times)

    def look(self, samples: int) -> None:
        """Give those of the samples read out that nothing is under way for."""
        if time.monotonic() - self._last < PART_S:
            return
        self._last = time.monotonic()
        arrived = sum(c[self.given : samples].sum(axis=1) for c in self._arrived)
        whole = arrived == self._due[self.given : samples]
        # the very last one is for the part that has the time of the run
        number = min(int(whole.argmin() if not whole.all() else len(whole)), self._room())
        if number > 0:
            self.give(self._tally.part(self.given, self.given + number))
            self.given += number

    def _room(self) -> int:
        return len(self._due) - 1 - self.given


def advance(
    run: TimedRun,
    sink: PacketSink | None,
    hops: HopSink | None,
    progress: Callable[[int], None] | None = None,
    *,
    most: int = 0,
) -> None:
    """From the first event to the last, records handed over on the way.

    ``most`` is the number of packets that may leave in one event.
    """
    packets = None if sink is None else _lender(sink, RECORDS, PACKET_DTYPE)
    routed = None if hops is None else _lender(hops, RECORDS + most, HOP_DTYPE)
    over = False
    while not over:
        over, delivered, crossed = run.advance(
            None if packets is None else packets.lend(),
            None if routed is None else routed.lend(),
            EVENTS,
        )
        if packets is not None and delivered:
            packets.took(delivered)
        if routed is not None and crossed:
            routed.took(crossed)
        if progress is not None:
            progress(run.frames_done)


def _lender(
    sink: Callable[[NDArray[Any]], None] | Lender, rows: int, dtype: np.dtype[Any]
) -> Lender:
    lends: Any = sink if hasattr(sink, "lend") else _Gathered(sink, rows, dtype)
    return lends  # type: ignore[no-any-return]


class _Gathered:
    """Memory for a sink that has none: it gets records."""

    def __init__(
        self, sink: Callable[[NDArray[Any]], None], rows: int, dtype: np.dtype[Any]
    ) -> None:
        self._sink = sink
        self._records = np.empty(rows, dtype)
        self._columns = {n: np.empty(rows, dtype[n]) for n in dtype.names or ()}

    def __call__(self, records: NDArray[Any], /) -> None:
        self._sink(records)

    def lend(self) -> dict[str, NDArray[Any]]:
        return self._columns

    def took(self, rows: int) -> None:
        for name, column in self._columns.items():
            self._records[name][:rows] = column[:rows]
        self._sink(self._records[:rows])


def chip_table(chip: Chip, first_port: int) -> dict[str, Any]:
    """What the engine asks of a chip; rows from ``first_port`` on are ports."""
    times = chip.times()
    return {
        "barrier_sync": int(chip.sync == "barrier"),
        "frames_in_flight": chip.frames_in_flight,
        "columns": chip.mesh_columns,
        "tile_rows": chip.mesh_rows,
        "axon": times.axon,
        "synapse": times.synapse,
        "synapse_lanes": min(times.synapse_lanes, INT32_MAX),
        "hop_local": times.hop_local,
        "link": times.link,
        "barrier": times.barrier,
        "spike_flits": chip.packet_flits,
        "token_flits": chip.packet_flits,
        "buffer": chip.buffer or 0,
        "queue": chip.queue or 0,
        "first_port": first_port,
        "link_ticks": hop_ticks(chip).astype(np.int32).ravel(),
        "link_busy": busy_ticks(chip).ravel() if chip.chips > 1 else None,
    }


def _fans(mapping: Mapping) -> list[dict[str, Any]]:
    """For the input and each layer that sends: what a position sends to.

    Rows, or with multicast the number of a set of rows.
    """
    fans = []
    for sender in range(-1, len(mapping.network.stages) - 1):
        if mapping.chip.routing == "multicast":
            which, sets = mapping.target_sets(sender)
            sends = np.array([bool(s) for s in sets])[which]
            fans.append(
                {
                    "positions": len(which),
                    "starts": np.concatenate([[0], np.cumsum(sends)]).astype(np.int32),
                    "targets": which[sends].astype(np.int32),
                }
            )
            continue
        heard = [_heard(mapping, *ears) for ears in mapping.listeners(sender)]
        positions = heard[0][0]
        if any(size != positions for size, _, _ in heard):  # then neuron by neuron
            positions = mapping.senders(sender)
        position, targets = (
            np.concatenate(parts) for parts in zip(*(_repeated(positions, *part) for part in heard))
        )
        order = np.argsort(position, kind="stable")
        starts = np.concatenate([[0], np.cumsum(np.bincount(position, minlength=positions))])
        fans.append(
            {
                "positions": positions,
                "starts": starts.astype(np.int32),
                "targets": targets[order],
            }
        )
    for owner in mapping.owners:  # where partial sums go, row by row
        start = np.array((0, 1), np.int32)
        fans.append({"positions": 1, "starts": start, "targets": np.array((owner,), np.int32)})
    return fans


def _heard(
    mapping: Mapping, index: int, place: int
) -> tuple[int, NDArray[np.int64], NDArray[np.int32]]:
    """(positions of a source, then side by side a position and a row that hears it).

    As ``Mapping.reach_table``; a table of positions × rows may be huge.
    """
    stage, rows = mapping.network.stages[index], mapping.stage_rows[index]
    source = stage.sources[place]
    channels, height, width = source.shape if stage.joins else stage.input_shape
    slices = [mapping.slices[row - 1] for row in rows]
    is_split = any(s.inputs != (0, stage.input_shape[0]) for s in slices)
    seen = []
    for s in slices:
        y, x = (
            np.unique(np.flatnonzero(tap_counts(stage, axis, sums)) // source.upsample)
            for axis, sums in enumerate((s.sum_rows, s.sum_columns))
        )
        channel = np.arange(*s.inputs) - source.first if is_split else np.zeros(1, np.int64)
        channel = channel[(channel >= 0) & (channel < channels)]
        seen.append(((channel[:, None, None] * height + y[:, None]) * width + x).ravel())
    targets = np.repeat(np.array(rows, np.int32), [len(p) for p in seen])
    return (channels if is_split else 1) * height * width, np.concatenate(seen), targets


def _repeated(
    wanted: int, positions: int, position: NDArray[np.int64], targets: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """The same for ``wanted`` positions, which those given repeat."""
    shifts = np.arange(0, wanted, positions)
    return (shifts[:, None] + position).ravel(), np.tile(targets, len(shifts))


def _heard_by(fan: dict[str, Any], neurons: NDArray[np.int64]) -> NDArray[np.int32]:
    """Rows that at least one of the neurons sends to, in order."""
    positions = np.unique(neurons % fan["positions"])
    first, last = fan["starts"][positions], fan["starts"][positions + 1]
    counts = last - first
    at = np.arange(counts.sum()) + np.repeat(first - np.cumsum(counts) + counts, counts)
    heard: NDArray[np.int32] = np.unique(fan["targets"][at])
    return heard


def _goals(
    mapping: Mapping, trees: Trees, row: int, sender: int, fan: dict[str, Any], neurons: Any
) -> tuple[NDArray[np.int64], dict[str, Any]]:
    """Rows that a row sends to, and what the engine needs to get there."""
    if mapping.chip.routing == "unicast":
        heard = _heard_by(fan, neurons)
        roots, first = trees.roots_around(row, heard.tolist())
        return heard.astype(np.int64), {"token_to": heard, "roots": roots, "first_root": first}
    which, sets = mapping.target_sets(sender)
    positions = neurons % len(which)
    rows = mapping.heard(sender, positions)
    roots = np.full(len(sets) + 1, STRAIGHT, np.int32)
    for number in np.unique(which[positions]):
        if sets[number]:
            roots[number] = trees.root(row, sets[number])
    token_to = np.full(min(len(rows), 1), len(sets), np.int32)
    if rows:
        roots[-1] = trees.root(row, rows)
    goals = {"token_to": token_to, "roots": roots, "first_root": 0}
    return np.array(rows, np.int64), goals


def _rows(
    mapping: Mapping, fans: list[dict[str, Any]], trees: Trees, levels: list[NDArray[Any]]
) -> list[dict[str, Any]]:
    """Every row: its place, what it sends and what it holds for a spike."""
    chip, times, network = mapping.chip, mapping.chip.times(), mapping.network
    last = len(network.stages) - 1
    rows: list[dict[str, Any]] = [{} for _ in mapping.tiles]
    sources = np.zeros(len(rows), np.int64)
    for sender in range(-1, last):
        sent = np.ascontiguousarray(levels[sender + 1], np.int16)
        for row, neurons in mapping.sending_rows(sender):
            needed, goals = _goals(mapping, trees, row, sender, fans[sender + 1], neurons)
            sources[needed] += 1
            rows[row] = {
                **goals,
                "fan": sender + 1,
                "numbers": neurons.astype(np.int32),
                "levels": sent,
                "planes": network.spikes_per_neuron(sender),
            }
    nothing = {
        "fan": -1,
        "roots": None,
        "first_root": 0,
        "token_to": np.zeros(0, np.int32),
        "numbers": np.zeros(0, np.int32),
        "levels": np.zeros((len(levels[0]), 1), np.int16),
        "planes": 1,
    }
    for index in range(last + 1):
        if mapping.owner_rows[index] == mapping.stage_rows[index]:
            continue
        image = arriving(network.stages[index], levels[0], levels[1:])
        for row, sums in partial_sums(mapping, index, image):
            owner = int(mapping.owners[row])
            sources[owner] += 1
            roots, first = trees.roots_around(row, [owner])
            rows[row] = {
                "roots": roots,
                "first_root": first,
                "fan": last + 1 + row,
                "token_to": np.array((owner,), np.int32),
                "numbers": mapping.sum_numbers(row).astype(np.int32),
                "levels": _spread(mapping, row, sums),
                "planes": 1,
            }
    size = np.array((chip.columns, chip.rows))
    for r, entry in enumerate(rows):
        s = mapping.slices[r - 1] if mapping.row_of(r) else None
        if s is not None and s.owns and s.stage == last:
            entry.update(nothing)
        x, y = (int(v) for v in mapping.tiles[r])
        scan = 0 if s is None else times.neuron * -(-s.neurons // times.neuron_lanes)
        entry["place"] = (x, y, times.inject if s is None else times.spike)
        entry["chip"] = tuple((mapping.tiles[r] // size).tolist())
        entry["rate"] = (chip.port_rate or 1) if s is None else 1
        entry["depth"] = 0 if s is None else int(mapping.depths[r])
        entry["partial"] = int(s is not None and not s.owns)
        entry["reads_out"] = int(s is not None and s.owns and s.stage == last)
        entry["sources"], entry["scan"] = int(sources[r]), scan
        entry["layer"] = 0 if s is None else s.stage + 1
        entry["works"] = [] if s is None else _works(network.stages[s.stage], s, chip)
    return rows


def _spread(mapping: Mapping, row: int, sums: NDArray[Any]) -> NDArray[np.int16]:
    """Partial sums of a row (frames, its neurons) at the numbers of their neurons."""
    stage = mapping.network.stages[mapping.slices[row - 1].stage]
    spread = np.zeros((len(sums), stage.neurons), np.int16)
    spread[:, mapping.sum_numbers(row)] = sums  # they fit: see mapping.partition.SUM_BITS
    return spread


def _works(stage: Stage, s: Slice, chip: Chip) -> list[dict[str, Any]]:
    """For each source: synapses that a slice holds for a spike of each neuron in its window."""
    works = []
    for source in stage.sources:
        channels, height, width = source.shape if stage.joins else stage.input_shape
        windows = [
            (seen[0] // source.upsample, -(-seen[1] // source.upsample))
            for seen in (s.input_rows, s.input_columns)
        ]
        taps = [
            _taps(stage, axis, sums, (first * source.upsample, last * source.upsample))
            .reshape(last - first, source.upsample, -1)
            .sum(axis=1)
            for axis, (sums, (first, last)) in enumerate(zip((s.sum_rows, s.sum_columns), windows))
        ]
        if chip.storage == "sparse":  # non-zero weights of the slice by input channel and tap
            held = stage.weights[slice(*s.channels), source.first : source.first + channels]
            work = taps[0] @ np.count_nonzero(held, axis=0) @ taps[1].T
        else:
            work = (s.channels[1] - s.channels[0]) * np.outer(*(t.sum(axis=1) for t in taps))
        works.append(
            {
                "sender": source.stage + 1,
                "work": work.astype(np.int32).ravel(),
                "image": (height * width, width, int(chip.storage == "sparse")),
                "window": (windows[0][0], windows[1][0], len(taps[0]), len(taps[1])),
            }
        )
    return works


def _taps(
    stage: Stage, axis: int, sums: tuple[int, int], seen: tuple[int, int]
) -> NDArray[np.int64]:
    """For each input row (or column) seen: how many neurons of the run each tap meets (0 or 1)."""
    at = np.arange(*seen)[:, None] - stage.taps(axis)
    neuron, rest = np.divmod(at, stage.stride[axis])
    met: NDArray[np.int64] = ((rest == 0) & (sums[0] <= neuron) & (neuron < sums[1])).astype(int)
    return met


def _stuck(run: TimedRun, rows: int, trees: Trees) -> Stuck:
    """Where everything is in a run in which nothing moves."""
    found = np.zeros((run.waiting(None), 6), np.int64)
    run.waiting(found)
    state = np.zeros((2, rows), np.int64)
    run.rows_waiting(state)

    def place(number: int, kind: str) -> Place:
        return ("link", number) if number >= 0 else (kind, ~number)

    return Stuck(
        tick=run.now,
        packets=tuple(
            Waiting(
                packet=packet,
                frame=frame,
                source=source,
                targets=(target,) if target >= 0 else trees.below(~target),
                holds=place(holds, "outbox"),
                wants=None if wants == INSIDE else place(wants, "queue"),
            )
            for packet, frame, source, target, holds, wants in found.tolist()
        ),
        blocked=tuple(bool(v) for v in state[0]),
        frames=tuple(state[1].tolist()),
    )
