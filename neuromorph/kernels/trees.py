"""Trees of packets that do not go straight to one row, as the timed engine reads them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from neuromorph.mapping.ways import Ways

__all__ = ["STRAIGHT", "Trees"]

STRAIGHT = -1  # root of a packet that needs no tree


class Trees:
    """Nodes of all trees (``tm_node`` of ``timed.h``) and the rows that they deliver to."""

    def __init__(self, ways: Ways) -> None:
        self.ways = ways
        self._nodes: list[list[int]] = []
        self._rows: list[int] = []
        self._roots: dict[tuple[int, tuple[int, ...]], int] = {}

    def root(self, source: int, targets: tuple[int, ...]) -> int:
        """Number of the node that a packet from a row to others starts at."""
        if (source, targets) not in self._roots:
            self._roots[source, targets] = len(self._nodes)
            tree = self.ways.tree(source, targets)
            self._nodes.append([])
            left = [(len(self._nodes) - 1, tree)]
            for place, node in left:  # which grows on the way
                first = len(self._nodes)
                left += [(first + i, branch) for i, branch in enumerate(node.branches)]
                self._nodes += [[] for _ in node.branches]
                self._nodes[place] = [
                    *(*node.tile, first, len(node.branches), len(self._rows), len(node.rows)),
                    *(0, 0, 0, 0),
                ]
                self._rows += node.rows
            root = self._nodes[self._roots[source, targets]]
            root[6:] = *self.ways.crossed(source, targets), len(targets)
        return self._roots[source, targets]

    def roots_around(
        self, source: int, targets: Iterable[int]
    ) -> tuple[NDArray[np.int32] | None, int]:
        """Roots of packets to single rows, from the first row on; None if all go straight."""
        rows = np.array(sorted(targets), np.int64)
        pairs = np.stack((np.full_like(rows, source), rows), axis=1)
        around = rows[self.ways.broken(pairs)].tolist()
        if not around:
            return None, 0
        roots = np.full(int(rows[-1] - rows[0]) + 1, STRAIGHT, np.int32)
        for row in around:
            roots[row - rows[0]] = self.root(source, (row,))
        return roots, int(rows[0])

    def below(self, node: int) -> tuple[int, ...]:
        """Rows that a packet at a node still goes to."""
        found, left = list[int](), [node]
        while left:
            _, _, first_branch, branches, first_row, rows = self._nodes[left.pop()][:6]
            found += self._rows[first_row : first_row + rows]
            left += range(first_branch, first_branch + branches)
        return tuple(found)

    @property
    def tables(self) -> tuple[NDArray[np.int32], NDArray[np.int32]] | None:
        """Nodes and rows; None if there are none."""
        if not self._nodes:
            return None
        return np.array(self._nodes, np.int32), np.array(self._rows, np.int32)
