"""Routers, links and buffers of a timed run, written to be read.

* The *agenda* holds what happens at which tick; events of one tick are handled
  in the order in which they were added.
* A packet has ``packet_flits`` flits.  A *link* passes one flit every ``link`` ticks
  and takes one packet at a time, in order of arrival; the head of a packet is
  at the next router after ``hop_x`` or ``hop_y`` ticks and goes on at once.  From
  chip to chip it has ``board_flits`` flits, ``board_link`` ticks each, and takes
  ``board_hop`` ticks.
* Packets go first along x, then along y, then into their core (``hop_local``).
  One for several cores, or around dead links, goes so from node to node of its
  tree.  Where it forks there is a copy for every core at that tile, then one for
  every branch; all of them leave from the place that the packet held.
* With finite buffers a packet *holds* a place: in the outbox of its core, then
  in the buffer at the end of each link it crosses.  It starts over a link when
  the link is free and the buffer behind it has room, and gives its place back
  when its last flit has left, or at delivery.  Of the packets in a buffer,
  those for one link leave in order of arrival; those for other links may pass.
* With a finite queue a packet enters its core when the queue has room.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromorph.chip import Chip
from neuromorph.mapping.deadlock import Place, Waiting
from neuromorph.mapping.packets import HOP_DTYPE, SIDES, TOKEN, HopSink
from neuromorph.mapping.ways import Node

__all__ = ["Agenda", "Mesh", "Packet"]

BETWEEN = 2  # place in HOPS of a link from chip to chip
STEPS = {"east": (1, 0), "west": (-1, 0), "south": (0, 1), "north": (0, -1)}


class Agenda:
    """Calls to make, by tick."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self.added = self.now = 0

    def add(self, tick: int, call: Callable[..., None], *about: Any) -> None:
        heapq.heappush(self.calls, (tick, self.added, call, about))
        self.added += 1

    def drain(self) -> None:
        """Make calls until none is left."""
        while self.calls:
            self.now, _, call, about = heapq.heappop(self.calls)
            call(self.now, *about)


@dataclass(slots=True, eq=False)
class Shared:
    """A place that several copies of a packet hold until the last has left it."""

    place: Place
    copies: int


@dataclass(slots=True, eq=False)
class Packet:
    """A spike (payload not 0) or a token on its way from a tile to a tile.

    To the core of row ``target``, or to the ``node`` of a tree.
    """

    frame: int
    source: int
    neuron: int
    target: int
    payload: int
    tile: tuple[int, int]
    goal: tuple[int, int]
    node: Node | None = None
    sent: int = 0
    number: int = 0
    holds: Place | Shared | None = None
    wants: Place | None = None
    since: int = 0

    @property
    def is_token(self) -> bool:
        return self.neuron == TOKEN


@dataclass(slots=True, eq=False)
class Link:
    """One direction from a tile to the next, with the buffer at its end."""

    number: int
    side: str
    kind: int  # place in HOPS
    ticks: int
    busy_for: int  # ticks that a packet keeps it
    room: int | None  # places left in the buffer; None: no limit
    is_busy: bool = False
    free_at: int = 0
    waiting: deque[Packet] = field(default_factory=deque)
    packets: int = 0
    busy: int = 0
    waited: int = 0
    longest: int = 0


