"""A recorded run run again from its own input spikes."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from neuromorph.errors import TraceError
from neuromorph.kernels import counting, timed
from neuromorph.mapping import complete
from neuromorph.network import Network
from neuromorph.reference import counting as reference
from neuromorph.trace.differences import Difference, difference
from neuromorph.trace.reader import Trace
from neuromorph.trace.recorder import Recorder

__all__ = ["replay"]

BATCH = 1024


def replay(
    trace: Trace, network: Network, path: str | os.PathLike[str] | None = None
) -> Difference | None:
    """Run again what a trace recorded, and compare every row.

    Parameters
    ----------
    trace : Trace
        Finished, with spikes.
    network : Network
        The network that ran; a trace holds no weights.
    path : path, optional
        Where the new trace goes; left out, it is not kept.

    Returns
    -------
    Difference or None
        The first difference between the two; None if there is none.

    Raises
    ------
    TraceError
        Another network, no spikes, or a run that did not finish.
    """
    if not trace.complete:
        raise TraceError(f"{trace.path} did not finish; only whole traces are run again")
    if path is None:
        with TemporaryDirectory(prefix="neuromorph-") as folder:
            return replay(trace, network, Path(folder) / "replay.h5")
    mapping = trace.mapping(network)
    labels = trace.labels
    with Recorder(path, mapping, detail=trace.detail, mode=trace.mode) as recorder:
        # time runs on from sample to sample, so a timed run is one batch
        step = max(trace.samples, 1) if trace.mode == "timed" else BATCH
        for start in range(0, trace.samples, step):
            inputs = _inputs(trace, start, min(start + step, trace.samples))
            if trace.mode == "timed":
                tally = timed.timed(
                    mapping, inputs, sink=recorder.sink("packets"), hops=recorder.sink("hops")
                )
            elif trace.mode == "count":
                tally = counting.count(mapping, inputs, threads=os.cpu_count() or 1)
            else:
                tally = reference.count(mapping, inputs)
            known = labels[start : start + len(inputs)]
            recorder.batch(inputs, tally, complete(mapping, tally), labels=known)
    with Trace(path) as again:
        return difference(trace, again)


def _inputs(trace: Trace, start: int, stop: int) -> NDArray[np.int16]:
    """Input levels of some samples, made from their spikes."""
    inputs = np.zeros((stop - start, trace.network_info.inputs), np.int16)
    spikes = trace.spikes(slice(start, stop))
    chosen = spikes["layer"] == 0
    sample, neuron = spikes["sample"][chosen] - start, spikes["neuron"][chosen]
    if (neuron >= inputs.shape[1]).any():
        raise TraceError(f"{trace.path}: /spikes has a neuron that the input does not have")
    inputs[sample, neuron] = spikes["level"][chosen]
    return inputs
