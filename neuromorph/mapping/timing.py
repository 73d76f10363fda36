"""Timing: where the ticks of a timed run went, core by core and link by link."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neuromorph.chip import LINK_SIDES

__all__ = ["Timing"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Timing:
    """Load of cores and links over a run; all int64.

    Rows are those of the mapping; links have the shape (rows, columns, 4):
    what leaves the router of a tile to its :data:`LINK_SIDES`.

    ``busy`` (rows,): ticks in which a core looked up, added, thresholded or
    sent.  ``blocked`` (rows,): ticks it waited for room to send.
    ``longest_queue`` (rows,): most packets in its input queue at once.
    ``link_packets``, ``link_busy``: packets that crossed, ticks it was taken.
    ``link_waited``, ``link_longest``: ticks that packets waited for it, in
    all and at most.
    """

    busy: NDArray[np.int64]
    blocked: NDArray[np.int64]
    longest_queue: NDArray[np.int64]
    link_packets: NDArray[np.int64]
    link_busy: NDArray[np.int64]
    link_waited: NDArray[np.int64]
    link_longest: NDArray[np.int64]

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            getattr(self, name).setflags(write=False)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Timing) and all(
            np.array_equal(getattr(self, name), getattr(other, name))
            for name in self.__dataclass_fields__
        )

    __hash__ = None  # type: ignore[assignment]  # tables are no keys

    @property
    def busiest_link(self) -> tuple[int, int, str]:
        """(column, row, side) of the link that was taken longest."""
        y, x, side = np.unravel_index(int(self.link_busy.argmax()), self.link_busy.shape)
        return int(x), int(y), LINK_SIDES[int(side)]
