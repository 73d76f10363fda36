"""Placing slices on cores: as few links crossed by packets as can be found.

The cost is the traffic between slices times the links between their tiles,
|Δx| + |Δy|, a quadratic assignment problem.  Slices start in order along a
snake; then annealing: visit one slice after the other, look at *all* places at
once (move there, and what sits there moves here) and draw one with probability
∝ exp(−change / T) while T falls; then take only what is better until nothing
is.  |Δx| + |Δy| splits by axis, so the cost of a slice on every tile is a
table of columns plus a table of rows, kept up to date as slices move.
Input ports make a placement and its mirror images cost differently; the
cheapest of the four is taken.

Draws are keyed (:mod:`neuromorph.draws`) and the number of visits follows from
the number of slices, never from a clock: the same network and chip always give
the same mapping.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from neuromorph.chip import Chip
from neuromorph.draws import uniform
from neuromorph.mapping.traffic import Traffic

__all__ = ["place", "row_major", "snake"]

Tiles = NDArray[np.int64]  # (slices, 2): column and row

HOT, COLD = 10.0, 0.1  # temperatures at the start and the end, in mean packets of a pair
LEAST_SWEEPS, SMALL_SWEEPS, MOST_VISITS = 30, 60, 1 << 16
MOST_WORK = 4 * LEAST_SWEEPS << 24  # visits × places; above it only improvements are looked for
LAST_SWEEPS = 6  # at most, without a temperature
SPARE = 64  # places looked at beside twice the slices
WIDTHS = 64  # snakes tried
NOISE = 1 << 17
MOST_GAP = 16  # between chips, in tiles
SEED = 5


def place(traffic: Traffic, chip: Chip, *, effort: float = 1.0) -> NDArray[np.int64]:
    """Core of every slice.

    Parameters
    ----------
    traffic : Traffic
        Between the slices; at most as many as the chip has working cores.
    chip : Chip
    effort : float
        Multiplies the number of visits; for measuring what longer annealing
        would still find.

    Returns
    -------
    int64 array, shape (slices,)
    """
    traffic = replace(traffic, port_tiles=_stretched(chip, traffic.port_tiles))
    start = snake(traffic, chip)
    slices = len(start)
    alive = _cores(chip)
    from_port = np.abs(_tiles(chip, alive)[:, None] - traffic.port_tiles).sum(axis=(1, 2))
    near = alive[np.argsort(from_port, kind="stable")]
    cores = np.union1d(near[: 2 * slices + SPARE], start)
    tiles = _tiles(chip, cores)
    found = start
    wanted = min(max(4 * slices, SMALL_SWEEPS), MOST_VISITS // slices)
    sweeps = int(effort * max(LEAST_SWEEPS, wanted))
    if sweeps * slices * len(cores) <= MOST_WORK * max(effort, 1):
        state = _State.of(traffic, tiles, np.searchsorted(cores, start))
        _anneal(state, traffic, sweeps)
        found = cores[state.place]
    found = _turned(found, traffic, chip, cores)
    state = _State.of(traffic, tiles, np.searchsorted(cores, found))
    _descend(state, traffic)
    found = cores[state.place]
    better = traffic.hops(_tiles(chip, found)) < traffic.hops(_tiles(chip, start))
    return _turned(found if better else start, traffic, chip, alive)


def _turned(
    placed: NDArray[np.int64], traffic: Traffic, chip: Chip, allowed: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The cheapest mirror image, moved to the ports if that helps; as it is if none is cheaper.

    Traffic between slices costs the same in all of them, that from the ports does not.
    """
    tile, local = np.divmod(placed, chip.cores_per_tile)
    y, x = np.divmod(tile, chip.mesh_columns)
    best, fewest = placed, traffic.hops(_tiles(chip, placed))
    for column in (x, chip.mesh_columns - 1 - x):
        for row in (y, chip.mesh_rows - 1 - y):
            image = (row * chip.mesh_columns + column) * chip.cores_per_tile + local
            for cores in (image, _towards_ports(image, traffic, chip)):
                hops = traffic.hops(_tiles(chip, cores))
                if hops < fewest and np.isin(cores, allowed).all():
                    best, fewest = cores, hops
    return best


