"""The JSON of Chrome's tracing, which ui.perfetto.dev opens.

Frames overlap, and slices of one track must not.  So a core has as many tracks
as frames can be on the chip at once, and sample s uses track s modulo that
number: the frame before it on the same track is over when it begins.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromorph.errors import TraceError
from neuromorph.mapping.packets import TOKEN
from neuromorph.mapping.slices import source_tiles
from neuromorph.trace import Trace

__all__ = ["write_perfetto"]

Arrows = dict[int, tuple[int, int]]  # source · rows + target -> sent and delivered

CORES, SAMPLES = 1, 2  # process numbers
MOST_SLICES = 1_000_000  # viewers load the file whole
BINS = 500


def write_perfetto(trace: Trace, path: Path, samples: int | None) -> None:
    """Samples as slices; with packets, cores at work on them, and arrows from core to core."""
    if trace.mode != "timed":
        raise TraceError(
            f"{trace.path} was recorded in mode {trace.mode!r} and has no times; record in mode "
            "'timed'"
        )
    shown = trace.samples if samples is None else min(samples, trace.samples)
    slices = shown * (1 + (len(trace.slices) if trace.holds("packets") else 0))
    if slices > MOST_SLICES:
        raise TraceError(
            f"{trace.path} makes {slices:,} slices, more than the {MOST_SLICES:,} a viewer "
            "takes; export fewer samples"
        )
    with open(path, "w", encoding="utf-8") as file:
        file.write('{"displayTimeUnit":"ns","traceEvents":[')
        between = "\n"
        for event in _events(trace, samples):
            file.write(between + json.dumps(event, separators=(",", ":")))
            between = ",\n"
        file.write("\n]}\n")


def _events(trace: Trace, samples: int | None) -> Iterator[dict[str, Any]]:
    lanes = _lanes(trace)
    yield from _names(trace, lanes)
    yield from _sample_slices(trace, lanes, samples)
    if trace.holds("packets"):
        yield from _arrivals(trace, lanes, samples)


def _lanes(trace: Trace) -> int:
    """Frames that can be on the chip at once."""
    if trace.chip.sync == "token":
        return trace.chip.frames_in_flight
    return len(trace.network_info.layers) + 1


def _sources(trace: Trace) -> int:
    """Rows, and input ports beyond the first."""
    return len(source_tiles(trace.chip, trace.slices, trace.network_info.inputs))


def _names(trace: Trace, lanes: int) -> Iterator[dict[str, Any]]:
    def name(kind: str, process: int, thread: int, text: str) -> dict[str, Any]:
        args = {"name": text}
        return {"ph": "M", "name": kind, "pid": process, "tid": thread, "args": args}

    yield name("process_name", SAMPLES, 0, f"samples of {trace.network_name}")
    for lane in range(lanes):
        yield name("thread_name", SAMPLES, 1 + lane, f"frame {lane}")
    if trace.holds("packets"):
        yield name("process_name", CORES, 0, f"cores of {trace.chip_name}")
        for row, s in enumerate(trace.slices, start=1):
            for lane in range(lanes):
                text = f"core {s.core}: {s.layer}, frame {lane}"
                yield name("thread_name", CORES, row * lanes + lane, text)


def _slice(
    trace: Trace, process: int, thread: int, name: str, span: tuple[int, int], args: dict[str, Any]
) -> dict[str, Any]:
    start, stop = _microseconds(trace, span[0]), _microseconds(trace, span[1])
    return {"ph": "X", "name": name, "cat": "sample", "pid": process, "tid": thread, "ts": start,
            "dur": round(stop - start, 6), "args": args}  # fmt: skip


def _microseconds(trace: Trace, tick: float) -> float:
    return round(tick * trace.tick_s * 1e6, 6)


def _sample_slices(trace: Trace, lanes: int, samples: int | None) -> Iterator[dict[str, Any]]:
    sample = 0
    for block in trace.blocks("samples"):
        names = ("start", "finish", "prediction", "label")
        for start, finish, prediction, label in zip(*(block[n].tolist() for n in names)):
            if samples is not None and sample >= samples:
                return
            args = {}
            if not trace.network_info.pixels:
                args = {"prediction": prediction} | ({"label": label} if label >= 0 else {})
            span, thread = (start, finish), 1 + sample % lanes
            yield _slice(trace, SAMPLES, thread, f"sample {sample}", span, args)
            sample += 1


def _arrivals(trace: Trace, lanes: int, samples: int | None) -> Iterator[dict[str, Any]]:
    """A slice for each sample and core, and how many packets came in a five-hundredth of the run.

    A slice goes from the first packet that came to the last that came or went;
    an arrow is the first packet from one core to another.  Kept are the samples
    under way: when a packet of sample s is there, those before s − lanes are over.
    """
    rows, under_way = len(trace.slices) + 1, dict[int, NDArray[np.int64]]()
    sources = _sources(trace)
    arrows: dict[int, Arrows] = {}
    step = max(((trace.last_tick or 0) + 1) / BINS, 1.0)
    bins = np.zeros(BINS, np.int64)
    for block in trace.blocks("packets"):
        if samples is not None:
            chosen = block["sample"] < samples
            block = {name: values[chosen] for name, values in block.items()}
        if (block["target"] >= rows).any() or (block["source"] >= sources).any():
            raise TraceError(f"{trace.path}: /packets names a core that is not there")
        at = np.clip(block["delivered"] / step, 0, BINS - 1).astype(int)
        bins += np.bincount(at, minlength=BINS)
        for sample in np.unique(block["sample"]).tolist():
            here = block["sample"] == sample
            # first and last tick, packets, tokens, partial sums of every row
            blank = np.full((5, rows), [[-1], [-1], [0], [0], [0]])
            table = under_way.setdefault(sample, blank)
            target, tick = block["target"][here], block["delivered"][here]
            first = np.full(rows, 1 << 62)
            np.minimum.at(first, target, tick)
            table[0] = np.where((table[0] < 0) & (first < 1 << 62), first, table[0])
            source, sent = block["source"][here], block["sent"][here]
            np.maximum.at(table[1], target, tick)
            np.maximum.at(table[1], np.where(source < rows, source, 0), sent)
            pairs, places = np.unique(source.astype(np.int64) * rows + target, return_index=True)
            mine = arrows.setdefault(sample, {})
            for pair, place in zip(pairs.tolist(), places.tolist()):
                mine.setdefault(pair, (int(sent[place]), int(tick[place])))
            np.add.at(table[2], target, 1)
            is_token = block["neuron"] == TOKEN
            np.add.at(table[3], target, is_token[here])
            np.add.at(table[4], target, ~(is_token | trace.is_spike(block))[here])
        newest = max(under_way, default=0)
        for sample in sorted(s for s in under_way if s <= newest - lanes):
            yield from _sample_arrivals(trace, lanes, sample, under_way.pop(sample))
            yield from _sample_arrows(trace, lanes, sample, arrows.pop(sample))
    for sample in sorted(under_way):
        yield from _sample_arrivals(trace, lanes, sample, under_way[sample])
        yield from _sample_arrows(trace, lanes, sample, arrows[sample])
    for i, number in enumerate(bins.tolist()):
        ts = _microseconds(trace, i * step)
        yield {"ph": "C", "name": "packets delivered", "pid": CORES, "tid": 0, "ts": ts,
               "args": {"packets": number}}  # fmt: skip


def _sample_arrivals(
    trace: Trace, lanes: int, sample: int, table: NDArray[np.int64]
) -> Iterator[dict[str, Any]]:
    for row, (first, last, packets, tokens, sums) in enumerate(table.T.tolist()):
        if packets:
            thread = row * lanes + sample % lanes
            args = {"spikes": packets - tokens - sums, "tokens": tokens}
            args |= {"partial sums": sums} if sums else {}
            yield _slice(trace, CORES, thread, f"sample {sample}", (first, last), args)


def _sample_arrows(
    trace: Trace, lanes: int, sample: int, arrows: Arrows
) -> Iterator[dict[str, Any]]:
    """A flow for each pair of cores; those of the input port start at the sample."""
    rows = len(trace.slices) + 1
    events: list[dict[str, Any]] = []
    for pair, ticks in arrows.items():
        source, target = divmod(pair, rows)
        start = (CORES, source * lanes) if 0 < source < rows else (SAMPLES, 1)
        for ph, (process, thread), tick in zip("sf", (start, (CORES, target * lanes)), ticks):
            event: dict[str, Any] = {"ph": ph, "name": "packets", "cat": "sample", "pid": process,
                     "tid": thread + sample % lanes, "ts": _microseconds(trace, tick),
                     "id": sample * _sources(trace) * rows + pair}  # fmt: skip
            events.append(event | ({"bp": "e"} if ph == "f" else {}))
    yield from sorted(events, key=lambda event: event["ts"])
