"""Ways: which links packets cross from tile to tile, around dead ones, and which they share.

Packets go first along x, then along y.  Where a link on that way is dead, a
packet takes the shortest way that one of the four *turn models* allows which
contain X-then-Y (Glass and Ni, ISCA 1992): each forbids one turn of either
sense of rotation, so buffers never wait for each other in a circle, whatever
the traffic.  The model is chosen for all packets of a network together.  A
chip without a bound on its buffers cannot block, so there, if no model will
do, every turn is allowed.

A packet to several cores goes along a tree: what its ways share is crossed once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neuromorph.chip import LINK_SIDES, Chip
from neuromorph.errors import MappingError
from neuromorph.events import HOPS
from neuromorph.mapping.board import crossed, kinds

__all__ = ["TURNS", "Node", "Ways"]

Ints = NDArray[np.int64]
Tile = tuple[int, int]
Turns = frozenset[tuple[int, int]]
NONE = -1
SIDES = len(LINK_SIDES)
EAST, WEST, SOUTH, NORTH = range(SIDES)
STEPS = ((1, 0), (-1, 0), (0, 1), (0, -1))

# From y to x: what each model allows beside going straight and turning from x to y.
TURNS: dict[str, Turns] = {
    "west-first": frozenset({(SOUTH, EAST), (NORTH, EAST)}),
    "east-first": frozenset({(SOUTH, WEST), (NORTH, WEST)}),
    "north-last": frozenset({(SOUTH, EAST), (SOUTH, WEST)}),
    "south-last": frozenset({(NORTH, EAST), (NORTH, WEST)}),
}
ANY_TURN = frozenset((y, x) for y in (SOUTH, NORTH) for x in (EAST, WEST))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Node:
    """A tile on the way of a packet where it is delivered, turns off, or forks.

    From node to node a packet goes along x, then along y.  It is handed to
    ``rows`` in order, then goes on to the ``branches`` in order of their sides.
    """

    tile: Tile
    rows: tuple[int, ...] = ()
    branches: tuple[Node, ...] = ()

    def nodes(self) -> Iterator[Node]:
        """This node and all behind it, each before its branches."""
        left = [self]
        while left:
            node = left.pop()
            yield node
            left.extend(reversed(node.branches))

    def legs(self) -> list[tuple[Tile, Tile]]:
        """(from, to) of every leg of the tree."""
        return [(node.tile, branch.tile) for node in self.nodes() for branch in node.branches]

    @property
    def all_rows(self) -> tuple[int, ...]:
        """Rows that get the packet, here or later."""
        return tuple(row for node in self.nodes() for row in node.rows)


class Ways:
    """Ways between rows, each on a tile of a chip.

    ``lost`` is None, or the number of pairs between which there is no way and
    the tiles of the first.

    Parameters
    ----------
    chip : Chip
    tiles : int array, shape (rows, 2)
        Column and row of the tile of every row (ports beyond the first are rows too).
    pairs : int array, shape (pairs, 2)
        (source, target) rows between which packets go, to choose the model for.
    """

    def __init__(self, chip: Chip, tiles: Ints, pairs: Ints) -> None:
        self.chip, self.tiles = chip, tiles
        self.turns, self.lost = ANY_TURN, None
        self._places: list[Tile] = [(int(x), int(y)) for x, y in tiles]
        self._dead = {self._link((x, y), LINK_SIDES.index(side)) for x, y, side in chip.dead_links}
        self._found: dict[Tile, dict[Tile, list[int]]] = {}
        self._trees: dict[tuple[int, tuple[int, ...]], Node] = {}
        if self._dead:
            self._choose(pairs[self.broken(pairs)])

    lost: tuple[int, Tile, Tile] | None

    def broken(self, pairs: Ints) -> NDArray[np.bool_]:
        """For each (source, target): whether a link on the way along x, then y is dead."""
        (x, y), (to_x, to_y) = self.tiles[pairs[:, 0]].T, self.tiles[pairs[:, 1]].T
        found = np.zeros(len(pairs), bool)
        for at_x, at_y, side in self.chip.dead_links:
            found |= {
                "east": (y == at_y) & (x <= at_x) & (at_x < to_x),
                "west": (y == at_y) & (to_x < at_x) & (at_x <= x),
                "south": (to_x == at_x) & (y <= at_y) & (at_y < to_y),
                "north": (to_x == at_x) & (to_y < at_y) & (at_y <= y),
            }[side]
        return found

    def path(self, source: int, target: int) -> list[int]:
        """Links crossed between two rows, each router × 4 + side.

        Raises
        ------
        MappingError
            Dead links leave no way.
        """
        start, goal = self._places[source], self._places[target]
        straight = self._straight(start, goal)
        if not self._dead.intersection(straight):
            return straight
        found = self._found.setdefault(start, {})
        if goal not in found:
            found.update(self._search(start, {goal}, self.turns))
        if goal not in found:
            raise MappingError(
                f"dead links of chip {self.chip.name!r} leave no way from tile {start[0]},"
                f"{start[1]} to tile {goal[0]},{goal[1]}"
            )
        return found[goal]

    def distances(self, pairs: Ints) -> Ints:
        """Links crossed between (source, target) rows, by kind as in ``HOPS``: (pairs, 3)."""
        far = crossed(self.chip, self.tiles[pairs[:, 0]], self.tiles[pairs[:, 1]])
        if self._dead:
            kind = kinds(self.chip).ravel()
            for place in np.flatnonzero(self.broken(pairs)):
                links = self.path(*pairs[place].tolist())
                far[place] = np.bincount(kind[links], minlength=len(HOPS))
        return far

    def tree(self, source: int, targets: Iterable[int]) -> Node:
        """The way of a packet from a row to several, at its tile."""
        key = source, tuple(targets)
        if key not in self._trees:
            self._trees[key] = self._grow(*key)
        return self._trees[key]

    def crossed(self, source: int, targets: Iterable[int]) -> Ints:
        """Links that one packet to all these rows crosses, by kind as in ``HOPS``: (3,)."""
        legs = np.array(self.tree(source, targets).legs(), np.int64).reshape(-1, 2, 2)
        links: Ints = crossed(self.chip, legs[:, 0], legs[:, 1]).sum(axis=0)
        return links

    # --- finding ways

    def _link(self, tile: Tile, side: int) -> int:
        return (tile[1] * self.chip.mesh_columns + tile[0]) * SIDES + side

    def _ahead(self, link: int) -> Tile:
        """The tile that a link leads to."""
        router, side = divmod(link, SIDES)
        y, x = divmod(router, self.chip.mesh_columns)
        return x + STEPS[side][0], y + STEPS[side][1]

    def _straight(self, start: Tile, goal: Tile) -> list[int]:
        """Links along x, then along y."""
        (x, y), (to_x, to_y) = start, goal
        along_x = range(x, to_x) if to_x > x else range(x, to_x, -1)
        along_y = range(y, to_y) if to_y > y else range(y, to_y, -1)
        turn_x, turn_y = EAST if to_x > x else WEST, SOUTH if to_y > y else NORTH
        links = [self._link((at, y), turn_x) for at in along_x]
        return links + [self._link((to_x, at), turn_y) for at in along_y]

    def _choose(self, broken: Ints) -> None:
        """Take the model with the fewest links on the ways around."""
        goals: dict[Tile, set[Tile]] = {}
        for source, target in broken.tolist():
            goals.setdefault(self._places[source], set()).add(self._places[target])
        fewest = None
        for turns in TURNS.values() if goals else ():
            found = {start: self._search(start, g, turns) for start, g in goals.items()}
            links = sum(len(way) for ways in found.values() for way in ways.values())
            if self._all_found(goals, found) and (fewest is None or links < fewest):
                fewest, self.turns, self._found = links, turns, found
        if fewest is None:
            found = {start: self._search(start, g, ANY_TURN) for start, g in goals.items()}
            if self._all_found(goals, found) and self.chip.buffer is not None:
                found = {start: {} for start in goals}
            self._found = found
            lost = [(s, t) for s, g in goals.items() for t in g if t not in found[s]]
            self.lost = (len(lost), *min(lost)) if lost else None

    @staticmethod
    def _all_found(goals: dict[Tile, set[Tile]], found: dict[Tile, dict[Tile, list[int]]]) -> bool:
        return all(len(found[start]) == len(wanted) for start, wanted in goals.items())

    def _search(self, start: Tile, goals: set[Tile], turns: Turns) -> dict[Tile, list[int]]:
        """The shortest ways of allowed turns; goals without one are left out.

        From link to link, nearest first.  Every link has one link before it,
        that of X-then-Y if it can be, so all ways from a tile form one tree.
        """
        before: dict[int, int] = {}
        reached: dict[int, list[int]] = {
            link: [NONE] for link in (self._link(start, side) for side in range(SIDES))
        }
        found: dict[Tile, list[int]] = {}
        while reached and len(found) < len(goals):
            onward: dict[int, list[int]] = {}
            arrived: dict[Tile, int] = {}
            for link in sorted(reached):
                ahead, side = self._ahead(link), link % SIDES
                if link in self._dead or not self._is_tile(ahead):
                    continue
                before[link] = self._first(start, link, reached[link])
                if ahead not in arrived or (side >= SOUTH) == (ahead[1] != start[1]):
                    arrived[ahead] = link
                for turn in range(SIDES):
                    is_back = turn ^ 1 == side
                    is_free = turn == side or (side < SOUTH <= turn) or (side, turn) in turns
                    following = self._link(ahead, turn)
                    if is_free and not is_back and following not in before:
                        onward.setdefault(following, []).append(link)
            for tile, link in arrived.items():
                if tile in goals and tile not in found:
                    found[tile] = self._back(before, link)
            reached = {link: befores for link, befores in onward.items() if link not in before}
        return found

    def _is_tile(self, tile: Tile) -> bool:
        return 0 <= tile[0] < self.chip.mesh_columns and 0 <= tile[1] < self.chip.mesh_rows

    def _first(self, start: Tile, link: int, befores: list[int]) -> int:
        """Which of the links that may come before: that of X-then-Y, or the lowest."""
        router, side = divmod(link, SIDES)
        y, x = divmod(router, self.chip.mesh_columns)
        wanted = side
        if side >= SOUTH and y == start[1]:
            wanted = EAST if x > start[0] else WEST
        return min(befores, key=lambda other: (other % SIDES != wanted, other))

    @staticmethod
    def _back(before: dict[int, int], link: int) -> list[int]:
        way = []
        while link != NONE:
            way.append(link)
            link = before[link]
        return way[::-1]

    # --- trees

    def _grow(self, source: int, targets: tuple[int, ...]) -> Node:
        rows: dict[Tile, list[int]] = {}
        for target in sorted(targets):
            rows.setdefault(self._places[target], []).append(target)
        sketch = _Sketch(self._places[source])
        if not self._dead:
            sketch.straight(rows)
            return sketch.tree()
        places = {NONE: 0}
        for held in rows.values():
            last = NONE
            for link in self.path(source, held[0]):
                if link not in places:
                    places[link] = sketch.add(self._ahead(link), places[last])
                last = link
            sketch.rows[places[last]] = held
        return sketch.tree()


class _Sketch:
    """Tiles of a tree, each behind its parent; the first is the root."""

    def __init__(self, start: Tile) -> None:
        self.tiles, self.parents, self.rows = [start], [0], [list[int]()]

    def add(self, tile: Tile, parent: int, rows: Iterable[int] = ()) -> int:
        """One tile more, with the rows that get the packet there; its place."""
        self.tiles.append(tile)
        self.parents.append(parent)
        self.rows.append(list(rows))
        return len(self.tiles) - 1

    def straight(self, rows: dict[Tile, list[int]]) -> None:
        """Add all tiles where ways along x, then y fork or end."""
        x, y = self.tiles[0]
        self.rows[0] = rows.get((x, y), [])
        columns: dict[int, list[int]] = {}
        for to_x, to_y in sorted(rows):
            columns.setdefault(to_x, []).append(to_y)
        here = [at for at in columns if at == x]
        east = [at for at in columns if at > x]
        west = [at for at in reversed(columns) if at < x]
        for run in here, east, west:
            trunk = 0
            for at in run:
                if at != x:
                    trunk = self.add((at, y), trunk, rows.get((at, y), ()))
                south = [to for to in columns[at] if to > y]
                north = [to for to in reversed(columns[at]) if to < y]
                for off in south, north:
                    last = trunk
                    for to in off:
                        last = self.add((at, to), last, rows[at, to])

    def tree(self) -> Node:
        """The tree, without tiles that a packet only passes along x, then y."""
        branches: list[list[Node]] = [[] for _ in self.tiles]
        for place in range(len(self.tiles) - 1, 0, -1):
            tile, parent = self.tiles[place], self.parents[place]
            node = self._node(place, branches[place])
            if not node.rows and len(node.branches) == 1:
                (branch,) = node.branches
                if self.tiles[parent][1] == tile[1] or tile[0] == branch.tile[0]:
                    node = branch
            branches[parent].append(node)
        return self._node(0, branches[0])

    def _node(self, place: int, branches: list[Node]) -> Node:
        tile = self.tiles[place]
        going = sorted(branches, key=lambda branch: _side(tile, branch.tile))
        return Node(tile=tile, rows=tuple(self.rows[place]), branches=tuple(going))


def _side(tile: Tile, to: Tile) -> int:
    """The side by which a packet leaves a tile: along x, then y."""
    if to[0] != tile[0]:
        return EAST if to[0] > tile[0] else WEST
    return SOUTH if to[1] > tile[1] else NORTH
