"""The way of every packet: its rows of ``/hops`` together, in order of delivery.

Packets on their way mix in the table.  The n-th row with the side ``core``
delivers the n-th packet; the rows of its number before it are its way there.
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
        a packet are in order of time.  What is not delivered is left out.
    """
    waiting = {name: np.zeros(0, dtype) for name, dtype in HOP_COLUMNS.items()}
    done = 0
    for block in trace.blocks("hops"):
        table = {name: np.concatenate([waiting[name], values]) for name, values in block.items()}
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
