"""Links: what crosses each of them, and whether a way needs one that is dead."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from neuromorph.chip import LINK_SIDES, Chip
from neuromorph.mapping.partition import Limit
from neuromorph.mapping.traffic import Traffic

__all__ = ["dead_ways", "link_load"]


def link_load(chip: Chip, tiles: NDArray[np.int64], traffic: Traffic) -> NDArray[np.float64]:
    """Packets over each link, float64 (rows, columns, 4), with slice s on ``tiles[s]``.

    Packets go first along x, then along y.
    """
    port = np.zeros_like(tiles)
    source = np.concatenate((tiles[traffic.source], port))
    target = np.concatenate((tiles[traffic.target], tiles))
    packets = np.concatenate((traffic.packets, traffic.port))
    load = np.zeros((chip.rows + 1, chip.columns + 1, len(LINK_SIDES)))
    (x, y), (to_x, to_y) = source.T, target.T
    # a way enters at its first link and ends behind its last: sums along the axis say the rest
    for side, first, last, goes in ((0, x, to_x, to_x > x), (1, to_x + 1, x + 1, to_x < x)):
        np.add.at(load[:, :, side], (y[goes], first[goes]), packets[goes])
        np.add.at(load[:, :, side], (y[goes], last[goes]), -packets[goes])
    for side, first, last, goes in ((2, y, to_y, to_y > y), (3, to_y + 1, y + 1, to_y < y)):
        np.add.at(load[:, :, side], (first[goes], to_x[goes]), packets[goes])
        np.add.at(load[:, :, side], (last[goes], to_x[goes]), -packets[goes])
    load[:, :, :2] = load[:, :, :2].cumsum(axis=1)
    load[:, :, 2:] = load[:, :, 2:].cumsum(axis=0)
    crossed: NDArray[np.float64] = np.maximum(load[:-1, :-1], 0)  # rounding leaves no rest
    return crossed


def dead_ways(chip: Chip, tiles: NDArray[np.int64], traffic: Traffic) -> tuple[Limit, ...]:
    """For each dead link that is needed: how many pairs of slices it would have to join."""
    if not chip.dead_links:
        return ()
    ones = replace(
        traffic,
        packets=np.ones_like(traffic.packets),
        port=(traffic.port > 0).astype(np.float64),
    )
    ways = link_load(chip, tiles, ones)
    return tuple(
        Limit(
            limit="ways",
            needed=round(ways[y, x, LINK_SIDES.index(side)]),
            available=0,
            where=f"dead link from tile {x},{y} to the {side}",
        )
        for x, y, side in chip.dead_links
        if ways[y, x, LINK_SIDES.index(side)] > 0.5
    )
