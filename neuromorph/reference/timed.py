"""Discrete-event run of a mapped network, written to be read (twin of ``kernels.timed``).

Time is a whole number of ticks.  Routers, links and their buffers are in
``mesh.py``; here are the rows, which send and serve.

* A *row* (an input port or a slice on its core) sends its packets one by
  one, neurons in order and for each neuron its destinations in order; a chip
  with token synchronisation then sends one token to every destination.  A port
  sends ``port_rate`` of them at once.  With finite buffers a packet needs a
  place in the row's outbox; the row waits for it.
* A *core* puts packets into one queue a frame and serves those of its present
  frame in order of arrival.  A spike costs the axon look-up and the fetched
  synapses.  The frame is fired when a token of every source was served
  (token), or at the next global step (barrier): all neurons are thresholded,
  the packets leave, the next frame begins.
* A core with a part of the fan-in fires alike, but sends its sums that are not
  zero to the core that owns the neurons, which adds them: an axon look-up and
  one synapse each.  With barriers the owner fires one step later.
* The ports begin a frame when all of them are free and fewer than
  ``frames_in_flight`` frames are unfinished (token), or at every step (barrier).  A frame is
  finished when every read-out core has read its sums.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromorph.errors import SimulationError
from neuromorph.events import HOPS
from neuromorph.mapping import COUNTED, Mapping, Slice, Tally
from neuromorph.mapping.deadlock import Stuck, deadlock
from neuromorph.mapping.packets import PACKET_DTYPE, TOKEN, HopSink, PacketSink
from neuromorph.mapping.timing import Timing
from neuromorph.network import Stage
from neuromorph.reference.counting import fire, pool
from neuromorph.reference.mesh import Agenda, Mesh, Packet

__all__ = ["timed"]


@dataclass(slots=True)
class Row:
    """An input port or a slice on its core."""

    number: int  # as a source, see Mapping
    table: int  # row of the tables that it is counted in
    neurons: NDArray[np.int64]  # flat numbers of those that send from here
    tile: tuple[int, int]
    gap: int  # ticks between packets sent
    rate: int  # that many at once
    targets: list[int]  # rows this one may send to
    needed: NDArray[np.bool_]  # (positions, targets)
    sources: int = 0  # tokens to wait for
    busy: bool = False
    frame: int = 0
    tokens: int = 0
    serving_token: bool = False
    queues: dict[int, deque[Packet]] = field(default_factory=dict)
    queue_room: int | None = None  # places left in all queues; None: no limit
    entering: deque[Packet] = field(default_factory=deque)  # wait for such a place
    to_send: deque[Packet] = field(default_factory=deque)
    sent_at_once: int = 0
    outbox_room: int | None = None
    blocked_since: int | None = None  # waits for a place in the outbox
    sums: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    touched: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))


def timed(
    mapping: Mapping,
    inputs: NDArray[np.int16],
    *,
    sink: PacketSink | None = None,
    hops: HopSink | None = None,
) -> Tally:
    """Run encoded inputs (batch, size) tick by tick.

    ``sink`` gets the record of every delivered packet, ``hops`` that of every
    packet at every router.  The tally carries ticks, timing, and start and
    finish of every sample.

    Raises
    ------
    SimulationError
        Full buffers wait for each other in a circle; names it.
    """
    return _Run(mapping, inputs, sink, hops).run()


class _Run:
    def __init__(
        self,
        mapping: Mapping,
        inputs: NDArray[np.int16],
        sink: PacketSink | None,
        hops: HopSink | None,
    ) -> None:
        self.mapping, self.chip, self.network = mapping, mapping.chip, mapping.network
        self.times = self.chip.times()
        self.inputs, self.sink, self.frames = inputs, sink, len(inputs)
        self.counted = {n: np.zeros((self.frames, mapping.rows), np.int64) for n in COUNTED}
        sums = self.network.stages[-1].sum_dtype
        self.outputs = np.zeros((self.frames, self.network.outputs), sums)
        self.levels = [
            np.zeros((self.frames, s.outputs), s.levels.dtype)
            for s in self.network.stages
            if s.levels
        ]
        self.started, self.finished = np.zeros(self.frames, int), np.zeros(self.frames, int)
        self.read_out = np.zeros(self.frames, int)  # read-out cores done with each frame
        self.busy, self.blocked, self.longest_queue = np.zeros((3, len(mapping.tiles)), np.int64)
        self.agenda = Agenda()
        self.mesh = Mesh(
            self.chip,
            self.agenda,
            hops,
            delivered=self.delivered,
            enter=self.enter,
            outbox=self.outbox,
        )
        self.next_frame = self.frames_done = 0
        # neurons with events on cores that do not own them, by frame and owner
        self.elsewhere: dict[tuple[int, int], NDArray[np.bool_]] = {}
        neurons = dict(
            sending
            for sender in range(-1, len(self.network.stages))
            for sending in mapping.sending_rows(sender)
        )
        self.rows = [self._row(r, neurons.get(r)) for r in range(len(mapping.tiles))]
        self.ports = [self.rows[port] for port in mapping.ports]
        for row in self.rows:
            if not self._owns(row.number):
                self.rows[row.targets[0]].sources += 1
                continue
            for i, target in enumerate(row.targets):
                if self._sends(row)[:, i].any():
                    self.rows[target].sources += 1

    # --- set-up

    def _is_port(self, row: int) -> bool:
        return self.mapping.row_of(row) == 0

    def _stage_of(self, row: int) -> int:
        return -1 if self._is_port(row) else self.mapping.slices[row - 1].stage

    def _owns(self, row: int) -> bool:
        return self._is_port(row) or int(self.mapping.owners[row]) == row

    def _row(self, r: int, neurons: NDArray[np.int64] | None) -> Row:
        is_port, sender = self._is_port(r), self._stage_of(r)
        sends = sender < len(self.network.stages) - 1
        targets = self.mapping.target_rows(sender)
        row = Row(
            number=r,
            table=self.mapping.row_of(r),
            neurons=np.zeros(0, np.int64) if neurons is None else neurons,
            tile=(int(self.mapping.tiles[r, 0]), int(self.mapping.tiles[r, 1])),
            gap=self.times.inject if is_port else self.times.spike,
            rate=(self.chip.port_rate or 1) if is_port else 1,
            targets=targets if self._owns(r) else [int(self.mapping.owners[r])],
            needed=self.mapping.send_table(sender) if sends else np.zeros((1, 0), bool),
            queue_room=self.chip.queue,
            outbox_room=self.chip.buffer,
        )
        if not is_port:
            row.sums, row.touched = self._blank(self.mapping.slices[r - 1])
        return row

    @staticmethod
    def _blank(s: Slice) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        shape = tuple(b - a for a, b in (s.channels, s.sum_rows, s.sum_columns))
        return np.zeros(shape, np.int64), np.zeros(shape, bool)

    def _sends(self, row: Row) -> NDArray[np.bool_]:
        return row.needed[row.neurons % len(row.needed)]

    # --- the whole run

    def run(self) -> Tally:
        if self.chip.sync == "token":
            self.begin_if_free(0)
            self.drain()
        else:
            now = 0
            depths = self.mapping.depths
            for step in range(self.frames + depths.max() + 1 if self.frames else 0):
                if step < self.frames:
                    self.begin(now, step)
                for row in self.rows[1 : self.mapping.rows]:
                    if 0 <= step - depths[row.number] < self.frames:
                        row.busy = True
                        self.scan(now, row)
                self.drain()
                now = max(now, self.agenda.now) + self.times.barrier
        ticks = int(self.finished[-1] - self.started[0]) if self.frames else 0
        return Tally(
            outputs=self.outputs,
            levels=list(self.levels),
            counted=self.counted,
            ticks=ticks,
            timing=Timing(
                busy=self._by_row(self.busy),
                blocked=self._by_row(self.blocked),
                longest_queue=self._by_row(self.longest_queue),
                link_packets=self.mesh.table("packets"),
                link_busy=self.mesh.table("busy"),
                link_waited=self.mesh.table("waited"),
                link_longest=self.mesh.table("longest"),
            ),
            started=self.started,
            finished=self.finished,
        )

    def _by_row(self, of_source: NDArray[np.int64]) -> NDArray[np.int64]:
        """One value a row of the tables: of several ports the largest."""
        table = of_source[: self.mapping.rows].copy()
        table[0] = of_source[list(self.mapping.ports)].max()
        return table

    def drain(self) -> None:
        """Until nothing moves; then packets may be left only in cores, for a later step."""
        self.agenda.drain()
        if any(packet.wants is not None for packet in self.mesh.alive):
            stuck = Stuck(
                tick=self.agenda.now,
                packets=self.mesh.waiting(),
                blocked=tuple(row.blocked_since is not None for row in self.rows),
                frames=tuple(row.frame for row in self.rows),
            )
            raise SimulationError(deadlock(self.mapping, stuck))

    # --- sending

    def begin_if_free(self, tick: int) -> None:
        """Begin the next frame if the ports are free and the chip takes another."""
        room = self.next_frame < self.frames_done + self.chip.frames_in_flight
        is_free = not any(port.busy for port in self.ports)
        if is_free and self.next_frame < self.frames and room:
            self.begin(tick, self.next_frame)

    def begin(self, tick: int, frame: int) -> None:
        self.next_frame = frame + 1
        self.started[frame] = tick
        for port in self.ports:
            port.busy = True
        for port in self.ports:
            self.send_all(tick, port, frame, self.inputs[frame, port.neurons].astype(np.int64))

    def send_all(self, tick: int, row: Row, frame: int, levels: NDArray[Any]) -> None:
        """Queue the packets of all spikes (levels of the row's neurons), then tokens."""
        row.busy, row.frame = True, frame
        sends = self._sends(row)
        planes = self.network.spikes_per_neuron(self._stage_of(row.number))
        for neuron, level, wanted in zip(row.neurons, levels, sends):
            if planes == 1:
                payloads = [int(level)] if level else []
            else:
                payloads = [1 << b for b in range(planes) if int(level) >> b & 1]
            self.counted["spike_out"][frame, row.table] += len(payloads)
            for payload in payloads:
                self.queue_packets(row, int(neuron), wanted, payload)
        if self.chip.sync == "token":
            self.queue_packets(row, TOKEN, sends.any(axis=0), 0)
        self.start_sending(tick, row)

    def queue_packets(self, row: Row, neuron: int, wanted: Any, payload: int) -> None:
        """One packet for each row that wants it, or with multicast one for all of them."""
        rows = [row.targets[target] for target in np.flatnonzero(wanted)]
        together = [rows] if self.chip.routing == "multicast" and rows else [[r] for r in rows]
        row.to_send += [self.packet(row, neuron, targets, payload) for targets in together]

    def send_sums(self, tick: int, row: Row, sums: NDArray[np.int64]) -> None:
        """Queue the partial sums that are not zero, then a token."""
        owner = row.targets[:1]
        for neuron, value in zip(self.mapping.sum_numbers(row.number), sums.ravel()):
            if value:
                row.to_send.append(self.packet(row, int(neuron), owner, int(value)))
        if self.chip.sync == "token":
            row.to_send.append(self.packet(row, TOKEN, owner, 0))
        self.start_sending(tick, row)

    def start_sending(self, tick: int, row: Row) -> None:
        self.busy[row.number] += row.gap * -(-len(row.to_send) // row.rate)
        row.sent_at_once = 0
        if row.to_send:
            self.agenda.add(tick + row.gap, self.emit, row)
        else:
            self.all_sent(tick, row)

    def packet(self, row: Row, neuron: int, targets: list[int], payload: int) -> Packet:
        return Packet(
            frame=row.frame,
            source=row.number,
            neuron=neuron,
            target=0,
            payload=payload,
            tile=row.tile,
            goal=row.tile,
            node=self.mapping.ways.tree(row.number, targets),
            holds=("outbox", row.number),
        )

    def emit(self, tick: int, row: Row) -> None:
        """Send the next packet, or wait for a place in the outbox."""
        if row.outbox_room == 0:
            row.blocked_since = tick
            return
        if row.outbox_room is not None:
            row.outbox_room -= 1
        packet = row.to_send.popleft()
        kind = "packet_out" if self._owns(row.number) else "partial_out"
        kind = "token_out" if packet.is_token else kind
        self.counted[kind][packet.frame, row.table] += 1
        assert packet.node is not None
        for leg in packet.node.legs():
            for link in self.mesh.links_on(*leg):
                self.counted[HOPS[link.kind]][packet.frame, row.table] += 1
        self.counted["hop_local"][packet.frame, row.table] += len(packet.node.all_rows)
        self.mesh.depart(tick, packet)
        row.sent_at_once = (row.sent_at_once + 1) % row.rate
        if row.to_send:
            wait = 0 if row.sent_at_once else row.gap
            self.agenda.add(tick + wait, self.emit, row)
        else:
            self.all_sent(tick, row)

    def outbox(self, tick: int, number: int) -> None:
        """A place in the outbox of a row is free again."""
        row = self.rows[number]
        if row.outbox_room is not None:
            row.outbox_room += 1
        if row.blocked_since is not None:
            self.blocked[number] += tick - row.blocked_since
            row.blocked_since = None
            self.emit(tick, row)

    def all_sent(self, tick: int, row: Row) -> None:
        row.busy = False
        if self._is_port(row.number):
            if self.chip.sync == "token":
                self.begin_if_free(tick)
        else:
            row.frame += 1
            self.serve(tick, row)

    # --- receiving

    def enter(self, tick: int, packet: Packet) -> bool:
        """Take a place in the queue of the packet's core, or wait for one."""
        row = self.rows[packet.target]
        if row.queue_room == 0:
            packet.wants = ("queue", row.number)
            row.entering.append(packet)
            return False
        if row.queue_room is not None:
            row.queue_room -= 1
        return True

    def delivered(self, tick: int, packet: Packet) -> None:
        row = self.rows[packet.target]
        kind = "spike_in" if self._owns(packet.source) else "partial_in"
        kind = "token_in" if packet.is_token else kind
        self.counted[kind][packet.frame, row.number] += 1
        if self.sink is not None:
            record = (
                packet.frame,
                packet.source,
                packet.neuron,
                packet.target,
                packet.payload,
                packet.sent,
                tick,
            )
            self.sink(np.array([record], PACKET_DTYPE))
        row.queues.setdefault(packet.frame, deque()).append(packet)
        queued = sum(len(q) for q in row.queues.values())
        self.longest_queue[row.number] = max(self.longest_queue[row.number], queued)
        if not row.busy:
            self.serve(tick, row)

    # --- the core

    def serve(self, tick: int, row: Row) -> None:
        """Take the next packet of the present frame, if there is one."""
        queue = row.queues.get(row.frame)
        if not queue:
            return
        packet = queue.popleft()
        del self.mesh.alive[packet]
        row.busy = True
        row.serving_token = packet.is_token
        duration = self.times.axon
        if not row.serving_token:
            add = self.integrate if self._owns(packet.source) else self.add_sum
            words = -(-add(row, packet) // self.times.synapse_lanes)
            duration += self.times.synapse * words
        self.busy[row.number] += duration
        self.agenda.add(tick + duration, self.served, row)
        if row.entering:
            self.agenda.add(tick + self.times.hop_local, self.mesh.deliver, row.entering.popleft())
        elif row.queue_room is not None:
            row.queue_room += 1

    def integrate(self, row: Row, packet: Packet) -> int:
        """Add the packet's synapses into the accumulators; how many were fetched."""
        stage = self.network.stages[self.mapping.slices[row.number - 1].stage]
        sender = self._stage_of(packet.source)
        source = next(source for source in stage.sources if source.stage == sender)
        _, height, width = source.shape if stage.joins else stage.input_shape
        channel, position = divmod(packet.neuron, height * width)
        square = range(source.upsample)
        y, x = (place * source.upsample for place in divmod(position, width))
        return sum(
            self.meet(row, packet, (source.first + channel, y + down, x + right))
            for down in square
            for right in square
        )

    def meet(self, row: Row, packet: Packet, pixel: tuple[int, int, int]) -> int:
        """Add the synapses of one arriving pixel (channel, row, column)."""
        s = self.mapping.slices[row.number - 1]
        stage = self.network.stages[s.stage]
        channel, y, x = pixel
        fetched = events = xnor = 0
        for ky in range(stage.weights.shape[2]):
            for kx in range(stage.weights.shape[3]):
                at_y, rest_y = divmod(y - stage.taps(0)[ky], stage.stride[0])
                at_x, rest_x = divmod(x - stage.taps(1)[kx], stage.stride[1])
                if rest_y or rest_x:
                    continue
                in_rows = s.sum_rows[0] <= at_y < s.sum_rows[1]
                if not (in_rows and s.sum_columns[0] <= at_x < s.sum_columns[1]):
                    continue
                w = stage.weights[slice(*s.channels), channel, ky, kx].astype(np.int64)
                cell = (slice(None), at_y - s.sum_rows[0], at_x - s.sum_columns[0])
                row.sums[cell] += packet.payload * w
                row.touched[cell] |= w != 0
                fetched += len(w)
                events += int((w != 0).sum())
                xnor += int((np.abs(w) == 1).sum()) if abs(packet.payload) == 1 else 0
        self.counted["fetched"][packet.frame, row.number] += fetched
        self.counted["xnor_event"][packet.frame, row.number] += xnor
        self.counted["graded_event"][packet.frame, row.number] += events - xnor
        return fetched if self.chip.storage == "dense" else events

    def add_sum(self, row: Row, packet: Packet) -> int:
        """Add a partial sum into the accumulator of its neuron: one addition."""
        place = int(np.flatnonzero(self.mapping.sum_numbers(row.number) == packet.neuron)[0])
        row.sums.flat[place] += packet.payload
        return 1

    def served(self, tick: int, row: Row) -> None:
        if row.serving_token:
            row.tokens += 1
            if row.tokens == row.sources:
                row.tokens = 0
                self.scan(tick, row)
                return
        row.busy = False
        self.serve(tick, row)

    def scan(self, tick: int, row: Row) -> None:
        """Threshold (or read out) all neurons of the row."""
        neurons = self.mapping.slices[row.number - 1].neurons
        duration = self.times.neuron * -(-neurons // self.times.neuron_lanes)
        self.busy[row.number] += duration
        self.agenda.add(tick + duration, self.fired, row)

    def fired(self, tick: int, row: Row) -> None:
        s = self.mapping.slices[row.number - 1]
        stage = self.network.stages[s.stage]
        frame = row.frame
        row.queues.pop(frame, None)
        sums, touched = row.sums, row.touched
        row.sums, row.touched = self._blank(s)
        if not s.owns:
            elsewhere = self.elsewhere.setdefault((frame, row.targets[0]), np.zeros_like(touched))
            elsewhere |= touched
            self.send_sums(tick, row, sums)
            return
        touched |= self.elsewhere.pop((frame, row.number), False)
        self.counted["neuron_update_active"][frame, row.number] = touched.sum()
        if stage.levels is None:
            self.outputs[frame, row.neurons] = sums.ravel()
            self.read_out[frame] += 1
            if self.read_out[frame] == len(self.mapping.owner_rows[-1]):
                self.finished[frame] = tick
                self.frames_done += 1
                if self.chip.sync == "token":
                    self.begin_if_free(tick)
            self.all_sent(tick, row)
            return
        levels = _fire_slice(stage, s, sums)
        self.levels[s.stage][frame, row.neurons] = levels
        self.send_all(tick, row, frame, levels)


def _fire_slice(stage: Stage, s: Slice, sums: NDArray[np.int64]) -> NDArray[Any]:
    """Sums of a slice to the levels that leave it, flat in neuron order."""
    whole = np.zeros((1, *stage.sum_shape), np.int64)
    whole[0, slice(*s.channels), slice(*s.sum_rows), slice(*s.sum_columns)] = sums
    levels = fire(stage, whole)
    if stage.pool is not None:
        levels = pool(stage.pool, levels)
    return levels[0, slice(*s.channels), slice(*s.rows), slice(*s.columns)].ravel()
