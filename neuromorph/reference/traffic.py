"""Packets given beforehand, through the mesh alone (twin of ``kernels.traffic``).

All packets of a tick leave together, in order; a packet is taken out where it
arrives.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuromorph.chip import Chip
from neuromorph.mapping.packets import HopSink, check_traffic, traffic_ways
from neuromorph.mapping.timing import Timing
from neuromorph.reference.mesh import Agenda, Mesh, Packet

__all__ = ["route"]


def route(
    chip: Chip, ticks: ArrayLike, tiles: ArrayLike, *, hops: HopSink | None = None
) -> tuple[NDArray[np.int64], Timing]:
    """Send packets through the mesh; when each is delivered, and the load of the links."""
    left, ends = check_traffic(chip, ticks, tiles)
    ways = traffic_ways(chip, ends)
    delivered = np.zeros(len(left), np.int64)
    agenda = Agenda()

    def arrived(tick: int, packet: Packet) -> None:
        delivered[packet.number] = tick

    mesh = Mesh(
        replace(chip, queue=None),
        agenda,
        hops,
        delivered=arrived,
        enter=lambda tick, packet: True,
        outbox=lambda tick, row: None,
    )

    def send(tick: int) -> None:
        while mesh.sent < len(left) and left[mesh.sent] == tick:
            depart(tick, ends[mesh.sent])
        if mesh.sent < len(left):
            agenda.add(int(left[mesh.sent]), send)

    def depart(tick: int, tiles: NDArray[np.int64]) -> None:
        source, target = tiles.tolist()
        node = ways.tree(source, (target,))
        mesh.depart(
            tick,
            Packet(
                frame=0,
                source=0,
                neuron=0,
                target=0,
                payload=1,
                tile=node.tile,
                goal=node.tile,
                node=node,
            ),
        )

    if len(left):
        agenda.add(int(left[0]), send)
    agenda.drain()
    none = np.zeros((3, 0), np.int64)
    return delivered, Timing(
        busy=none[0],
        blocked=none[1],
        longest_queue=none[2],
        link_packets=mesh.table("packets"),
        link_busy=mesh.table("busy"),
        link_waited=mesh.table("waited"),
        link_longest=mesh.table("longest"),
    )
