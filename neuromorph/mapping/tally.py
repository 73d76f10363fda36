"""Tally: what an engine counts, and how the rest of the actions follows from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neuromorph.events import ACTIONS, HOPS, Counts
from neuromorph.mapping.dataflow import Form, memory_work
from neuromorph.mapping.timing import Timing

if TYPE_CHECKING:
    from neuromorph.mapping.mapping import Mapping

__all__ = ["COUNTED", "Tally", "complete", "tabulate"]

PLAIN = Form()

# What engines count, event by event.  Everything else is a multiple of these.
COUNTED = (
    "spike_out",
    "packet_out",
    "spike_in",
    "token_out",
    "token_in",
    "partial_out",
    "partial_in",
    *HOPS,
    "hop_local",
    "xnor_event",
    "graded_event",
    "fetched",  # synapses of the rows that arriving spikes fetch, zeros included
    "neuron_update_active",
)


@dataclass(kw_only=True)
class Tally:
    """Result of one engine on one batch, before prices and derived actions.

    ``outputs`` int32 or int64 (batch, classes); ``levels`` one array (batch, outputs of
    the layer) for every layer but the read-out; ``counted`` int64 (batch,
    rows) under each name of :data:`COUNTED`.  A timed engine adds ``ticks`` from
    the first injection to the last read-out, ``timing``, and ``started`` and
    ``finished`` int64 (batch,).
    """

    outputs: NDArray[Any]
    levels: list[NDArray[Any]]
    counted: dict[str, NDArray[np.int64]]
    ticks: int | None = None
    timing: Timing | None = None
    started: NDArray[np.int64] | None = field(default=None)
    finished: NDArray[np.int64] | None = field(default=None)

    def part(self, first: int, last: int) -> Tally:
        """The samples from the first up to before the last, without the time of the run."""
        return Tally(
            outputs=self.outputs[first:last],
            levels=[levels[first:last] for levels in self.levels],
            counted={name: values[first:last] for name, values in self.counted.items()},
            started=None if self.started is None else self.started[first:last],
            finished=None if self.finished is None else self.finished[first:last],
        )


def complete(mapping: Mapping, tally: Tally) -> Counts:
    """Counts with every action, from what was counted and constants of the mapping."""
    return Counts(
        values=tabulate(mapping, tally.counted),
        layers=mapping.row_layers,
        cores=mapping.row_cores,
        pairs=mapping.pairs,
        hardware=mapping.hardware,
        ticks=tally.ticks,
        active_ticks=None if tally.timing is None else tally.timing.busy,
    )


def tabulate(
    mapping: Mapping,
    counted: dict[str, NDArray[np.int64]],
    *,
    samples: int = 1,
    form: Form = PLAIN,
) -> NDArray[np.int64]:
    """Every action, int64 (batch, rows, actions), from tallies of ``samples`` samples each."""
    chip, network, slices = mapping.chip, mapping.network, mapping.slices
    batch, rows = counted["spike_out"].shape
    values = np.zeros((batch, rows, len(ACTIONS)), np.int64)
    index = {name: i for i, name in enumerate(ACTIONS)}

    def put(action: str, value: NDArray[np.int64]) -> None:
        values[:, :, index[action]] = value

    for action in COUNTED:
        if action in index:
            put(action, counted[action])
    events = counted["xnor_event"] + counted["graded_event"]
    partial = counted["partial_in"]
    packets = counted["spike_in"] + counted["token_in"] + partial
    neurons = np.array([0, *(s.neurons for s in slices)], np.int64)
    owned = np.array([0, *(s.neurons * s.owns for s in slices)], np.int64)
    compares, pooled = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
    for row, s in enumerate(slices, start=1):
        stage = network.stages[s.stage]
        if not s.owns:
            continue
        if form.floats:
            compares[row] = s.neurons * (not stage.is_readout)
        elif stage.thresholds is not None:
            compares[row] = s.neurons * stage.thresholds.shape[1]
        elif stage.rounding is not None:
            compares[row] = 3 * s.neurons  # bias and both limits: an addition each
        if stage.pool is not None:
            pooled[row] = s.outputs * (stage.pool.size[0] * stage.pool.size[1] - 1)
    put("fifo_push", packets)
    put("fifo_pop", packets)
    put("skip_act", mapping.pairs * samples - counted["fetched"])
    put("skip_weight", counted["fetched"] - events)
    put("neuron_update_idle", owned * samples - counted["neuron_update_active"])
    put("threshold_cmp", compares * samples)
    put("pool_cmp", pooled * samples)
    if chip.sync == "barrier":
        put("barrier", (neurons > 0) * samples)
    for action, tally in memory_work(mapping, counted, samples=samples, form=form).items():
        put(action, tally)
    if form.floats:  # a float takes a second flit of every packet
        for action in (*HOPS, "hop_local", "fifo_push", "fifo_pop"):
            values[:, :, index[action]] *= 2
    return values
