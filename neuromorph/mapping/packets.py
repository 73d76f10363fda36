"""Packet and hop records: what the timed engines hand to whoever listens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuromorph.chip import Chip
from neuromorph.errors import SimulationError
from neuromorph.mapping.ways import Ways

__all__ = [
    "HOP_DTYPE",
    "PACKET_DTYPE",
    "SIDES",
    "TOKEN",
    "HopSink",
    "Lender",
    "PacketSink",
    "check_traffic",
    "traffic_ways",
]

# One packet on its way from a source (a row, or a port beyond the rows, see
# ``Mapping``) to a destination row.  ``payload`` is
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
# The copies of a packet that forks (multicast) have its number: there it has as
# many of these as cores it was delivered to.
SIDES = ("east", "west", "south", "north", "core")
HOP_DTYPE = np.dtype([("tick", "<i8"), ("packet", "<u8"), ("link", "<u4"), ("waited", "<u4")])
HopSink = Callable[[NDArray[Any]], None]


class Lender(Protocol):
    """A sink with memory of its own, column by column: records put there need no copy."""

    def __call__(self, records: NDArray[Any], /) -> None:
        """Take records from elsewhere."""

    def lend(self) -> dict[str, NDArray[Any]]:
        """Columns for the next records, contiguous, with room for 64 at least."""

    def took(self, rows: int) -> None:
        """So many records were put where it was said last."""


def check_traffic(
    chip: Chip, ticks: ArrayLike, tiles: ArrayLike
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ticks and (source, destination) tiles of packets given beforehand, as int64.

    Raises
    ------
    SimulationError
        Ticks that fall or are negative, tiles that are not there.
    """
    left, ends = np.asarray(ticks), np.asarray(tiles)
    if (
        left.ndim != 1
        or ends.shape != (len(left), 2)
        or not {left.dtype.kind, ends.dtype.kind} <= {*"iu"}
    ):
        raise SimulationError(
            f"traffic has ticks of shape {list(left.shape)} and tiles of shape "
            f"{list(ends.shape)}; need integers, [packets] and [packets, 2]"
        )
    if len(left) and (left[0] < 0 or (np.diff(left) < 0).any()):
        raise SimulationError("ticks of traffic must not be negative and not fall; sort them")
    count = chip.mesh_rows * chip.mesh_columns
    if len(ends) and not 0 <= ends.min() <= ends.max() < count:
        raise SimulationError(
            f"traffic names tile {ends.min() if ends.min() < 0 else ends.max()}; tiles of "
            f"{chip.name!r} are 0 to {count - 1}"
        )
    return np.ascontiguousarray(left, np.int64), ends.astype(np.int64)


def traffic_ways(chip: Chip, ends: NDArray[np.int64]) -> Ways:
    """Ways between tiles, which are the rows here, of packets given beforehand.

    Raises
    ------
    SimulationError
        Dead links leave no way between two of the tiles.
    """
    tiles = np.stack(
        np.divmod(np.arange(chip.mesh_rows * chip.mesh_columns), chip.mesh_columns)[::-1], axis=1
    )
    ways = Ways(chip, tiles, ends)
    if ways.lost is not None:
        number, (x, y), (to_x, to_y) = ways.lost
        raise SimulationError(
            f"dead links of chip {chip.name!r} leave no way free of deadlock from tile {x},{y} to "
            f"tile {to_x},{to_y}, and between {number} pairs of tiles in all that packets go"
        )
    return ways
