"""The way of every packet: its rows of ``/hops`` together, in order of delivery.

Packets on their way mix in the table.  The n-th row with the side ``core``
delivers the n-th packet; the rows of its number before it are its way there.
Where packets fork, rows that several deliveries share belong to the first of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neuromorph.mapping.packets import SIDES
from neuromorph.trace.schema import HOP_COLUMNS

if TYPE_CHECKING:
    from neuromorph.trace.reader import Trace

__all__ = ["CORE", "packet_paths"]

Columns = dict[str, NDArray[Any]]

CORE = SIDES.index("core")


def packet_paths(trace: Trace) -> Iterator[tuple[Columns, Columns]]:
    """Ways and packets, a bounded number at a time; needs hops.

    Yields
    ------
    (hops, packets)
        Columns of both tables for the next packets.  In ``hops`` the column
        ``packet`` is the place among these packets; it ascends, and the rows of
        a packet are in order of time.  What is not delivered is left out.  With
        multicast the way of a packet begins where it left that of one delivered
        before.
    """
    waiting = {name: np.zeros(0, dtype) for name, dtype in HOP_COLUMNS.items()}
    done = 0
    for block in trace.blocks("hops"):
        table = {name: np.concatenate([waiting[name], values]) for name, values in block.items()}
        if trace.chip.routing == "multicast":
            owner, number = _owners(trace, table, trace.packet_count - done)
            waiting = {name: values[owner < 0] for name, values in table.items()}
            order = np.flatnonzero(owner >= 0)
            order = order[np.argsort(owner[order], kind="stable")]
            hops = {name: values[order] for name, values in table.items()}
            hops["packet"] = owner[order]
            if number:
                yield hops, trace.rows("packets", done, done + number)
            done += number
            continue
        numbers = table["packet"][table["link"] % len(SIDES) == CORE]
        numbers = numbers[: trace.packet_count - done]  # an unfinished trace may lack the others
        if not len(numbers):
            waiting = table
            continue
        by_number = np.argsort(numbers, kind="stable")
        place = by_number[
            np.minimum(
                np.searchsorted(numbers, table["packet"], sorter=by_number), len(numbers) - 1
            )
        ]
        found = numbers[place] == table["packet"]
        waiting = {name: values[~found] for name, values in table.items()}
        order = np.argsort(place[found], kind="stable")
        hops = {name: values[found][order] for name, values in table.items()}
        hops["packet"] = place[found][order]
        yield hops, trace.rows("packets", done, done + len(numbers))
        done += len(numbers)


def _owners(trace: Trace, table: Columns, most: int) -> tuple[NDArray[np.int64], int]:
    """For each row the place of the delivery that it belongs to, −1: of none yet; how many.

    From each core back along the rows of its number, each leading to the router
    of the one after it.
    """
    columns, routers = trace.chip.mesh_columns, trace.chip.mesh_columns * trace.chip.mesh_rows
    ahead = np.array([1, -1, columns, -columns, 0])
    router, side = np.divmod(table["link"].astype(np.int64), len(SIDES))
    key = table["packet"].astype(np.int64) * routers
    ends = np.flatnonzero(side == CORE)[:most]
    between = np.flatnonzero(side != CORE)
    leads_to = key[between] + router[between] + ahead[side[between]]
    order = np.argsort(leads_to, kind="stable")
    between, leads_to = between[order], leads_to[order]
    nobody = len(ends)
    owner = np.full(len(router), nobody)
    owner[ends] = place = np.arange(nobody)
    at = ends
    for _ in range(routers):
        if not len(at) or not len(between):
            break
        wanted = key[at] + router[at]
        before = np.minimum(np.searchsorted(leads_to, wanted), len(leads_to) - 1)
        found = leads_to[before] == wanted
        at, place = between[before[found]], place[found]
        unclaimed = owner[at] > place
        at, place = at[unclaimed], place[unclaimed]
        np.minimum.at(owner, at, place)
    return np.where(owner == nobody, -1, owner), len(ends)
