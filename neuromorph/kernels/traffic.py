"""Packets given beforehand, through the mesh of the timed engine (twin of ``reference.traffic``).

For traffic patterns, closed forms and benchmarks: there are no cores, a packet
leaves its tile at its tick and is taken out where it arrives.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuromorph.chip import Chip
from neuromorph.kernels._timed import TimedRun
from neuromorph.kernels.timed import Agenda, advance, chip_table
from neuromorph.kernels.trees import STRAIGHT, Trees
from neuromorph.mapping.board import busy_ticks
from neuromorph.mapping.packets import HopSink, check_traffic, traffic_ways
from neuromorph.mapping.timing import Timing

__all__ = ["route"]


def route(
    chip: Chip,
    ticks: ArrayLike,
    tiles: ArrayLike,
    *,
    hops: HopSink | None = None,
    agenda: Agenda = "wheel",
) -> tuple[NDArray[np.int64], Timing]:
    """Send packets through the mesh; when each is delivered, and the load of the links.

    Parameters
    ----------
    chip : Chip
        Its mesh, times and ``buffer``; a queue does not bound this.
    ticks : int array, shape (packets,)
        When each leaves, never falling.
    tiles : int array, shape (packets, 2)
        Source and destination, numbered along rows of tiles.

    Raises
    ------
    SimulationError
        Ticks that fall or are negative, tiles that are not there, or between
        which dead links leave no way.
    ChipError
        Times that are not published.
    """
    run, delivered, most = prepare(chip, ticks, tiles, agenda)
    advance(run, None, hops, most=most)
    links = np.zeros((3, chip.mesh_rows, chip.mesh_columns, 4), np.int64)
    run.links(links.reshape(3, -1))
    none = np.zeros((3, 0), np.int64)
    return delivered, Timing(
        busy=none[0],
        blocked=none[1],
        longest_queue=none[2],
        link_packets=links[0],
        link_busy=links[0] * busy_ticks(chip),
        link_waited=links[1],
        link_longest=links[2],
    )


def prepare(
    chip: Chip, ticks: ArrayLike, tiles: ArrayLike, agenda: Agenda
) -> tuple[TimedRun, NDArray[np.int64], int]:
    """The run before its first event, what it will fill, most packets that leave at once."""
    left, ends = check_traffic(chip, ticks, tiles)
    (y, x), (to_y, to_x) = (np.divmod(tile, chip.mesh_columns) for tile in ends.T)
    ways = x | y << 16 | to_x << 32 | to_y << 48
    trees = Trees(traffic_ways(chip, ends))
    around = np.flatnonzero(trees.ways.broken(ends))
    roots = np.full(len(left) if len(around) else 0, STRAIGHT, np.int32)
    for place in around.tolist():
        roots[place] = trees.root(int(ends[place, 0]), (int(ends[place, 1]),))
    delivered = np.zeros(len(left), np.int64)
    starts = np.flatnonzero(np.diff(left, prepend=-1, append=-1))
    most = int(np.diff(starts).max(initial=0))  # packets that leave at one tick
    run = TimedRun(
        agenda,
        chip_table(replace(chip, queue=None), 0),
        0,
        fans=[],
        rows=[],
        nodes=trees.tables,
        traffic={
            "tick": left,
            "way": ways,
            "most": most,
            "roots": roots if len(around) else None,
            "delivered": delivered,
        },
    )
    return run, delivered, most
