"""Spikes as NIR event data and back.

Of a trace: a node a layer, a row a sample, padded to the longest.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuromorph.errors import MissingDependencyError, NetworkError, TraceError
from neuromorph.trace import Trace

__all__ = ["from_nir_events", "require_nir", "to_nir_events", "write_nir_events"]

MOST_CELLS = 1 << 26  # of all layers, padding included: NIR holds them in memory


def require_nir() -> Any:
    """The package nir.

    Raises
    ------
    MissingDependencyError
    """
    try:
        import nir
    except ImportError:
        raise MissingDependencyError(
            "nir is not installed; run: pip install 'neuromorph[nir]'"
        ) from None
    return nir


def write_nir_events(trace: Trace, path: Path, samples: int | None) -> None:
    """``ValuedEventData`` with times in seconds from the start of each sample.

    Without packets all times are 0.  A bitplane input sends an event a set bit.
    """
    nir = require_nir()
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


def to_nir_events(levels: ArrayLike, *, dt_s: float = 1.0) -> Any:
    """Levels as signed events, ``nir.ValuedEventData``: one sample, a time step a row.

    Parameters
    ----------
    levels : integer array, shape (steps, neurons)
        Such as ``run.levels(layer)``: a row a frame.
    dt_s : float
        Time of a row.

    Raises
    ------
    NetworkError
        An array of another shape or kind.
    """
    nir = require_nir()
    array = np.asarray(levels)
    if array.ndim != 2 or array.dtype.kind not in "iu":
        raise NetworkError(
            f"levels are {array.dtype} of shape {list(array.shape)}; need integers of shape "
            "[steps, neurons]"
        )
    step, neuron = np.nonzero(array)
    return nir.ValuedEventData(
        idx=neuron[None, :],
        time=(step * dt_s)[None, :].astype(np.float64),
        value=array[step, neuron][None, :].astype(np.float64),
        n_neurons=array.shape[1],
        t_max=len(array) * dt_s,
    )


def from_nir_events(events: Any, *, dt_s: float = 1.0) -> NDArray[np.int64]:
    """Events of NIR as levels, (samples, steps, neurons); those of one step and neuron add up.

    Raises
    ------
    NetworkError
        Values that are no integers, or events outside the recording.
    """
    require_nir()
    idx, time = np.asarray(events.idx), np.asarray(events.time, np.float64)
    value = np.asarray(getattr(events, "value", np.ones(idx.shape)), np.float64)
    there = idx >= 0
    steps = round(float(events.t_max) / dt_s)
    step = np.floor(np.where(there, time, 0.0) / dt_s + 1e-9).astype(np.int64)
    inside = (step >= 0) & (step < steps) & (idx < events.n_neurons)
    if (value != np.rint(value))[there].any() or not inside[there].all():
        raise NetworkError(
            "NIR events have values that are no integers, or times or neurons outside the recording"
        )
    levels = np.zeros((len(idx), steps, int(events.n_neurons)), np.int64)
    sample = np.broadcast_to(np.arange(len(idx))[:, None], idx.shape)
    np.add.at(levels, (sample[there], step[there], idx[there]), value[there].astype(np.int64))
    return levels
