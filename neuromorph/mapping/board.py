"""Links of a board: which lead from chip to chip, and what crossing a link takes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neuromorph.chip import LINK_SIDES, Chip

__all__ = ["busy_ticks", "chip_edges", "crossed", "hop_ticks", "kinds"]

Ints = NDArray[np.int64]


def chip_edges(chip: Chip) -> NDArray[np.bool_]:
    """Links that lead to another chip: (rows, columns, 4)."""
    y, x = np.indices((chip.mesh_rows, chip.mesh_columns))
    edges = np.zeros((*x.shape, len(LINK_SIDES)), bool)
    edges[:, :, 0] = x % chip.columns == chip.columns - 1
    edges[:, :, 1] = x % chip.columns == 0
    edges[:, :, 2] = y % chip.rows == chip.rows - 1
    edges[:, :, 3] = y % chip.rows == 0
    edges[:, -1, 0] = edges[:, 0, 1] = edges[-1, :, 2] = edges[0, :, 3] = False
    return edges


def kinds(chip: Chip) -> Ints:
    """Kind of every link, by its place in :data:`~neuromorph.events.HOPS`: (rows, columns, 4)."""
    along = np.array([0, 0, 1, 1])
    found: Ints = np.where(chip_edges(chip), 2, along)
    return found


def hop_ticks(chip: Chip) -> Ints:
    """Ticks to cross every link: (rows, columns, 4)."""
    each = (chip.hop_x_ticks or 0, chip.hop_y_ticks or 0, chip.board_hop_ticks or 0)
    found: Ints = np.array(each, np.int64)[kinds(chip)]
    return found


def busy_ticks(chip: Chip) -> Ints:
    """Ticks that a packet keeps every link busy: (rows, columns, 4)."""
    inside = (chip.link_ticks or 0) * chip.packet_flits
    between = (chip.board_link_ticks or 0) * chip.board_flits
    found: Ints = np.where(chip_edges(chip), between, inside)
    return found


def crossed(chip: Chip, start: Ints, goal: Ints) -> Ints:
    """Links on ways along x, then along y, by kind: (ways, 3).

    ``start`` and ``goal`` are tiles (ways, 2), column and row.
    """
    size = np.array((chip.columns, chip.rows))
    between = np.abs(goal // size - start // size)
    inside = np.abs(goal - start) - between
    found: Ints = np.concatenate((inside, between.sum(axis=1, keepdims=True)), axis=1)
    return found
