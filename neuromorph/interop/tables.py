"""CSV: our tables, and the two trace files of SANA-FE."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromorph.errors import TraceError
from neuromorph.mapping.board import crossed
from neuromorph.mapping.packets import TOKEN
from neuromorph.mapping.slices import source_tiles
from neuromorph.trace import Trace
from neuromorph.trace.pixels import sample_columns

__all__ = ["write_csv", "write_sanafe"]

# those of SANA-FE's src/chip.cpp, sim_trace_write_message_header
SANAFE_MESSAGES = (
    "timestep", "mid", "src_neuron", "src_hw", "dest_hw", "hops", "spikes", "send_timestamp",
    "received_timestamp", "processed_timestamp", "generation_delay", "processing_delay",
    "network_delay", "blocking_delay", "min_hop_delay", "messages_along_route",
)  # fmt: skip


def write_csv(trace: Trace, folder: Path, samples: int | None) -> None:
    """Every table as a file, integers as they are; the descriptions as ``about.json``."""
    folder.mkdir()
    about = json.dumps(trace.to_dict(), indent=2, ensure_ascii=False, default=str)
    (folder / "about.json").write_text(about + "\n", encoding="utf-8")
    layers = np.array(["input", *(layer.name for layer in trace.network_info.layers)], object)
    rows = np.array(trace.count_layers, object)
    cores = np.array([-1, *(s.core for s in trace.slices)])
    tiles = [trace.chip.tile(s.core) for s in trace.slices]
    _write(
        folder / "mapping.csv",
        ("row", "layer", "core", "tile_x", "tile_y", "neurons", "outputs"),
        zip(
            range(1, len(rows)), rows[1:], cores[1:], *zip(*tiles),
            (s.neurons for s in trace.slices), (s.outputs for s in trace.slices),
        ),
    )  # fmt: skip

    info = trace.network_info
    times = ("start", "finish") if trace.mode == "timed" else ()
    places = ("row", "column") if info.pixels else ()
    sums = (f"output_{i}" for i in range(info.classes))
    header = ("sample", *places, "label", "prediction", *times, *sums)
    _write(
        folder / "samples.csv",
        header,
        _rows(
            [columns[name] for name in header]
            for first, block in _numbered(trace, "samples", samples)
            for columns in [sample_columns(info, block, first)]
        ),
    )
    _write(
        folder / "counts.csv",
        ("sample", "row", "layer", "core", *trace.action_names),
        _rows(
            (np.repeat(first + np.arange(len(values)), len(rows)),
             np.tile(np.arange(len(rows)), len(values)), np.tile(rows, len(values)),
             np.tile(cores, len(values)), *values.reshape(-1, values.shape[2]).T)
            for first, values in (
                (first, block["values"]) for first, block in _numbered(trace, "counts", samples)
            )
        ),
    )  # fmt: skip
    if trace.holds("spikes"):
        _write(
            folder / "spikes.csv",
            ("sample", "layer", "neuron", "level"),
            _rows(
                (b["sample"], _look_up(trace, layers, b["layer"]), b["neuron"], b["level"])
                for b in _first_samples(trace, "spikes", samples)
            ),
        )
    if trace.holds("packets"):
        _write(
            folder / "packets.csv",
            ("sample", "source", "neuron", "target", "payload", "sent", "delivered"),
            _rows(
                (b["sample"], b["source"],
                 np.where(b["neuron"] == TOKEN, -1, b["neuron"].astype(np.int64)),
                 b["target"], b["payload"], b["sent"], b["delivered"])
                for b in _first_samples(trace, "packets", samples)
            ),
        )  # fmt: skip


def write_sanafe(trace: Trace, folder: Path, samples: int | None) -> None:
    """``spikes.csv`` and, with packets, ``messages.csv`` with the columns of SANA-FE.

    A time step is a sample, counted from 1; a neuron is ``layer.number``; a
    core is ``tile.place``, tiles counted along rows.  What a trace does not
    know stays empty.  Tokens and partial sums are left out: SANA-FE has none.
    """
    if not trace.holds("spikes"):
        raise TraceError(
            f"{trace.path} was recorded with detail 'counts' and has no spikes; record with "
            "detail 'spikes' or 'packets'"
        )
    folder.mkdir()
    layers = np.array(["input", *(layer.name for layer in trace.network_info.layers)], object)
    _write(
        folder / "spikes.csv",
        ("neuron", "timestep"),
        (
            (f"{layer}.{neuron}", sample + 1)
            for block in _first_samples(trace, "spikes", samples)
            for layer, neuron, sample in zip(
                _look_up(trace, layers, block["layer"]), block["neuron"].tolist(),
                block["sample"].tolist(),
            )
        ),
    )  # fmt: skip
    if trace.holds("packets"):
        _write(folder / "messages.csv", SANAFE_MESSAGES, _messages(trace, samples))


def _messages(trace: Trace, samples: int | None) -> Iterator[Sequence[Any]]:
    chip = trace.chip
    tiles = source_tiles(chip, trace.slices, trace.network_info.inputs)
    per_tile = trace.chip.cores_per_tile
    names = ["input", *(f"{s.core // per_tile}.{s.core % per_tile}" for s in trace.slices)]
    names += ["input"] * (len(tiles) - len(names))
    hardware = np.array(names, object)
    hops = (chip.hop_x_ticks or 0, chip.hop_y_ticks or 0, chip.board_hop_ticks or 0)
    local_ticks = trace.chip.hop_local_ticks or 0
    layers = np.array(trace.count_layers, object)
    sources = np.array(["input", *layers[1:], *["input"] * (len(tiles) - len(layers))], object)
    number = 0
    for block in _first_samples(trace, "packets", samples):
        spikes = trace.is_spike(block)
        sample, source, target, neuron = (
            block[n][spikes] for n in ("sample", "source", "target", "neuron")
        )
        sent, delivered = (block[n][spikes] * trace.tick_s for n in ("sent", "delivered"))
        took = (block["delivered"] - block["sent"])[spikes] * trace.tick_s
        from_layer = _look_up(trace, sources, source)
        away = crossed(chip, tiles[source], tiles[target])
        least = away @ hops + local_ticks
        to_core = _look_up(trace, hardware, target)
        columns = (sample, from_layer, neuron, hardware[source], to_core, away.sum(axis=1), sent,
                   delivered, took, least * trace.tick_s)  # fmt: skip
        for s, layer, n, here, there, hop, out, came, time, free in zip(
            *(c.tolist() for c in columns)
        ):
            yield (s + 1, number, f"{layer}.{n}", here, there, hop, "", f"{out:.12g}",
                   f"{came:.12g}", "", "", "", f"{time:.12g}", "", f"{free:.12g}", "")  # fmt: skip
            number += 1


# --- blocks and files


def _numbered(
    trace: Trace, table: str, samples: int | None
) -> Iterator[tuple[int, dict[str, NDArray[Any]]]]:
    """Blocks of a table with a row a sample, each with the number of its first sample."""
    first = 0
    for block in trace.blocks(table):
        length = len(next(iter(block.values())))
        left = length if samples is None else samples - first
        if left <= 0:
            return
        yield first, {name: values[:left] for name, values in block.items()}
        first += length


def _first_samples(
    trace: Trace, table: str, samples: int | None
) -> Iterator[dict[str, NDArray[Any]]]:
    for block in trace.blocks(table):
        if samples is not None:
            chosen = block["sample"] < samples
            block = {name: values[chosen] for name, values in block.items()}
        yield block


def _look_up(trace: Trace, names: NDArray[Any], places: NDArray[Any]) -> NDArray[Any]:
    """Names at some places, which come from the file."""
    if (places >= len(names)).any():
        raise TraceError(f"{trace.path}: a layer or core in its tables is not there")
    found: NDArray[Any] = names[places]
    return found


def _rows(blocks: Iterable[Sequence[NDArray[Any]]]) -> Iterator[Sequence[Any]]:
    return chain.from_iterable(zip(*(column.tolist() for column in b)) for b in blocks)


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
