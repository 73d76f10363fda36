"""Which rows of a trace are wanted: by sample, time, layer and core."""

from __future__ import annotations

import bisect
import operator
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neuromorph.errors import TraceError
from neuromorph.trace.layout import neuron_rows

if TYPE_CHECKING:
    from neuromorph.trace.reader import Trace

__all__ = ["Choice", "packet_blocks", "spike_rows"]

Columns = dict[str, NDArray[Any]]

BLOCK_ROWS = 1 << 18
EVER = -(1 << 63), (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Choice:
    """Samples and ticks from the first up to before the last; rows of the mapping, if not all."""

    samples: tuple[int, int]
    ticks: tuple[int, int]
    rows: NDArray[np.bool_] | None

    @classmethod
    def of(
        cls,
        trace: Trace,
        sample: int | slice | None,
        ticks: tuple[int, int] | None = None,
        layer: str | None = None,
        core: int | None = None,
    ) -> Choice:
        """What was asked for.

        Raises
        ------
        TraceError
            A sample, layer or core that is not there, or a slice with a step.
        """
        rows = None
        if layer is not None or core is not None:
            rows = np.ones(len(trace.slices) + 1, bool)
        if layer is not None and rows is not None:
            names = np.array(["input", *(s.layer for s in trace.slices)])
            rows &= names == layer
            if not rows.any():
                known = ", ".join(dict.fromkeys(names.tolist()))
                raise TraceError(f"{trace.path} has no layer {layer!r}; it has {known}")
        if core is not None and rows is not None:
            used = np.array([-1, *(s.core for s in trace.slices)])
            if core < 0 or core not in used:
                raise TraceError(
                    f"{trace.path} used no core {core}; it used "
                    f"{', '.join(str(c) for c in sorted(used[1:].tolist()))}"
                )
            rows &= used == core
        return cls(_samples(trace, sample), EVER if ticks is None else ticks, rows)


def _samples(trace: Trace, sample: int | slice | None) -> tuple[int, int]:
    """First sample and the one after the last."""
    if sample is None:
        return 0, 1 << 32
    # a timed run that did not finish has packets of samples that are not in yet
    known = trace.samples if trace.complete else 1 << 32
    if isinstance(sample, slice):
        first, last, step = sample.indices(known)
        if step != 1:
            raise TraceError(f"samples {sample} have a step; take neighbouring samples")
        return first, last
    first = operator.index(sample)
    if not 0 <= first < known:
        raise TraceError(f"{trace.path} has no sample {first}; it holds {trace.samples}, from 0")
    return first, first + 1


def packet_blocks(trace: Trace, choice: Choice) -> Iterator[Columns]:
    """Packets to the chosen rows, a bounded number at a time."""
    begin, end, total = 0, trace.packet_count, trace.packet_count
    if choice.ticks != EVER:

        def tick(row: int) -> int:
            return int(trace.rows("packets", row, row + 1, only=("delivered",))["delivered"][0])

        begin = bisect.bisect_left(range(total), choice.ticks[0], key=tick)
        end = bisect.bisect_left(range(total), choice.ticks[1], lo=begin, key=tick)
    for start in range(begin, end, BLOCK_ROWS):
        stop = min(start + BLOCK_ROWS, end)
        keys = trace.rows("packets", start, stop, only=("sample", "target"))
        chosen = (keys["sample"] >= choice.samples[0]) & (keys["sample"] < choice.samples[1])
        if choice.rows is not None:
            inside = keys["target"] < len(choice.rows)
            chosen &= inside & choice.rows[np.where(inside, keys["target"], 0)]
        if chosen.all():
            yield trace.rows("packets", start, stop)
        elif chosen.any():
            yield {n: v[chosen] for n, v in trace.rows("packets", start, stop).items()}


def spike_rows(trace: Trace, choice: Choice) -> Columns:
    """Spikes from the chosen rows."""
    first, last = choice.samples
    total = trace.spike_count

    def owner(row: int) -> int:
        return int(trace.rows("spikes", row, row + 1, only=("sample",))["sample"][0])

    start = bisect.bisect_left(range(total), first, key=owner) if first > 0 else 0
    stop = total
    if last < trace.samples:
        stop = bisect.bisect_left(range(total), last, lo=start, key=owner)
    spikes = trace.rows("spikes", start, stop)
    if choice.rows is None:
        return spikes
    sizes = np.array(trace.network_info.spiking_sizes)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    layer, neuron = spikes["layer"].astype(np.int64), spikes["neuron"].astype(np.int64)
    if (layer >= len(sizes)).any() or (neuron >= sizes[layer]).any():
        raise TraceError(f"{trace.path}: /spikes has a layer or neuron that is not there")
    sender = neuron_rows(trace.network_info, trace.slices)[starts[layer] + neuron]
    chosen = choice.rows[sender]
    return {name: values[chosen] for name, values in spikes.items()}
