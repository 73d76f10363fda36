"""Who hears what: which input positions of a layer reach which of its slices.

A slice hears a run of rows, a run of columns and a run of channels, each on its
own.  So all that is ever asked follows from three small tables, and the table
of positions × slices, which may be larger than the network, is never made.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromorph.mapping.products import exact_float, product
from neuromorph.mapping.slices import Range, Slice, tap_counts
from neuromorph.network import Stage

__all__ = ["Hearing"]

Ints = NDArray[np.int64]


class Hearing:
    """One layer: ``slices`` in the order of its rows of the mapping."""

    def __init__(self, stage: Stage, slices: list[Slice], rows: tuple[int, ...]) -> None:
        self.stage, self.slices, self.table_rows = stage, slices, rows
        self.rows, self._row_of = _runs(stage, 0, [s.sum_rows for s in slices])
        self.columns, self._column_of = _runs(stage, 1, [s.sum_columns for s in slices])
        self.parts: list[Range] = sorted({s.inputs for s in slices})
        self._part_of = np.array([self.parts.index(s.inputs) for s in slices], np.int64)

    @property
    def is_split(self) -> bool:
        """Whether slices hear different channels."""
        return self.parts != [(0, self.stage.input_shape[0])]

    @property
    def positions(self) -> int:
        """Input neurons that are told apart; the position of one is its number modulo these."""
        channels, height, width = self.stage.input_shape
        return (channels if self.is_split else 1) * height * width

    @property
    def area(self) -> int:
        """Pixels of one input channel."""
        return self.stage.input_shape[1] * self.stage.input_shape[2]

    def received(self, images: list[NDArray[Any]]) -> tuple[Ints, Ints]:
        """(spikes that arrive, synapses they fetch): int64 (batch, slices).

        ``images``: for each of ``parts``, integers (batch, area), spikes of its
        channels added up.
        """
        batch, (_, height, width) = len(images[0]), self.stage.input_shape
        channels = np.array([s.channels[1] - s.channels[0] for s in self.slices], np.int64)
        found = np.zeros((2, batch, len(self.slices)), np.int64)
        most = self.stage.inputs * self.stage.spikes_per_input
        dtype = exact_float(most * int(self.rows.max()) * int(self.columns.max()))
        rows, columns = (
            np.concatenate((runs > 0, runs)).astype(dtype) for runs in (self.rows, self.columns)
        )
        for part, image in enumerate(images):
            across = product(image.reshape(-1, width), columns.T)
            across = across.reshape(batch, height, len(columns)).swapaxes(1, 2)
            sums = product(across.reshape(-1, height), rows.T)
            sums = sums.reshape(batch, 2, len(self.columns), 2, len(self.rows))
            place = np.flatnonzero(self._part_of == part)
            column, row = self._column_of[place], self._row_of[place]
            for kind in (0, 1):
                found[kind][:, place] = sums[:, kind, column, kind, row]
        return found[0], found[1] * channels

    @cached_property
    def sets(self) -> tuple[Ints, list[tuple[int, ...]]]:
        """For each position which of the sets of rows hears it; the sets."""
        held: dict[tuple[int, int, int], list[int]] = {}
        for number, key in enumerate(zip(self._part_of, self._row_of, self._column_of)):
            held.setdefault((int(key[0]), int(key[1]), int(key[2])), []).append(number)
        channels = np.arange(self.stage.input_shape[0] if self.is_split else 1)
        parts = np.array([(a <= channels) & (channels < b) for a, b in self.parts])
        axes = [_classes(heard) for heard in (parts, self.rows > 0, self.columns > 0)]
        sets = []
        for p in axes[0][1]:
            for y in axes[1][1]:
                for x in axes[2][1]:
                    runs = ((i, j, k) for i in p for j in y for k in x)
                    numbers = sorted(n for run in runs for n in held.get(run, ()))
                    sets.append(tuple(self.table_rows[n] for n in numbers))
        (part_of, _), (row_of, ys), (column_of, xs) = axes
        which = (part_of[:, None, None] * len(ys) + row_of[:, None]) * len(xs) + column_of
        return which.ravel(), sets


def _runs(stage: Stage, axis: int, sums: list[Range]) -> tuple[Ints, Ints]:
    """How often each different run of neurons meets each input row, and the run of each slice."""
    runs, which = np.unique(np.array(sums, np.int64), axis=0, return_inverse=True)
    return np.array([tap_counts(stage, axis, (int(a), int(b))) for a, b in runs]), which.ravel()


def _classes(heard: NDArray[np.bool_]) -> tuple[Ints, list[list[int]]]:
    """Places that the same runs hear: the class of each, and the runs of each class."""
    classes, which = np.unique(heard, axis=1, return_inverse=True)
    return which.ravel(), [np.flatnonzero(c).tolist() for c in classes.T]
