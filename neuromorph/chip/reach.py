"""Which tiles dead links cut off."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, connected_components

from neuromorph.chip.keys import LinkName, TileName

__all__ = ["cut_off"]

STEPS = {"east": (1, 0), "west": (-1, 0), "south": (0, 1), "north": (0, -1)}


def cut_off(
    size: tuple[int, int], dead: Sequence[LinkName], ports: Sequence[TileName]
) -> tuple[TileName, ...]:
    """Tiles of a mesh (columns, rows) outside the largest part in which every tile can be used.

    In that part ways lead from every port to every tile, and from every tile to
    every other one.
    """
    columns, rows = size
    number = np.arange(rows * columns).reshape(rows, columns)
    source, target = [], []
    for side, (right, down) in STEPS.items():
        here = number[max(0, -down) : rows - max(0, down), max(0, -right) : columns - max(0, right)]
        works = np.ones((rows, columns), bool)
        for x, y, which in dead:
            works[y, x] &= which != side
        here = here[works.ravel()[here]]
        source.append(here)
        target.append(here + down * columns + right)
    ends = np.concatenate(source), np.concatenate(target)
    links = coo_array((np.ones(len(ends[0]), np.int8), ends), shape=(number.size, number.size))
    graph = links.tocsr()
    reached = np.ones(number.size, bool)
    for x, y in ports:
        seen = np.zeros(number.size, bool)
        seen[breadth_first_order(graph, int(number[y, x]), return_predecessors=False)] = True
        reached &= seen
    _, part = connected_components(graph, directed=True, connection="strong")
    sizes = np.bincount(part[reached], minlength=int(part.max()) + 1)
    used = reached & (part == sizes.argmax())
    return tuple((int(n % columns), int(n // columns)) for n in np.flatnonzero(~used))
