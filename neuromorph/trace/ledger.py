"""Ledger: what a table says of every sample and row, compared with the counts.

Samples overlap in time, but not many of them do, so the sums of some groups of
samples are held at a time.  The oldest group is settled when there are too many:
it should be what the counts say.  Where it is not, rows of it may still come; at
the end those groups are summed up again, so nothing is decided by an order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from neuromorph.trace.reader import Trace

__all__ = ["Entry", "Ledger"]

GROUP_CELLS = 1 << 15  # samples × rows of a group
GROUPS = 16  # held at a time

Ints = NDArray[np.int64]
# action, and for each entry its sample, its row, and how often it counts (None: once)
Entry = tuple[str, Ints, Ints, NDArray[Any] | None]


class Ledger:
    """Sums of the entries of a table, by action, sample and row.

    Parameters
    ----------
    trace : Trace
    rule : int
        The rule that is broken where sums and counts differ.
    table : str
        Its name, for the sentence.
    actions : sequence of str
    entries : callable
        The entries of a block of the table.
    blocks : callable
        All blocks of the table, from the first one.
    """

    def __init__(
        self,
        trace: Trace,
        rule: int,
        table: str,
        actions: tuple[str, ...],
        entries: Callable[[Any], Iterable[Entry]],
        blocks: Callable[[], Iterable[Any]],
    ) -> None:
        self._trace, self._rule, self._table, self._actions = trace, rule, table, actions
        self._entries, self._blocks = entries, blocks
        self._rows = len(trace.slices) + 1
        self._size = max(1, GROUP_CELLS // self._rows)
        self._open: dict[int, Ints] = {}
        self._seen = np.zeros(-(-trace.samples // self._size), bool)
        self._suspects: set[int] = set()

    def add(self, block: Any) -> None:
        """Take the entries of the next block."""
        for entry in self._entries(block):
            self._add(entry, None)

    def broken(self) -> Iterator[tuple[int, str]]:
        """(rule, sentence) for each action that differs, after the last block."""
        for group in sorted(self._open):
            self._settle(group)
        for group in np.flatnonzero(~self._seen).tolist():
            self._suspects.update([group] if self._wanted(group).any() else [])
        waiting = sorted(self._suspects)
        while waiting:
            some, waiting = waiting[:GROUPS], waiting[GROUPS:]
            self._open = {group: self._zeros() for group in some}
            for block in self._blocks():
                for entry in self._entries(block):
                    self._add(entry, set(some))
            said: dict[str, tuple[int, int, int, int]] = {}
            for group in some:
                found, wanted = self._open[group], self._wanted(group)
                found = found[:, : wanted.shape[1]]
                for action, sample, row in np.argwhere(found != wanted).tolist():
                    at = action, sample, row
                    place = group * self._size + sample, row, int(found[at]), int(wanted[at])
                    said.setdefault(self._actions[action], place)
            for name, (sample, row, sums, counts) in said.items():
                yield (
                    self._rule,
                    f"{self._table} and the counts differ in {name} of sample {sample}, "
                    f"row {row}: {sums}, {counts}",
                )
            if said:
                return

    def _add(self, entry: Entry, only: set[int] | None) -> None:
        action, sample, row, times = entry
        groups = sample // self._size
        for group in np.unique(groups).tolist():
            if only is not None and group not in only:
                continue
            chosen = groups == group
            key = (sample[chosen] - group * self._size) * self._rows + row[chosen]
            # float64 weights of bincount are exact: a block has far fewer than 2**53 entries
            sums = np.bincount(
                key,
                weights=None if times is None else times[chosen],
                minlength=self._size * self._rows,
            ).astype(np.int64)
            table = self._open.get(group)
            if table is None:
                if len(self._open) == GROUPS:
                    self._settle(min(self._open))
                table = self._open[group] = self._zeros()
                self._seen[group] = True
            table[self._actions.index(action)] += sums.reshape(self._size, self._rows)

    def _zeros(self) -> Ints:
        return np.zeros((len(self._actions), self._size, self._rows), np.int64)

    def _settle(self, group: int) -> None:
        """A group is done; it is suspect if it is not what the counts say."""
        found, wanted = self._open.pop(group), self._wanted(group)
        if not np.array_equal(found[:, : wanted.shape[1]], wanted):
            self._suspects.add(group)

    def _wanted(self, group: int) -> Ints:
        """The counts of a group, shape (actions, samples, rows)."""
        first = group * self._size
        last = min(first + self._size, self._trace.samples)
        values = self._trace.rows("counts", first, last)["values"]
        names = list(self._trace.action_names)
        wanted = np.zeros((len(self._actions), len(values), self._rows), np.int64)
        for place, action in enumerate(self._actions):
            if action in names:  # one that is not listed never happened
                wanted[place] = values[:, :, names.index(action)]
        return wanted
