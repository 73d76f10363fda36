"""Traces as objects of other Python packages, whole in memory: pandas and Neo."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neuromorph.errors import MissingDependencyError
from neuromorph.events import data_frame, tally_columns
from neuromorph.trace.pixels import sample_columns

if TYPE_CHECKING:
    from neuromorph.trace.reader import Trace

__all__ = ["to_neo", "to_pandas"]


def to_pandas(trace: Trace, table: str) -> Any:
    """A table as a DataFrame, see :meth:`Trace.to_pandas`."""
    blocks = list(trace.blocks(table))
    names = list(blocks[0]) if blocks else []
    columns = {name: np.concatenate([block[name] for block in blocks]) for name in names}
    if table == "counts":
        values = columns.get("values", np.zeros((0, 0, 0), np.int64))
        cores = [-1, *(s.core for s in trace.slices)]
        actions = trace.action_names if len(values) else ()
        columns = tally_columns(values, trace.count_layers, cores, actions)
    if table == "samples" and columns:
        numbered = sample_columns(trace.network_info, columns)
        if not trace.network_info.pixels:
            del numbered["sample"]  # the index of the frame
        columns = numbered
    return data_frame(columns)


def to_neo(trace: Trace) -> Any:
    """Timed spikes as a Block, see :meth:`Trace.to_neo`."""
    try:
        import neo  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError:
        raise MissingDependencyError(
            "to_neo needs neo, which is not installed; run: pip install 'neuromorph[export]'"
        ) from None
    blocks = list(trace.timed_spikes())
    spikes: dict[str, NDArray[Any]] = {
        name: np.concatenate([block[name] for block in blocks])
        for name in (blocks[0] if blocks else ())
    }
    stop_ms = (int(spikes["tick"][-1]) + 1 if blocks else 1) * trace.tick_s * 1e3
    segment = neo.Segment(name="run")
    names = ["input", *(layer.name for layer in trace.network_info.layers)]
    if blocks:
        order = np.lexsort([spikes["tick"], spikes["neuron"], spikes["layer"]])
        spikes = {name: values[order] for name, values in spikes.items()}
        same = (np.diff(spikes["layer"].astype(int)) == 0) & (
            np.diff(spikes["neuron"].astype(np.int64)) == 0
        )
        edges = [0, *(np.flatnonzero(~same) + 1).tolist(), len(order)]
        for first, last in pairwise(edges):
            layer, neuron = names[spikes["layer"][first]], int(spikes["neuron"][first])
            segment.spiketrains.append(
                neo.SpikeTrain(
                    spikes["tick"][first:last] * trace.tick_s * 1e3,
                    units="ms",
                    t_stop=stop_ms,
                    name=f"{layer}.{neuron}",
                    array_annotations={n: spikes[n][first:last] for n in ("level", "sample")},
                    layer=layer,
                    neuron=neuron,
                )
            )
    block = neo.Block(name=f"{trace.network_name} on {trace.chip_name}")
    block.annotate(network_hash=trace.network_hash, tick_s=trace.tick_s)
    block.segments.append(segment)
    return block
