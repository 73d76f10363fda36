"""Packet and hop records: what the timed engines hand to whoever listens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["HOP_DTYPE", "PACKET_DTYPE", "SIDES", "TOKEN", "HopSink", "PacketSink"]

# One packet on its way from a source row to a destination row.  ``payload`` is
# the level (or the power of two of a bitplane spike); a token has payload 0
# and neuron TOKEN.  Records come in the order of delivery.
TOKEN = 0xFFFFFFFF
PACKET_DTYPE = np.dtype(
    [
        ("sample", "<u4"),
        ("source", "<u4"),
        ("neuron", "<u4"),
        ("target", "<u4"),
        ("payload", "<i2"),
        ("sent", "<i8"),
        ("delivered", "<i8"),
    ]
)
PacketSink = Callable[[NDArray[Any]], None]

# One packet through one router, in the order in which the engine decides it.
# ``tick`` is its arrival at the router, ``waited`` how long it then waits for
# the link it takes, ``link`` is router × len(SIDES) + side, where routers count
# along rows of tiles.  Packets are numbered as they are sent, from 0.  The last
# record of a packet has the side "core", waits for nothing and its ``tick`` is
# that of the delivery: the n-th of these stands for the n-th packet record.
SIDES = ("east", "west", "south", "north", "core")
HOP_DTYPE = np.dtype([("tick", "<i8"), ("packet", "<u8"), ("link", "<u4"), ("waited", "<u4")])
HopSink = Callable[[NDArray[Any]], None]
