"""Links: what crosses each of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from neuromorph.chip import LINK_SIDES, Chip
from neuromorph.mapping.partition import Limit
from neuromorph.mapping.traffic import Traffic
from neuromorph.mapping.ways import Ways

if TYPE_CHECKING:
    from neuromorph.mapping.mapping import Mapping

__all__ = ["legs", "link_load", "lost_ways", "pairs_of"]

# Legs that packets go, each along x, then along y: tiles (legs, 2) from and to, and how many.
Legs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]


def legs(mapping: Mapping, spikes: list[NDArray[np.float64]]) -> Legs:
    """Where the packets of one inference go if every neuron sends these spikes."""
    (source, target), packets = (part.T for part in pairs_of(mapping, mapping.traffic(spikes)))
    spiking = np.array([-1, *(s.stage for s in mapping.slices)], np.int64)
    more: list[tuple[int, tuple[int, ...], float]] = []
    if mapping.chip.routing == "multicast":
        is_sum = spiking[np.where(source < mapping.rows, source, 0)] == spiking[target]
        source, target, packets = source[is_sum], target[is_sum], packets[is_sum]
        more = [
            tree
            for sender in range(-1, len(spikes) - 1)
            for tree in _trees(mapping, sender, spikes)
        ]
    pairs = np.stack((source, target), axis=1)
    broken = mapping.ways.broken(pairs)
    more += [(s, (t,), p) for (s, t), p in zip(pairs[broken].tolist(), packets[broken].tolist())]
    found = [
        (*start, *goal, number)
        for row, targets, number in more
        for start, goal in mapping.ways.tree(row, targets).legs()
    ]
    table = np.array(found, np.float64).reshape(-1, 5)
    start, goal = mapping.tiles[source[~broken]], mapping.tiles[target[~broken]]
    return (
        np.concatenate((start, table[:, :2].astype(np.int64))),
        np.concatenate((goal, table[:, 2:4].astype(np.int64))),
        np.concatenate((packets[~broken], table[:, 4])),
    )


def pairs_of(mapping: Mapping, between: Traffic) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(source, target) of every pair that exchanges packets, and how many go."""
    port, entered = np.nonzero(between.port)
    source = np.concatenate((between.source + 1, np.array(mapping.ports)[port]))
    target = np.concatenate((between.target, entered)) + 1
    packets = np.concatenate((between.packets, between.port[port, entered]))
    return np.stack((source, target), axis=1), packets


def _trees(
    mapping: Mapping, sender: int, spikes: list[NDArray[np.float64]]
) -> list[tuple[int, tuple[int, ...], float]]:
    """(source, targets, packets) of all packets of a layer that go along one tree."""
    which, sets = mapping.target_sets(sender)
    found = []
    for row, neurons in mapping.sending_rows(sender):
        sent = np.bincount(
            which[neurons % len(which)], spikes[sender + 1].ravel()[neurons], len(sets)
        )
        found += [(row, sets[i], float(sent[i])) for i in np.flatnonzero(sent) if sets[i]]
    return found


def link_load(chip: Chip, going: Legs) -> NDArray[np.float64]:
    """Packets over each link, float64 (rows, columns, 4)."""
    source, target, packets = going
    load = np.zeros((chip.mesh_rows + 1, chip.mesh_columns + 1, len(LINK_SIDES)))
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


def lost_ways(ways: Ways) -> tuple[Limit, ...]:
    """The limit that dead links break by leaving cores without a way between them."""
    if ways.lost is None:
        return ()
    number, (x, y), (to_x, to_y) = ways.lost
    where = f"mesh cut by dead links (tile {to_x},{to_y} from tile {x},{y})"
    return (Limit(limit="ways", needed=number, available=0, where=where),)