def _towards_ports(placed: NDArray[np.int64], traffic: Traffic, chip: Chip) -> NDArray[np.int64]:
    """All slices moved together nearest to the input ports, whatever is there.

    No exchange of two slices does that, and each on its own would go the wrong way.
    """
    tile = placed // chip.cores_per_tile
    at = np.stack((tile % chip.mesh_columns, tile // chip.mesh_columns), axis=1)
    step = []
    for axis, size in enumerate((chip.mesh_columns, chip.mesh_rows)):
        steps = np.arange(-at[:, axis].min(), size - at[:, axis].max())
        ports = np.array(chip.port_tiles)[:, axis, None]
        cost = [np.vdot(traffic.port, np.abs(at[:, axis] + by - ports)) for by in steps]
        step.append(int(steps[np.argmin(cost)]))
    return placed + (step[1] * chip.mesh_columns + step[0]) * chip.cores_per_tile


def row_major(slices: int, chip: Chip) -> NDArray[np.int64]:
    """Slices in order on the working cores in order: what placement is compared with."""
    return _cores(chip)[:slices]


def snake(traffic: Traffic, chip: Chip) -> NDArray[np.int64]:
    """Slices in order along a snake; of all widths the one with the fewest packet-hops."""
    slices = traffic.slices
    cores = _cores(chip)
    tile = cores // chip.cores_per_tile
    x, y = tile % chip.mesh_columns, tile // chip.mesh_columns
    best, fewest = row_major(slices, chip), np.inf
    for width in np.unique(np.linspace(chip.mesh_columns, 1, WIDTHS).astype(int))[::-1]:
        inside = np.flatnonzero(x < width)
        if len(inside) < slices:
            break
        along = np.where(y[inside] % 2 == 0, x[inside], width - 1 - x[inside])
        order = np.lexsort((cores[inside], along, y[inside]))[:slices]
        hops = traffic.hops(_tiles(chip, cores[inside][order]))
        if hops < fewest:
            best, fewest = cores[inside][order], hops
    return best


def _cores(chip: Chip) -> NDArray[np.int64]:
    """Cores that may hold a slice."""
    return np.delete(np.arange(chip.cores), np.array(chip.unusable_cores, np.int64))


def _tiles(chip: Chip, cores: NDArray[np.int64]) -> Tiles:
    """Column and row of the tiles of cores, as far apart as ways between them cost."""
    tile = cores // chip.cores_per_tile
    return _stretched(chip, np.stack((tile % chip.mesh_columns, tile // chip.mesh_columns), axis=1))


def _stretched(chip: Chip, tiles: Tiles) -> Tiles:
    """Tiles with gaps between chips: a link there counts as the links it takes as long as."""
    if chip.chips == 1:
        return tiles
    ticks = chip.board_hop_ticks, chip.hop_x_ticks, chip.hop_y_ticks
    gap = 0
    if None not in ticks:
        between, along_x, along_y = (tick or 0 for tick in ticks)
        gap = min(max(between // max(along_x, along_y, 1) - 1, 0), MOST_GAP)
    found: Tiles = tiles + gap * (tiles // np.array((chip.columns, chip.rows)))
    return found


@dataclass(slots=True)
class _Axis:
    """One axis of the mesh: ``cost[v, p]`` if what sits at place p stood at v."""

    at: NDArray[np.int64]  # coordinate of every place
    grid: NDArray[np.int64]  # all coordinates, as a column
    cost: NDArray[np.float64]

    def shift(
        self, places: NDArray[np.int64], packets: NDArray[np.float64], old: int, new: int
    ) -> None:
        """A partner of what sits at ``places`` went from place ``old`` to ``new``."""
        a, b = self.at[old], self.at[new]
        if a != b:
            self.cost[:, places] += (np.abs(self.grid - b) - np.abs(self.grid - a)) * packets


@dataclass(slots=True)
class _State:
    """Where slices are, and what every one of them would cost anywhere."""

    place: NDArray[np.int64]  # of every slice
    slice: NDArray[np.int64]  # at every place; −1 for nobody
    axes: tuple[_Axis, _Axis]
    own: NDArray[np.float64]  # cost at every place as it is
    partners: list[tuple[NDArray[np.int64], NDArray[np.float64]]]  # (slices, packets)

    @classmethod
    def of(cls, traffic: Traffic, tiles: Tiles, place: NDArray[np.int64]) -> _State:
        slices, places = len(place), len(tiles)
        both = np.concatenate(
            (traffic.source * slices + traffic.target, traffic.target * slices + traffic.source)
        )
        pairs, which = np.unique(both, return_inverse=True)
        packets = np.bincount(which, np.tile(traffic.packets, 2), len(pairs))
        source, target = pairs // slices, pairs % slices
        edges = np.searchsorted(source, np.arange(1, slices))
        axes = []
        for at, entry in zip(tiles.T, traffic.port_tiles.T):
            cost = np.zeros((int(at.max()) + 1, places))
            for value in range(len(cost)):
                away = packets * np.abs(at[place[target]] - value)
                entering = np.abs(entry - value) @ traffic.port
                cost[value, place] = np.bincount(source, away, slices) + entering
            axes.append(_Axis(np.ascontiguousarray(at), np.arange(len(cost))[:, None], cost))
        holds = np.full(places, -1)
        holds[place] = np.arange(slices)
        x, y = axes
        everywhere = np.arange(places)
        return cls(
            place=place.copy(),
            slice=holds,
            axes=(x, y),
            own=x.cost[x.at, everywhere] + y.cost[y.at, everywhere],
            partners=list(zip(np.split(target, edges), np.split(packets, edges))),
        )

    def changes(self, number: int) -> NDArray[np.float64]:
        """Change of the cost if the slice changed places with each other place."""
        here = self.place[number]
        x, y = self.axes
        change: NDArray[np.float64] = x.cost[x.at[here]] + y.cost[y.at[here]]
        change -= self.own
        change += x.cost[:, here][x.at]
        change += y.cost[:, here][y.at]
        change -= self.own[here]
        others, packets = self.partners[number]
        at = self.place[others]
        # both tables have the two partners on one place after the exchange
        change[at] += 2 * packets * (np.abs(x.at[at] - x.at[here]) + np.abs(y.at[at] - y.at[here]))
        change[here] = 0
        return change

    def exchange(self, number: int, there: int) -> None:
        """Move a slice, and what sits there to where it was."""
        here, other = int(self.place[number]), int(self.slice[there])
        touched = [np.array((here, there))]
        moves = [(number, here, there)] + ([(other, there, here)] if other >= 0 else [])
        for mover, old, new in moves:
            partners, packets = self.partners[mover]
            places = self.place[partners]
            touched.append(places)
            for axis in self.axes:
                axis.shift(places, packets, old, new)
        for axis in self.axes:
            axis.cost[:, [here, there]] = axis.cost[:, [there, here]]
        self.place[number], self.slice[there] = there, number
        self.slice[here] = other
        if other >= 0:
            self.place[other] = here
        changed = np.concatenate(touched)
        x, y = self.axes
        self.own[changed] = x.cost[x.at[changed], changed] + y.cost[y.at[changed], changed]


def _anneal(state: _State, traffic: Traffic, sweeps: int) -> None:
    """Draw exchanges while the temperature falls from HOT to COLD."""
    slices, places = len(state.place), len(state.slice)
    if slices < 2 or not len(traffic.packets):
        return
    temperature = HOT * float(traffic.packets.mean())
    cooling = (COLD / HOT) ** (1 / max(sweeps - 1, 1))
    draws = uniform(SEED, 0, 0, np.arange(NOISE)).astype(np.float64) + 2.0**-25
    # Gumbel noise: the least of (change − T · noise) is a draw ∝ exp(−change / T).  Rounded, so
    # that the last bit of a logarithm, which differs between machines, decides nothing.
    noise = np.round(-np.log(-np.log(draws)), 4)
    for sweep in range(sweeps):
        keys = uniform(SEED, 1, sweep, np.arange(slices))
        starts = uniform(SEED, 2, sweep, np.arange(slices)) * np.float32(NOISE - places)
        first = starts.astype(np.int64).tolist()
        for number in np.argsort(keys, kind="stable").tolist():
            change = state.changes(number)
            change -= temperature * noise[first[number] : first[number] + places]
            there = int(change.argmin())
            if there != state.place[number]:
                state.exchange(number, there)
        temperature *= cooling


def _descend(state: _State, traffic: Traffic) -> None:
    """Take the best exchange of every slice until none is better."""
    least = 1e-9 * float(traffic.packets.sum() + traffic.port.sum())  # rounding is no progress
    for _ in range(LAST_SWEEPS):
        moved = False
        for number in range(len(state.place)):
            change = state.changes(number)
            there = int(change.argmin())
            if change[there] < -least:
                state.exchange(number, there)
                moved = True
        if not moved:
            return