class Mesh:
    """All links.  ``is_limited``: buffers or queues are finite.

    ``delivered(tick, packet)`` is called when a packet is in its core,
    ``enter(tick, packet)`` asks the core for a place in its queue (False: it
    has to wait), ``outbox(tick, row)`` says that a place there is free again.
    """

    def __init__(
        self,
        chip: Chip,
        agenda: Agenda,
        hops: HopSink | None,
        *,
        delivered: Callable[[int, Packet], None],
        enter: Callable[[int, Packet], bool],
        outbox: Callable[[int, int], None],
    ) -> None:
        self.chip, self.times, self.agenda, self.hops = chip, chip.times(), agenda, hops
        self.delivered, self.enter, self.outbox = delivered, enter, outbox
        self.is_limited = chip.buffer is not None or chip.queue is not None
        self.links = [
            Link(
                number=router * len(STEPS) + i,
                side=side,
                kind=(kind := self.kind_of(router, side)),
                ticks=(self.times.hop_x, self.times.hop_y, self.times.board_hop)[kind],
                busy_for=self.times.board_link * chip.board_flits
                if kind == BETWEEN
                else self.times.link * chip.packet_flits,
                room=chip.buffer,
            )
            for router in range(chip.mesh_rows * chip.mesh_columns)
            for i, side in enumerate(STEPS)
        ]
        self.alive: dict[Packet, None] = {}  # on the chip, in order of appearance
        self.sent = 0

    def kind_of(self, router: int, side: str) -> int:
        """Place in ``HOPS`` of the link that leaves a router to a side."""
        y, x = divmod(router, self.chip.mesh_columns)
        to_x, to_y = x + STEPS[side][0], y + STEPS[side][1]
        columns, rows = self.chip.columns, self.chip.rows
        if (x // columns, y // rows) != (to_x // columns, to_y // rows):
            return BETWEEN
        return 0 if y == to_y else 1

    def links_on(self, start: tuple[int, int], goal: tuple[int, int]) -> Iterator[Link]:
        """The links from a tile to another, along x, then along y."""
        (x, y), (to_x, to_y) = start, goal
        while (x, y) != goal:
            if x != to_x:
                side = "east" if to_x > x else "west"
            else:
                side = "south" if to_y > y else "north"
            yield self.links[
                (y * self.chip.mesh_columns + x) * len(STEPS) + list(STEPS).index(side)
            ]
            x, y = x + STEPS[side][0], y + STEPS[side][1]

    def depart(self, tick: int, packet: Packet) -> None:
        """A packet leaves its source."""
        packet.sent, packet.number = tick, self.sent
        self.alive[packet] = None
        self.sent += 1
        self.arrive(tick, packet)

    def fork(self, tick: int, packet: Packet, node: Node) -> None:
        """The head of a packet is at a node of its tree."""
        copies, holds = len(node.rows) + len(node.branches), packet.holds
        if copies > 1 and isinstance(holds, tuple):
            holds = Shared(holds, copies)
        del self.alive[packet]
        ends: tuple[int | Node, ...] = (*node.rows, *node.branches)
        for end in ends:
            copy = replace(packet, node=None, holds=holds)
            if isinstance(end, int):
                copy.target = end
            elif len(end.rows) == 1 and not end.branches:
                copy.goal, copy.target = end.tile, end.rows[0]
            else:
                copy.goal, copy.node = end.tile, end
            self.alive[copy] = None
            self.arrive(tick, copy)

    def arrive(self, tick: int, packet: Packet) -> None:
        """The head of a packet is at a router."""
        if packet.tile == packet.goal:
            if packet.node is not None:
                self.fork(tick, packet, packet.node)
            elif self.enter(tick, packet):
                self.agenda.add(tick + self.times.hop_local, self.deliver, packet)
            return
        link = next(self.links_on(packet.tile, packet.goal))
        packet.since = tick
        if not self.is_limited:
            start = max(tick, link.free_at)
            link.free_at = start + link.busy_for
            self.cross(start, link, packet)
            return
        packet.wants = ("link", link.number)
        link.waiting.append(packet)
        self.try_link(tick, link)

    def cross(self, tick: int, link: Link, packet: Packet) -> None:
        """The head of a packet starts over a link."""
        waited = tick - packet.since
        link.packets += 1
        link.busy += link.busy_for
        link.waited += waited
        link.longest = max(link.longest, waited)
        self.record(packet, SIDES.index(link.side), packet.since, waited)
        x, y = STEPS[link.side]
        packet.tile = packet.tile[0] + x, packet.tile[1] + y
        if packet.tile == packet.goal and packet.node is None and not self.is_limited:
            self.agenda.add(tick + link.ticks + self.times.hop_local, self.deliver, packet)
        else:
            self.agenda.add(tick + link.ticks, self.arrive, packet)

    def try_link(self, tick: int, link: Link) -> None:
        if link.is_busy or link.room == 0 or not link.waiting:
            return
        packet = link.waiting.popleft()
        link.is_busy = True
        if link.room is not None:
            link.room -= 1
        place, packet.holds = packet.holds, ("link", link.number)
        self.agenda.add(tick + link.busy_for, self.link_free, link, place)
        self.cross(tick, link, packet)

    def link_free(self, tick: int, link: Link, place: Place | Shared | None) -> None:
        """The last flit is over the link, and its packet out of the place before it."""
        link.is_busy = False
        self.give_back(tick, place)
        self.try_link(tick, link)

    def give_back(self, tick: int, place: Place | Shared | None) -> None:
        if isinstance(place, Shared):
            place.copies -= 1
            place = None if place.copies else place.place
        if place is None:
            return
        kind, number = place
        if kind == "outbox":
            self.outbox(tick, number)
            return
        link = self.links[number]
        if link.room is not None:
            link.room += 1
        self.try_link(tick, link)

    def deliver(self, tick: int, packet: Packet) -> None:
        self.record(packet, SIDES.index("core"), tick, 0)
        place = packet.holds
        packet.wants = None
        self.delivered(tick, packet)
        if self.is_limited:
            self.give_back(tick, place)

    def record(self, packet: Packet, side: int, tick: int, waited: int) -> None:
        if self.hops is not None:
            x, y = packet.tile
            link = (y * self.chip.mesh_columns + x) * len(SIDES) + side
            self.hops(np.array([(tick, packet.number, link, waited)], HOP_DTYPE))

    def waiting(self) -> tuple[Waiting, ...]:
        """Every packet on a chip on which nothing moves."""
        found = []
        for p in self.alive:
            place = p.holds.place if isinstance(p.holds, Shared) else p.holds
            found.append(
                Waiting(
                    packet=p.number,
                    frame=p.frame,
                    source=p.source,
                    targets=(p.target,) if p.node is None else p.node.all_rows,
                    holds=place or ("outbox", p.source),
                    wants=p.wants,
                )
            )
        return tuple(found)

    def table(self, name: str) -> NDArray[np.int64]:
        """One number of all links: (rows, columns, 4)."""
        values = [getattr(link, name) for link in self.links]
        return np.array(values, np.int64).reshape(
            self.chip.mesh_rows, self.chip.mesh_columns, len(STEPS)
        )
