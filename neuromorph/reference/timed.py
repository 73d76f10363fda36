"""Discrete-event run of a mapped network, written to be read (twin of ``kernels.timed``).

Time is a whole number of ticks.  Events of one tick are handled in the order
in which they were scheduled.

* A *row* (the input port or a slice on its core) sends its packets one by
  one, neurons in order and for each neuron its destinations in order; a chip
  with token synchronisation then sends one token to every destination.
* A *router* passes a packet first along x, then along y.  A link takes one
  packet at a time, in order of arrival, and is busy for ``link`` ticks.
* A *core* puts packets into one queue a frame and serves those of its present
  frame in order of arrival.  A spike costs the axon look-up and the fetched
  synapses.  The frame is fired when a token of every source was served
  (token), or at the next global step (barrier): all neurons are thresholded,
  the packets leave, the next frame begins.
* The port begins a frame when it is free and fewer than ``frames_in_flight``
  frames are unfinished (token), or at every step (barrier).  A frame is
  finished when every read-out core has read its sums.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromorph.mapping import COUNTED, Mapping, Slice, Tally
from neuromorph.mapping.packets import HOP_DTYPE, PACKET_DTYPE, SIDES, TOKEN, HopSink, PacketSink
from neuromorph.network import Stage
from neuromorph.reference.counting import fire, pool

__all__ = ["timed"]

STEPS = {"east": (1, 0), "west": (-1, 0), "south": (0, 1), "north": (0, -1)}


@dataclass(slots=True)
class Packet:
    """A spike (payload not 0) or a token on its way to one core."""

    frame: int
    source: int
    neuron: int
    target: int
    payload: int
    sent: int = 0
    number: int = 0


@dataclass(slots=True)
class Row:
    """The input port (row 0) or a slice on its core."""

    number: int
    tile: tuple[int, int]
    gap: int  # ticks between packets sent
    targets: list[int]  # rows this one may send to
    needed: NDArray[np.bool_]  # (positions, targets)
    sources: int = 0  # tokens to wait for
    busy: bool = False
    frame: int = 0
    tokens: int = 0
    serving_token: bool = False
    queues: dict[int, deque[Packet]] = field(default_factory=dict)
    outbox: deque[Packet] = field(default_factory=deque)
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
    packet at every router.  The tally carries ticks, busy ticks of every row,
    and start and finish of every sample.
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
        self.inputs, self.sink, self.hops, self.frames = inputs, sink, hops, len(inputs)
        self.counted = {n: np.zeros((self.frames, mapping.rows), np.int64) for n in COUNTED}
        self.outputs = np.zeros((self.frames, self.network.classes), np.int32)
        self.levels = [
            np.zeros((self.frames, s.outputs), s.levels.dtype)
            for s in self.network.stages
            if s.levels
        ]
        self.started, self.finished = np.zeros(self.frames, int), np.zeros(self.frames, int)
        self.read_out = np.zeros(self.frames, int)  # read-out cores done with each frame
        self.active_ticks = np.zeros(mapping.rows, np.int64)
        self.link_free: dict[int, int] = {}
        self.agenda: list[tuple[int, int, str, Any]] = []
        self.scheduled = self.sent = 0
        self.next_frame = self.frames_done = 0
        self.rows = [self._row(r) for r in range(mapping.rows)]
        for row in self.rows:
            for i, target in enumerate(row.targets):
                if self._sends(row)[:, i].any():
                    self.rows[target].sources += 1

    # --- set-up

    def _stage_of(self, row: int) -> int:
        return -1 if row == 0 else self.mapping.slices[row - 1].stage

    def _row(self, r: int) -> Row:
        following = self._stage_of(r) + 1
        last = following == len(self.network.stages)
        row = Row(
            number=r,
            tile=(int(self.mapping.tiles[r, 0]), int(self.mapping.tiles[r, 1])),
            gap=self.chip.inject_ticks if r == 0 else self.chip.spike_ticks,
            targets=[] if last else list(self.mapping.stage_rows[following]),
            needed=np.zeros((1, 0), bool) if last else self.mapping.reach_table(following),
        )
        if r:
            row.sums, row.touched = self._blank(self.mapping.slices[r - 1])
        return row

    @staticmethod
    def _blank(s: Slice) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        shape = tuple(b - a for a, b in (s.channels, s.sum_rows, s.sum_columns))
        return np.zeros(shape, np.int64), np.zeros(shape, bool)

    def _neurons(self, row: Row) -> NDArray[np.int64]:
        """Flat numbers of the neurons that send from this row."""
        if row.number == 0:
            return np.arange(self.network.input.size)
        s = self.mapping.slices[row.number - 1]
        numbers = np.arange(self.network.stages[s.stage].outputs)
        numbers = numbers.reshape(self.network.stages[s.stage].output_shape)
        return numbers[slice(*s.channels), slice(*s.rows), slice(*s.columns)].ravel()

    def _sends(self, row: Row) -> NDArray[np.bool_]:
        return row.needed[self._neurons(row) % len(row.needed)]

    # --- the agenda

    def schedule(self, tick: int, what: str, about: Any) -> None:
        heapq.heappush(self.agenda, (tick, self.scheduled, what, about))
        self.scheduled += 1

    def drain(self) -> int:
        """Handle events until none is left; the tick of the last one."""
        tick = 0
        while self.agenda:
            tick, _, what, about = heapq.heappop(self.agenda)
            getattr(self, what)(tick, about)
        return tick

    def run(self) -> Tally:
        if self.chip.sync == "token":
            self.begin_if_free(0)
            self.drain()
        else:
            now = 0
            for step in range(self.frames + len(self.network.stages) if self.frames else 0):
                if step < self.frames:
                    self.begin(now, step)
                for row in self.rows[1:]:
                    if 0 <= step - 1 - self._stage_of(row.number) < self.frames:
                        row.busy = True
                        self.scan(now, row)
                now = max(now, self.drain()) + self.chip.barrier_ticks
        ticks = int(self.finished[-1] - self.started[0]) if self.frames else 0
        return Tally(
            outputs=self.outputs,
            levels=list(self.levels),
            counted=self.counted,
            ticks=ticks,
            active_ticks=self.active_ticks,
            started=self.started,
            finished=self.finished,
        )

    # --- sending

    def begin_if_free(self, tick: int) -> None:
        """Begin the next frame if the port is free and the chip takes another."""
        room = self.next_frame < self.frames_done + self.chip.frames_in_flight
        if not self.rows[0].busy and self.next_frame < self.frames and room:
            self.begin(tick, self.next_frame)

    def begin(self, tick: int, frame: int) -> None:
        self.next_frame = frame + 1
        self.started[frame] = tick
        self.send_all(tick, self.rows[0], frame, self.inputs[frame].astype(np.int64))

    def send_all(self, tick: int, row: Row, frame: int, levels: NDArray[Any]) -> None:
        """Queue the packets of all spikes (levels of the row's neurons), then tokens."""
        row.busy = True
        sends = self._sends(row)
        planes = self.network.stages[0].spikes_per_input if row.number == 0 else 1
        for neuron, level, wanted in zip(self._neurons(row), levels, sends):
            if planes == 1:
                payloads = [int(level)] if level else []
            else:
                payloads = [1 << b for b in range(planes) if int(level) >> b & 1]
            self.counted["spike_out"][frame, row.number] += len(payloads)
            for payload in payloads:
                for target in np.flatnonzero(wanted):
                    row.outbox.append(
                        Packet(frame, row.number, int(neuron), row.targets[target], payload)
                    )
        if self.chip.sync == "token":
            for target in np.flatnonzero(sends.any(axis=0)):
                row.outbox.append(Packet(frame, row.number, TOKEN, row.targets[target], 0))
        self.active_ticks[row.number] += row.gap * len(row.outbox)
        if row.outbox:
            self.schedule(tick + row.gap, "emit", row)
        else:
            self.all_sent(tick, row)

    def emit(self, tick: int, row: Row) -> None:
        packet = row.outbox.popleft()
        packet.sent, packet.number = tick, self.sent
        self.sent += 1
        kind = "packet_out" if packet.payload else "token_out"
        self.counted[kind][packet.frame, row.number] += 1
        self.hop(tick, (packet, row.tile))
        if row.outbox:
            self.schedule(tick + row.gap, "emit", row)
        else:
            self.all_sent(tick, row)

    def all_sent(self, tick: int, row: Row) -> None:
        row.busy = False
        if row.number == 0:
            if self.chip.sync == "token":
                self.begin_if_free(tick)
        else:
            row.frame += 1
            self.serve(tick, row)

    # --- the mesh

    def hop(self, tick: int, about: tuple[Packet, tuple[int, int]]) -> None:
        packet, (x, y) = about
        to_x, to_y = self.rows[packet.target].tile
        if x != to_x:
            side, action, ticks = "east" if to_x > x else "west", "hop_x", self.chip.hop_x_ticks
        elif y != to_y:
            side, action, ticks = "south" if to_y > y else "north", "hop_y", self.chip.hop_y_ticks
        else:
            self.counted["hop_local"][packet.frame, packet.source] += 1
            self.schedule(tick + self.chip.hop_local_ticks, "deliver", packet)
            return
        link = (y * self.chip.columns + x) * len(SIDES) + SIDES.index(side)
        start = max(tick, self.link_free.get(link, 0))
        self.link_free[link] = start + self.chip.link_ticks
        self.counted[action][packet.frame, packet.source] += 1
        self.record_hop(tick, packet, link, start - tick)
        step_x, step_y = STEPS[side]
        self.schedule(start + ticks, "hop", (packet, (x + step_x, y + step_y)))

    def record_hop(self, tick: int, packet: Packet, link: int, waited: int) -> None:
        if self.hops is not None:
            self.hops(np.array([(tick, packet.number, link, waited)], HOP_DTYPE))

    def deliver(self, tick: int, packet: Packet) -> None:
        row = self.rows[packet.target]
        kind = "spike_in" if packet.payload else "token_in"
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
        x, y = row.tile
        core = (y * self.chip.columns + x) * len(SIDES) + SIDES.index("core")
        self.record_hop(tick, packet, core, 0)
        row.queues.setdefault(packet.frame, deque()).append(packet)
        if not row.busy:
            self.serve(tick, row)

    # --- the core

    def serve(self, tick: int, row: Row) -> None:
        """Take the next packet of the present frame, if there is one."""
        queue = row.queues.get(row.frame)
        if not queue:
            return
        packet = queue.popleft()
        row.busy = True
        row.serving_token = packet.payload == 0
        duration = self.chip.axon_ticks
        if not row.serving_token:
            words = -(-self.integrate(row, packet) // self.chip.synapse_lanes)
            duration += self.chip.synapse_ticks * words
        self.active_ticks[row.number] += duration
        self.schedule(tick + duration, "served", row)

    def integrate(self, row: Row, packet: Packet) -> int:
        """Add the packet's synapses into the accumulators; how many were fetched."""
        s = self.mapping.slices[row.number - 1]
        stage = self.network.stages[s.stage]
        _, height, width = stage.input_shape
        channel, position = divmod(packet.neuron, height * width)
        y, x = divmod(position, width)
        fetched = events = xnor = 0
        for ky in range(stage.weights.shape[2]):
            for kx in range(stage.weights.shape[3]):
                at_y, rest_y = divmod(y + stage.padding[0] - ky, stage.stride[0])
                at_x, rest_x = divmod(x + stage.padding[1] - kx, stage.stride[1])
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
        duration = self.chip.neuron_ticks * -(-neurons // self.chip.neuron_lanes)
        self.active_ticks[row.number] += duration
        self.schedule(tick + duration, "fired", row)

    def fired(self, tick: int, row: Row) -> None:
        s = self.mapping.slices[row.number - 1]
        stage = self.network.stages[s.stage]
        frame = row.frame
        row.queues.pop(frame, None)
        self.counted["neuron_update_active"][frame, row.number] = row.touched.sum()
        sums = row.sums
        row.sums, row.touched = self._blank(s)
        numbers = self._neurons(row)
        if stage.levels is None:
            self.outputs[frame, numbers] = sums.ravel()
            self.read_out[frame] += 1
            if self.read_out[frame] == len(self.mapping.stage_rows[-1]):
                self.finished[frame] = tick
                self.frames_done += 1
                if self.chip.sync == "token":
                    self.begin_if_free(tick)
            self.all_sent(tick, row)
            return
        levels = _fire_slice(stage, s, sums)
        self.levels[s.stage][frame, numbers] = levels
        self.send_all(tick, row, frame, levels)


def _fire_slice(stage: Stage, s: Slice, sums: NDArray[np.int64]) -> NDArray[Any]:
    """Sums of a slice to the levels that leave it, flat in neuron order."""
    whole = np.zeros((1, *stage.sum_shape), np.int64)
    whole[0, slice(*s.channels), slice(*s.sum_rows), slice(*s.sum_columns)] = sums
    levels = fire(stage, whole)
    if stage.pool is not None:
        levels = pool(stage.pool, levels)
    return levels[0, slice(*s.channels), slice(*s.rows), slice(*s.columns)].ravel()
