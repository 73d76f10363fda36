"""SONATA spike files: a population a layer, no filters, which libsonata needs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from neuromorph.errors import TraceError
from neuromorph.trace import Trace

__all__ = ["write_sonata"]

MAGIC = 0x0A7A  # of SONATA files
SORTING = {"none": 0, "by_id": 1, "by_time": 2}
CHUNK_ROWS = 1 << 12
COLUMNS = {"timestamps": "<f8", "node_ids": "<u8", "level": "<i2", "sample": "<u4"}


def write_sonata(trace: Trace, path: Path, samples: int | None) -> None:
    """Spikes by time in ms; without packets sample s stands at s ms, attribute ``time`` says it."""
    if not trace.holds("spikes"):
        raise TraceError(
            f"{trace.path} was recorded with detail 'counts' and has no spikes; record with "
            "detail 'spikes' or 'packets'"
        )
    names = ["input", *(layer.name for layer in trace.network_info.layers[:-1])]
    with h5py.File(path, "w") as file:
        file.attrs["magic"] = np.uint32(MAGIC)
        file.attrs["version"] = np.array([0, 1], np.uint32)
        file.attrs["network_hash"] = trace.network_hash
        file.attrs["time"] = "ticks" if trace.holds("packets") else "samples"
        populations = [_population(file, name) for name in names]
        for layer, columns in _by_layer(trace, samples):
            if layer >= len(names):
                raise TraceError(f"{trace.path}: a layer in its tables is not there")
            for name, values in columns.items():
                dataset = populations[layer][name]
                first = len(dataset)
                dataset.resize(first + len(values), axis=0)
                dataset[first:] = values


def _population(file: h5py.File, name: str) -> h5py.Group:
    group = file.create_group(f"spikes/{name}")
    dtype = h5py.enum_dtype(SORTING, basetype="u1")
    group.attrs.create("sorting", SORTING["by_time"], dtype=dtype)
    for column, kind in COLUMNS.items():
        group.create_dataset(column, (0,), kind, maxshape=(None,), chunks=(CHUNK_ROWS,))
    group["timestamps"].attrs["units"] = "ms"
    return group


def _by_layer(trace: Trace, samples: int | None) -> Iterator[tuple[int, dict[str, NDArray[Any]]]]:
    """(layer, columns) of every block."""
    timed = trace.holds("packets")
    for block in trace.timed_spikes() if timed else trace.blocks("spikes"):
        time = block["tick"] * trace.tick_s * 1e3 if timed else block["sample"].astype("<f8")
        wanted = block["sample"] < (1 << 32 if samples is None else samples)
        for layer in np.unique(block["layer"][wanted]).tolist():
            chosen = wanted & (block["layer"] == layer)
            yield (
                layer,
                {
                    "timestamps": time[chosen],
                    "node_ids": block["neuron"][chosen],
                    "level": block["level"][chosen],
                    "sample": block["sample"][chosen],
                },
            )
