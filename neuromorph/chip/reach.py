"""Which tiles dead links cut off."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from neuromorph.chip.keys import LinkName, TileName

__all__ = ["cut_off"]

STEPS = {"east": (1, 0), "west": (-1, 0), "south": (0, 1), "north": (0, -1)}
OPPOSITE = {"east": "west", "west": "east", "south": "north", "north": "south"}

_Mask = NDArray[np.bool_]  # (rows, columns)


def cut_off(
    size: tuple[int, int], dead: Sequence[LinkName], ports: Sequence[TileName]
) -> tuple[TileName, ...]:
    """Tiles of a mesh (columns, rows) outside the largest part in which every tile can be used.

    In that part ways lead from every port to every tile, and from every tile to
    every other one.  Of parts of one size it is that of the first tile in row-major order.
    """
    if not dead:
        return ()
    columns, rows = size
    out = {side: np.ones((rows, columns), bool) for side in STEPS}  # links that leave a tile
    for x, y, side in dead:
        out[side][y, x] = False
    into = {OPPOSITE[side]: _moved(out[side], side) for side in STEPS}  # the same, backwards
    reached = np.ones((rows, columns), bool)
    for x, y in ports:
        reached &= _flood((y, x), out)
    best, left = np.zeros((rows, columns), bool), np.ones((rows, columns), bool)
    while (left & reached).sum() > best.sum():
        y, x = divmod(int(left.argmax()), columns)
        part = _flood((y, x), out) & _flood((y, x), into)
        left &= ~part
        if (part & reached).sum() > best.sum():
            best = part & reached
    return tuple((int(x), int(y)) for y, x in np.argwhere(~best))


def _flood(start: tuple[int, int], links: dict[str, _Mask]) -> _Mask:
    """Tiles to which ``links`` lead from one tile; itself too."""
    seen = np.zeros_like(links["east"])
    seen[start] = True
    before = 0
    while (now := int(seen.sum())) > before:
        before = now
        for side, works in links.items():
            seen |= _moved(seen & works, side)
    return seen


def _moved(mask: _Mask, side: str) -> _Mask:
    """Every tile as its neighbour on the other side was; nothing comes in over the edge."""
    right, down = STEPS[side]
    moved = np.zeros_like(mask)
    rows, columns = mask.shape
    source = mask[max(0, -down) : rows - max(0, down), max(0, -right) : columns - max(0, right)]
    moved[max(0, down) : rows - max(0, -down), max(0, right) : columns - max(0, -right)] = source
    return moved
