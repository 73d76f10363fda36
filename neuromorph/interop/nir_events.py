"""Spikes as NIR event data: a node a layer, a row a sample, padded to the longest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromorph.errors import MissingDependencyError, TraceError
from neuromorph.trace import Trace

__all__ = ["write_nir_events"]

MOST_CELLS = 1 << 26  # of all layers, padding included: NIR holds them in memory


def write_nir_events(trace: Trace, path: Path, samples: int | None) -> None:
    """``ValuedEventData`` with times in seconds from the start of each sample.

    Without packets all times are 0.  A bitplane input sends an event a set bit.
    """
    try:
        import nir  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        raise MissingDependencyError(
            "export to nir needs the package nir, which is not installed; run: "
            "pip install 'neuromorph[nir]'"
        ) from None
    if not trace.holds("spikes"):
        raise TraceError(
            f"{trace.path} was recorded with detail 'counts' and has no spikes; record with "
            "detail 'spikes' or 'packets'"
        )
    number = trace.samples if samples is None else min(samples, trace.samples)
    names = ["input", *(layer.name for layer in trace.network_info.layers[:-1])]
    sizes = trace.network_info.spiking_sizes
    start, finish = trace.started_ticks, trace.finished_ticks
    t_max = 0.0
    if start is not None and finish is not None and number:
        t_max = float((finish - start)[:number].max()) * trace.tick_s
    spikes = _spikes(trace, number, len(names))
    nodes = {}
    for layer, (name, size) in enumerate(zip(names, sizes)):
        mine = {n: values[spikes["layer"] == layer] for n, values in spikes.items()}
        events = _padded(mine, number)
        nodes[name] = nir.NIRNodeData(
            {"spikes": nir.ValuedEventData(**events, n_neurons=size, t_max=t_max)}
        )
    nir.write_data(path, nir.NIRGraphData(nodes))


def _spikes(trace: Trace, number: int, layers: int) -> dict[str, NDArray[Any]]:
    """Spikes of the first samples, by sample and then by time."""
    timed = trace.holds("packets")
    blocks, cells = [], np.zeros((layers, number), np.int64)
    for block in trace.timed_spikes() if timed else trace.blocks("spikes"):
        kept = block["sample"] < number
        part = {name: values[kept] for name, values in block.items()}
        if (part["layer"] >= layers).any():
            raise TraceError(f"{trace.path}: a layer in its tables is not there")
        np.add.at(cells, (part["layer"], part["sample"]), 1)
        if int(cells.max(axis=1, initial=0).sum()) * number > MOST_CELLS:
            raise TraceError(
                f"{trace.path} has too many spikes for NIR, which pads every sample to the "
                "longest and holds all in memory; export fewer samples"
            )
        blocks.append(part)
    names = ["sample", "layer", "neuron", "level", *(["tick"] if timed else [])]
    spikes = {n: np.concatenate([b[n] for b in blocks]) if blocks else np.zeros(0) for n in names}
    seconds = np.zeros(len(spikes["sample"]))
    if timed and trace.started_ticks is not None and len(seconds):
        seconds = (spikes["tick"] - trace.started_ticks[spikes["sample"]]) * trace.tick_s
    order = np.argsort(spikes["sample"], kind="stable")
    return {name: values[order] for name, values in (spikes | {"time": seconds}).items()}


def _padded(spikes: dict[str, NDArray[Any]], number: int) -> dict[str, NDArray[Any]]:
    """One row a sample; where there is no event, index −1 and time ∞."""
    counts = np.bincount(spikes["sample"].astype(np.int64), minlength=number)
    width = int(counts.max(initial=0))
    place = np.arange(len(spikes["sample"])) - np.repeat(np.cumsum(counts) - counts, counts)
    at = spikes["sample"].astype(np.int64), place
    events = {
        "idx": np.full((number, width), -1, np.int64),
        "time": np.full((number, width), np.inf),
        "value": np.zeros((number, width)),
    }
    for name, column in (("idx", "neuron"), ("time", "time"), ("value", "level")):
        events[name][at] = spikes[column]
    return events
