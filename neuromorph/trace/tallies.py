"""The counts of a trace: of every sample, or summed a block at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neuromorph.errors import SimulationError, TraceError
from neuromorph.events import ACTIONS, Counts

if TYPE_CHECKING:
    from neuromorph.trace.reader import Trace

__all__ = ["counts_by_block", "counts_of", "sums_of"]


def counts_of(trace: Trace) -> Counts:
    """Counts of every sample, see :attr:`Trace.counts`."""
    rows = len(trace.slices) + 1
    stored = np.empty((trace.samples, rows, len(trace.action_names)), np.int64)
    done = 0
    for block in trace.blocks("counts"):
        stored[done : done + len(block["values"])] = block["values"]
        done += len(block["values"])
    return _counts(trace, stored, None)


def counts_by_block(trace: Trace) -> Iterator[Counts]:
    """Counts of the next samples, in bounded memory, see :meth:`Trace.counts_by_block`."""
    done = 0
    for block in trace.blocks("counts"):
        try:
            yield _counts(trace, block["values"], None)
        except TraceError as error:
            if not done:
                raise
            raise TraceError(f"{error} (numbered from sample {done} on)") from None
        done += len(block["values"])


def sums_of(trace: Trace) -> Counts:
    """Counts summed over the samples, see :attr:`Trace.sums`; memory is that of a block."""
    if not trace.samples:
        return counts_of(trace)
    rows = len(trace.slices) + 1
    stored = np.zeros((1, rows, len(trace.action_names)), np.int64)
    for block in trace.blocks("counts"):
        stored[0] += block["values"].sum(axis=0)
    return _counts(trace, stored, trace.samples)


def _counts(trace: Trace, stored: NDArray[Any], inferences: int | None) -> Counts:
    """Counts from tallies in the order of the trace's actions."""
    columns = trace.count_columns
    # by name: an action that the writer did not know never happened
    values = np.zeros((*stored.shape[:2], len(ACTIONS)), np.int64)
    values[:, :, [list(ACTIONS).index(a) for a in trace.action_names]] = stored
    ticks, active = columns["ticks"], columns["active_ticks"]
    try:
        return Counts(
            values=values,
            layers=trace.count_layers,
            cores=columns["cores"],
            pairs=columns["pairs"],
            hardware=trace.hardware,
            ticks=int(ticks[0]) if len(ticks) else None,
            active_ticks=active if len(active) else None,
            inferences=inferences,
        )
    except SimulationError as error:
        raise TraceError(f"{trace.path}: {error}") from None
