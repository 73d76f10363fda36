"""Discrete-event run of a mapped network (twin of ``reference.timed``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromorph.kernels._timed import TimedRun
from neuromorph.mapping import COUNTED, Mapping, Tally
from neuromorph.mapping.packets import HOP_DTYPE, PACKET_DTYPE, HopSink, PacketSink
from neuromorph.network import Stage

__all__ = ["timed"]

RECORDS = 1 << 16
EVENTS = 1 << 21
INT32_MAX = 2**31 - 1  # more lanes than any core has synapses or neurons


def timed(
    mapping: Mapping,
    inputs: NDArray[np.int16],
    *,
    sink: PacketSink | None = None,
    hops: HopSink | None = None,
    progress: Callable[[int], None] | None = None,
) -> Tally:
    """Run encoded inputs (batch, size) tick by tick.

    ``sink`` gets the records of delivered packets, ``hops`` those of packets at
    every router, a bounded batch at a time (valid until it returns);
    ``progress`` the number of samples read out.
    """
    chip, network, frames = mapping.chip, mapping.network, len(inputs)
    inputs = np.ascontiguousarray(inputs, np.int16)
    firing = [s for s in network.stages if s.levels]
    results: dict[str, Any] = {
        "outputs": np.zeros((frames, network.classes), np.int32),
        "levels": [np.zeros((frames, s.outputs), np.int16) for s in firing],
        "counted": [np.zeros((frames, mapping.rows), np.int64) for _ in COUNTED],
        "started": np.zeros(frames, np.int64),
        "finished": np.zeros(frames, np.int64),
        "active_ticks": np.zeros(mapping.rows, np.int64),
    }
    if frames:
        run = TimedRun(
            {
                "barrier_sync": int(chip.sync == "barrier"),
                "sparse": int(chip.storage == "sparse"),
                "frames_in_flight": chip.frames_in_flight,
                "columns": chip.columns,
                "tile_rows": chip.rows,
                "axon": chip.axon_ticks,
                "synapse": chip.synapse_ticks,
                "synapse_lanes": min(chip.synapse_lanes, INT32_MAX),
                "neuron": chip.neuron_ticks,
                "neuron_lanes": min(chip.neuron_lanes, INT32_MAX),
                "hop_x": chip.hop_x_ticks,
                "hop_y": chip.hop_y_ticks,
                "hop_local": chip.hop_local_ticks,
                "link": chip.link_ticks,
                "barrier": chip.barrier_ticks,
                "spike_planes": network.stages[0].spikes_per_input,
            },
            [_stage(s) for s in network.stages],
            _rows(mapping),
            inputs,
            results,
        )
        packets = None if sink is None else np.empty(RECORDS, PACKET_DTYPE)
        routed = None if hops is None else np.empty(RECORDS, HOP_DTYPE)
        done = False
        while not done:
            done, delivered, crossed = run.advance(_bytes(packets), _bytes(routed), EVENTS)
            if sink is not None and packets is not None and delivered:
                sink(packets[:delivered])
            if hops is not None and routed is not None and crossed:
                hops(routed[:crossed])
            if progress is not None:
                progress(run.frames_done)
    finished, started = results["finished"], results["started"]
    return Tally(
        outputs=results["outputs"],
        levels=[a.astype(s.levels.dtype) for a, s in zip(results["levels"], firing) if s.levels],
        counted=dict(zip(COUNTED, results["counted"])),
        ticks=int(finished[-1] - started[0]) if frames else 0,
        active_ticks=results["active_ticks"],
        started=started,
        finished=finished,
    )


def _bytes(records: NDArray[Any] | None) -> NDArray[np.uint8] | None:
    return None if records is None else records.view(np.uint8)


def _stage(stage: Stage) -> dict[str, Any]:
    weights = stage.weights.transpose(1, 2, 3, 0).astype(np.int16)
    p, firing = stage.pool, stage.levels is not None
    result: dict[str, Any] = {
        "input": stage.input_shape[1:],
        "kernel": (stage.weights.shape[0], *stage.weights.shape[2:]),
        "stride": stage.stride,
        "padding": stage.padding,
        "weights": np.ascontiguousarray(weights).ravel(),
        "fire": (0, 0, 0),
        "pool": (0, 0, 1, 1) if p is None else (*p.size, *p.stride),
        "minimum": None if p is None else p.minimum.view(np.uint8),
        "outputs": stage.outputs,
    }
    if firing:
        assert stage.levels is not None
        assert stage.thresholds is not None
        steps = stage.thresholds.shape[1]
        result["fire"] = (steps, -stage.levels.maximum, stage.levels.stride)
        result["thresholds"] = stage.thresholds.ravel()
        result["directions"] = stage.directions
    return result


def _rows(mapping: Mapping) -> list[dict[str, Any]]:
    """Every row with its place, its neurons and where it sends."""
    rows: list[dict[str, Any]] = [{} for _ in range(mapping.rows)]
    sources = np.zeros(mapping.rows, np.int64)
    for index in range(len(mapping.network.stages) + 1):
        last = index == len(mapping.network.stages)
        senders = _last_rows(mapping) if last else mapping.source_rows(index)
        reach = np.zeros((1, 0), bool) if last else mapping.reach_table(index)
        targets = () if last else mapping.stage_rows[index]
        table = {
            "positions": len(reach),
            "reach": np.ascontiguousarray(reach, np.uint8).ravel(),
            "copies": reach.sum(axis=1).astype(np.int32),
        }
        for row, neurons in senders:
            needed = reach[neurons % len(reach)].any(axis=0)
            sources[list(targets)] += needed
            first = targets[0] if targets else 0
            rows[row] = {**table, "links": (first, len(targets))}
            rows[row]["numbers"] = neurons.astype(np.int32)
    for r, entry in enumerate(rows):
        x, y = (int(v) for v in mapping.tiles[r])
        gap = mapping.chip.inject_ticks if r == 0 else mapping.chip.spike_ticks
        entry["place"] = (x, y, gap)
        entry["links"] = (int(sources[r]), *entry["links"])
        if r == 0:
            entry.update(stage=-1, sums=(0,) * 6, box=(0,) * 4)
            continue
        s = mapping.slices[r - 1]
        entry["stage"] = s.stage
        entry["sums"] = tuple(
            v for a, b in (s.channels, s.sum_rows, s.sum_columns) for v in (a, b - a)
        )
        entry["box"] = tuple(v for a, b in (s.rows, s.columns) for v in (a, b - a))
    return rows


def _last_rows(mapping: Mapping) -> list[tuple[int, NDArray[np.int64]]]:
    """The read-out rows and the classes they hold."""
    return [(row, np.arange(*mapping.slices[row - 1].channels)) for row in mapping.stage_rows[-1]]
