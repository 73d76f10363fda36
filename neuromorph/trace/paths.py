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

from neuromorph.chip import Chip
from neuromorph.mapping.board import hop_ticks
from neuromorph.mapping.packets import SIDES
from neuromorph.trace.schema import HOP_COLUMNS

if TYPE_CHECKING:
    from neuromorph.trace.reader import Trace

__all__ = ["CORE", "by_side", "is_bounded", "packet_paths"]

Columns = dict[str, NDArray[Any]]

CORE = SIDES.index("core")


def by_side(of_links: NDArray[np.int64], core: int) -> NDArray[np.int64]:
    """Values of links (rows, columns, 4), and one for ways into cores, as ``link`` numbers them."""
    values: NDArray[np.int64] = np.pad(
        of_links, ((0, 0), (0, 0), (0, 1)), constant_values=core
    ).ravel()
    return values


def is_bounded(chip: Chip) -> bool:
    """Whether packets wait for more than a link: for room behind it."""
    return chip.buffer is not None or chip.queue is not None


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

    From each core back along the rows before, see :func:`_rows_before`.
    """
    before = _rows_before(trace.chip, table)
    ends = np.flatnonzero(table["link"] % len(SIDES) == CORE)[:most]
    nobody = len(ends)
    owner = np.full(len(before), nobody)
    owner[ends] = place = np.arange(nobody)
    at = ends
    while len(at):
        at = before[at]
        is_claimed = (at < 0) | (owner[at] <= place)
        at, place = at[~is_claimed], place[~is_claimed]
        np.minimum.at(owner, at, place)
    return np.where(owner == nobody, -1, owner), len(ends)


def _rows_before(chip: Chip, table: Columns) -> NDArray[np.int64]:
    """For each row the one of its number that led to its router in time for it; −1 if none did.

    A tree around dead links may enter a router by several links.  Where two arrive
    in the same tick, what leaves is shared out, so that none is left.
    """
    columns, routers = chip.mesh_columns, chip.mesh_columns * chip.mesh_rows
    ahead = np.array([1, -1, columns, -columns, 0])
    link, tick = table["link"].astype(np.int64), table["tick"].astype(np.int64)
    router, side = np.divmod(link, len(SIDES))
    place = table["packet"].astype(np.int64) * routers
    is_end = side == CORE
    leading = np.flatnonzero(~is_end)
    if not len(leading):
        return np.full(len(link), -1)
    arrives = tick + table["waited"] + by_side(hop_ticks(chip), 0)[link]
    due = tick - (chip.hop_local_ticks or 0) * is_end
    start = int(due.min())
    span = int(arrives.max()) - start + 1
    _, number = np.unique(
        np.concatenate([place + router, (place + router + ahead[side])[leading]]),
        return_inverse=True,
    )
    wanted = number[: len(link)] * span + due - start
    led = number[len(link) :] * span + arrives[leading] - start
    order = np.argsort(led, kind="stable")
    led, leading = led[order], leading[order]
    first, behind = (np.searchsorted(led, wanted, side=s) for s in ("left", "right"))
    by_wanted = np.argsort(wanted, kind="stable")
    ranked = wanted[by_wanted]
    rank = np.empty(len(link), np.int64)
    rank[by_wanted] = np.arange(len(link)) - np.searchsorted(ranked, ranked)
    at = np.where(behind > first, np.minimum(first + rank, behind - 1), -1)
    if is_bounded(chip):  # a core whose queue is full lets a packet wait before it
        earlier = np.maximum(behind - 1, 0)
        is_same = led[earlier] // span == wanted // span
        at = np.where(is_end & (at < 0) & (behind > 0) & is_same, earlier, at)
    return np.where(at < 0, -1, leading[at])
