"""Packet records: what the timed engines hand to whoever listens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["PACKET_DTYPE", "TOKEN", "PacketSink"]

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
