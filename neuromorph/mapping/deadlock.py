"""Deadlock: which full buffers wait for each other in a circle.

Both timed engines, when nothing moves any more, say where every packet is.
A packet *holds* a place (the buffer at the end of a link, or the outbox of a
row) and *wants* another (a link, or the queue of its core).  A core whose
queue is full waits for room in its outbox, or for the packets that its frame
still lacks.  Following what waits for what must come back to where it was.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neuromorph.mapping.mapping import Mapping

__all__ = ["Stuck", "Waiting", "deadlock"]

# A place: ("link", router × 4 + side), ("outbox", row) or ("queue", row).
Place = tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A packet (or the copy of one) that cannot move: where it is, where it wants to go.

    None: it is in its core, to be served.  Packets that fork have several ``targets``.
    """

    packet: int
    frame: int
    source: int
    targets: tuple[int, ...]
    holds: Place
    wants: Place | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stuck:
    """State of a run in which nothing moves: rows that wait to send, frame of every row."""

    tick: int
    packets: tuple[Waiting, ...]
    blocked: tuple[bool, ...]
    frames: tuple[int, ...]


def deadlock(mapping: Mapping, stuck: Stuck) -> str:
    """The sentence that names the cycle."""
    packets = sorted(stuck.packets, key=lambda p: (p.packet, p.holds, p.wants or ("", 0)))
    first = next(p for p in packets if p.wants is not None)
    assert first.wants is not None
    path = [first.wants]
    while path[-1] not in path[:-1]:
        path.append(_next(mapping, stuck, packets, path[-1]))
    cycle = path[path.index(path[-1]) :]
    names = " waits for ".join(_name(mapping, place) for place in cycle)
    chip = mapping.chip
    limits = [f"mesh.buffer ({chip.buffer})"] if chip.buffer else []
    limits += [f"core.queue ({chip.queue})"] if chip.queue else []
    remedy = f"raise {' or '.join(limits)}"
    if chip.sync == "token" and chip.frames_in_flight > 1:
        remedy += f", or lower times.frames_in_flight ({chip.frames_in_flight})"
    return (
        f"chip {chip.name!r} is deadlocked at tick {stuck.tick} with {len(packets)} packets on "
        f"it: {names}; {remedy}"
    )


def _next(mapping: Mapping, stuck: Stuck, packets: list[Waiting], place: Place) -> Place:
    """What has to give way before a full place has room again."""
    kind, row = place
    if kind != "queue":
        return next(p.wants for p in packets if p.holds == place and p.wants is not None)
    if stuck.blocked[row]:
        return "outbox", row
    # the core rests: its frame lacks packets that are on their way or not yet sent
    for p in packets:
        if row in p.targets and p.frame == stuck.frames[row] and p.wants is not None:
            return p.holds
    late = (s for s in _sources(mapping, row) if stuck.frames[s] <= stuck.frames[row])
    source = next(late, row)
    return ("outbox" if stuck.blocked[source] else "queue"), source


def _sources(mapping: Mapping, row: int) -> list[int]:
    index = mapping.slices[row - 1].stage
    column = mapping.stage_rows[index].index(row)
    spiking = []
    for place, sender in enumerate(mapping.network.stages[index].sources):
        reach = mapping.reach_table(index, place)[:, column]
        spiking += [
            source
            for source, neurons in mapping.sending_rows(sender.stage)
            if reach[neurons % len(reach)].any()
        ]
    return spiking + [r for r in np.flatnonzero(mapping.owners == row).tolist() if r != row]


def _name(mapping: Mapping, place: Place) -> str:
    kind, number = place
    if kind == "link":
        router, side = divmod(number, 4)
        y, x = divmod(router, mapping.chip.mesh_columns)
        step_x, step_y = ((1, 0), (-1, 0), (0, 1), (0, -1))[side]
        return f"link {x},{y} → {x + step_x},{y + step_y}"
    what = "queue of" if kind == "queue" else "outbox of"
    if mapping.row_of(number) == 0:
        x, y = mapping.tiles[number]
        return f"{what} the input port" + (f" at {x},{y}" if len(mapping.ports) > 1 else "")
    s = mapping.slices[number - 1]
    return f"{what} core {s.core} (layer {s.layer!r})"
