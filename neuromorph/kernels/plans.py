"""Layers in a row in the form the counting kernel walks: lists, tables, widths of counters.

Both orientations of ``vcount.h`` are built from the same stage, each when a
layer first runs in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromorph.kernels._vcount import Kernel, Plan
from neuromorph.mapping import Mapping
from neuromorph.mapping.slices import Range
from neuromorph.network import Stage

__all__ = ["NetworkPlan", "Numbers", "part_of", "slice_numbers", "summed"]

# Slice (numbered within its layer) of every neuron, flat, and how many there are.
Numbers = tuple[NDArray[np.int32], int]

TILE_LIMIT = 64  # output columns side by side in the lanes: a tile is read as one word


class NetworkPlan:
    """Layers that follow each other for one vector width."""

    def __init__(self, stages: Sequence[Stage], numbers: Sequence[Numbers], kernel: Kernel) -> None:
        self.stages, self.numbers, self.kernel = stages, numbers, kernel
        followers = [*stages[1:], _listener(stages[-1])]
        layers = [_layer(s, f, *n) for s, f, n in zip(stages, followers, self.numbers)]
        if (sink := followers[-1]) is not None:
            layers.append(_sink(sink))
        self.plan = Plan(layers)

    def prepare(self, by_output: list[bool]) -> Plan:
        """The plan, ready for these orientations."""
        lanes = int(self.kernel.lanes)
        for i, (stage, wanted) in enumerate(zip(self.stages, by_output)):
            if wanted and not self.plan.outputs[i]:
                sender = self.stages[i - 1].output_shape if i else stage.input_shape
                arrays = _over_outputs(stage, sender[0], self.numbers[i][0], lanes)
                self.plan.give_outputs(i, arrays)
            elif not wanted and not self.plan.samples[i]:
                self.plan.give_samples(i, _over_samples(stage, lanes, self.kernel.halves))
        return self.plan


def _listener(stage: Stage) -> Stage | None:
    """What would hear the levels of the last layer just as they leave it; None for sums."""
    if stage.levels is None:
        return None
    return replace(
        stage,
        input_shape=stage.output_shape,
        input_maximum=stage.levels.maximum,
        padding=(0, 0),
        spikes_per_input=1,
    )


def _sink(listener: Stage) -> dict[str, Any]:
    """A layer that computes nothing; the levels that arrive are wanted."""
    none8, none32 = np.zeros(0, np.int8), np.zeros(0, np.int32)
    return {
        "input": listener.input_shape,
        "image": listener.input_shape[1:],
        "sums": (0, 0, 0),
        "stride": (1, 1),
        "value_planes": listener.input_maximum.bit_length(),
        **dict.fromkeys(("spike_planes", "fused", "weight_planes", "most", "steps", "binary"), 0),
        **dict.fromkeys(("top", "largest", "slices", "slice_bits"), 0),
        "bits": (0, 0, 0),
        "thresholds": none32,
        "directions": none8,
        "pool": (0, 0, 1, 1),
        "minimum": np.zeros(0, np.uint64),
        "outputs": (0, 0),
        "next": (0, 0, 0, 0, 0),
        "slice_of": none32,
    }


def _padded(stage: Stage) -> tuple[int, int, int]:
    channels, height, width = stage.input_shape
    return channels, height + 2 * stage.padding[0], width + 2 * stage.padding[1]


def _planes(stage: Stage) -> tuple[int, int]:
    """Magnitude bits of a level and of a weight."""
    largest = max(abs(int(stage.weights.max())), abs(int(stage.weights.min())))
    return stage.input_maximum.bit_length(), largest.bit_length() or 1


def _fused(stage: Stage) -> bool:
    return _planes(stage) == (1, 1)


def _layer(
    stage: Stage, following: Stage | None, slice_of: NDArray[np.int32], slices: int
) -> dict[str, Any]:
    """Geometry, widths of counters, thresholds and slices: what both orientations share."""
    channels = stage.sum_shape[0]
    flat = stage.weights.reshape(channels, -1)
    value_planes, weight_planes = _planes(stage)
    largest = stage.largest_sum
    most = int(np.count_nonzero(flat, axis=1).max())
    events = most * stage.spikes_per_input
    per_slice = int(np.bincount(slice_of, minlength=slices).max()) * events
    p = stage.pool
    if following is None:
        planes, steps, corner = 1, (0, 0, 0), 0
    else:
        planes = following.input_maximum.bit_length()
        _, rows_after, columns_after = _padded(following)
        area = rows_after * columns_after
        corner = following.padding[0] * columns_after + following.padding[1]
        if following.input_shape == stage.output_shape:
            steps = area, columns_after, 1
        else:  # flattened: every neuron becomes an image of one (padded) pixel
            _, rows_out, columns_out = stage.output_shape
            steps = rows_out * columns_out * area, columns_out * area, area
    none8, none32 = np.zeros(0, np.int8), np.zeros(0, np.int32)
    return {
        "input": _padded(stage),
        "image": stage.input_shape[1:],
        "sums": stage.sum_shape,
        "stride": stage.stride,
        "value_planes": value_planes,
        "spike_planes": stage.spikes_per_input,
        "fused": int(_fused(stage)),
        "weight_planes": weight_planes,
        "bits": (
            max(8, most.bit_length()),
            (largest + 1).bit_length() + 1,
            max(8, events.bit_length()),
        ),
        "most": most,
        "steps": 0 if stage.thresholds is None else stage.thresholds.shape[1],
        "binary": int(stage.levels is not None and stage.levels.n == 0),
        "top": stage.levels.maximum if stage.levels else 1,
        "thresholds": none32 if stage.thresholds is None else stage.thresholds.ravel(),
        "directions": none8 if stage.directions is None else stage.directions,
        "largest": 0 if stage.thresholds is None else largest,
        "pool": (0, 0, 1, 1) if p is None else (*p.size, *p.stride),
        "minimum": np.zeros(0, np.uint64) if p is None else _words(p.minimum),
        "outputs": stage.output_shape[1:],
        "next": (planes, *steps, corner),
        "slice_of": slice_of,
        "slices": slices,
        "slice_bits": max(8, per_slice.bit_length()),
    }


def _words(bits: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """Bits packed into 64-bit words, and a spare word."""
    packed = np.zeros(8 * (len(bits) // 64 + 2), np.uint8)
    packed[: -(-len(bits) // 8)] = np.packbits(bits, bitorder="little")
    return packed.view(np.uint64)


def slice_numbers(mapping: Mapping, index: int, heard: Range | None = None) -> Numbers:
    """Slices of a layer; ``heard``: only those that hear these channels, the others share one."""
    stage, rows = mapping.network.stages[index], mapping.stage_rows[index]
    number = np.full(stage.sum_shape, len(rows), np.int32)
    for i, row in enumerate(rows):
        s = mapping.slices[row - 1]
        if s.owns if heard is None else s.inputs == heard:
            number[slice(*s.channels), slice(*s.sum_rows), slice(*s.sum_columns)] = i
    return number.ravel(), len(rows) + (heard is not None)


def part_of(stage: Stage, heard: Range) -> Stage:
    """The layer with some of its input channels alone, read out as sums."""
    return replace(
        summed(stage),
        weights=np.ascontiguousarray(stage.weights[:, slice(*heard)]),
        input_shape=(heard[1] - heard[0], *stage.input_shape[1:]),
    )


def summed(stage: Stage) -> Stage:
    """The layer read out as sums."""
    return replace(
        stage,
        output_shape=stage.sum_shape,
        thresholds=None,
        rounding=None,
        directions=None,
        levels=None,
        pool=None,
    )


# --- lanes = samples


def _over_samples(stage: Stage, lanes: int, halves: bool) -> dict[str, Any]:
    """Lists of the non-zero weights of every neuron."""
    value_planes, weight_planes = _planes(stage)
    _, height, width = _padded(stage)
    _, _, kernel_height, kernel_width = stage.weights.shape
    flat = stage.weights.astype(np.int16).reshape(len(stage.weights), -1)
    if stage.directions is not None:
        flat = flat * stage.directions.astype(np.int16)[:, None]
    channel, rest = np.divmod(np.arange(flat.shape[1]), kernel_height * kernel_width)
    ky, kx = np.divmod(rest, kernel_width)
    row_of = (channel * height + ky * stage.dilation[0]) * width + kx * stage.dilation[1]
    vector = lanes // 8
    offset = (row_of * 2 * value_planes * vector).astype(np.uint32)

    def pair(weights: NDArray[np.int16], bit: int) -> Iterator[NDArray[np.uint32]]:
        chosen = np.abs(weights) >> bit & 1 == 1
        if halves:
            yield offset[chosen & (weights > 0)]
            yield offset[chosen & (weights < 0)]
        else:
            yield (offset + np.where(weights > 0, 0, vector).astype(np.uint32))[chosen]
            yield offset[:0]

    taps, lists = _lists(part for w in flat for b in range(weight_planes) for part in pair(w, b))
    event_rows, event_lists = np.zeros(0, np.uint32), np.zeros(0, np.int32)
    if not _fused(stage):
        each = (row_of * (stage.spikes_per_input + 1) * vector).astype(np.uint32)
        event_rows, event_lists = _lists(
            each[chosen] for w in flat for chosen in (w != 0, np.abs(w) == 1)
        )
    return {"lists": lists, "taps": taps, "event_lists": event_lists, "event_rows": event_rows}


def _lists(parts: Iterator[NDArray[np.uint32]]) -> tuple[NDArray[np.uint32], NDArray[np.int32]]:
    """Lists end to end, and where each begins."""
    arrays = list(parts)
    starts = np.cumsum([0, *(len(a) for a in arrays)])
    return np.concatenate(arrays), starts.astype(np.int32)


# --- lanes = outputs


def _over_outputs(
    stage: Stage, senders: int, slice_of: NDArray[np.int32], lanes: int
) -> dict[str, Any]:
    """Table of the weights of every arriving neuron, thresholds and slices in the lanes.

    ``senders``: channels of the image that arrives, channel by channel at each place.
    """
    channels, _, width = stage.sum_shape
    arriving, image_height, image_width = stage.input_shape
    weights = stage.weights
    if stage.directions is not None:
        weights = weights * stage.directions.astype(weights.dtype)[:, None, None, None]
    kernel_height = weights.shape[2]
    # of a flattened image, inputs in the order in which they arrive: place by place
    placed = weights.reshape(channels, senders, -1, *weights.shape[2:])
    weights = placed.swapaxes(1, 2).reshape(weights.shape)
    if image_height * image_width == 1 and stage.padding == (0, 0):
        view, window, tile, tiles = (1, 1, arriving), arriving, 1, 1
        stride, padding = (1, 1), (0, 0)
        spread = weights.reshape(channels, arriving).T
    else:
        view, stride, padding = stage.input_shape, stage.stride, stage.padding
        tiles = -(-width // max(1, min(width, lanes // channels, TILE_LIMIT)))
        tile = -(-width // tiles)
        window = (tile - 1) * stride[1] + stage.extent[1]
        spread = np.zeros((kernel_height, window, arriving, tile, channels), weights.dtype)
        for x in range(tile):
            seen = slice(x * stride[1], x * stride[1] + stage.extent[1], stage.dilation[1])
            spread[:, seen, :, x] = weights.transpose(2, 3, 1, 0)
        spread = spread.reshape(-1, tile * channels)
    blocks = -(-channels * tile // lanes)
    masks = _slice_masks(slice_of.reshape(stage.sum_shape), tile, tiles, lanes)
    return {
        "view": view,
        "kernel_height": kernel_height,
        "dilation_y": stage.dilation[0],
        "view_stride": stride,
        "view_pad": padding,
        "tile": tile,
        "tiles": tiles,
        "window": window,
        "blocks": blocks,
        "table": _table(stage, spread, blocks, lanes),
        "limits": _limits(stage, tile, blocks, lanes),
        **masks,
    }


def _vectors(bits: NDArray[np.bool_], lanes: int) -> NDArray[np.uint8]:
    """Bits along the last axis, filled up with zeros to whole vectors, as bytes."""
    packed = np.packbits(bits, axis=-1, bitorder="little")
    size = -(-bits.shape[-1] // lanes) * lanes // 8
    full = np.zeros((*bits.shape[:-1], size), np.uint8)
    full[..., : packed.shape[-1]] = packed
    return full


def _aligned(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Zeroed bytes that start where every vector may."""
    size = int(np.prod(shape))
    memory = np.zeros(size + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size].reshape(shape)


def _table(stage: Stage, spread: NDArray[Any], blocks: int, lanes: int) -> NDArray[np.uint8]:
    _, weight_planes = _planes(stage)
    fused, rows = _fused(stage), len(spread)
    magnitude = np.abs(spread.astype(np.int16)) if not fused else spread
    pairs = [
        (spread > 0, spread < 0)
        if fused
        else ((spread > 0) & (magnitude >> b & 1 == 1), (spread < 0) & (magnitude >> b & 1 == 1))
        for b in range(weight_planes)
    ]
    if not fused:
        pairs.append((magnitude != 0, magnitude == 1))
    table = _aligned((blocks, len(pairs), rows, 2, lanes // 8))
    for part, pair in enumerate(pairs):
        for sign, bits in enumerate(pair):
            vectors = _vectors(bits, lanes).reshape(rows, blocks, lanes // 8)
            table[:, part, :, sign] = vectors.transpose(1, 0, 2)
    return table.reshape(-1)


def _limits(stage: Stage, tile: int, blocks: int, lanes: int) -> NDArray[np.uint8]:
    """Thresholds, one a lane: two's complement with the sign bit flipped."""
    if stage.thresholds is None:
        return _aligned((0,))
    largest = stage.largest_sum
    bits = (largest + 1).bit_length() + 1
    limits = np.full((blocks * lanes, stage.thresholds.shape[1]), largest + 1, np.int64)
    clipped = np.clip(stage.thresholds.astype(np.int64), -largest, largest + 1)
    limits[: len(clipped) * tile] = np.tile(clipped, (tile, 1))
    limits ^= 1 << (bits - 1)
    sliced = (limits.T[:, None, :] >> np.arange(bits)[:, None]) & 1 == 1
    vectors = _vectors(sliced, lanes).reshape(-1, bits, blocks, lanes // 8)
    result = _aligned((blocks, len(vectors), bits, lanes // 8))
    result[...] = vectors.transpose(2, 0, 1, 3)
    return result.reshape(-1)


def _slice_masks(slice_of: NDArray[np.int32], tile: int, tiles: int, lanes: int) -> dict[str, Any]:
    """For every output row, tile and block of lanes: the slices, and their lanes."""
    channels, height, _ = slice_of.shape
    blocks = -(-channels * tile // lanes)
    known: dict[bytes, int] = {}
    starts, slices, rows = [0], [], []
    for y in range(height):
        for t in range(tiles):
            here = np.full((tile, channels), -1, np.int32)
            columns = slice_of[:, y, t * tile : (t + 1) * tile].T
            here[: len(columns)] = columns
            flat = np.full(blocks * lanes, -1, np.int32)
            flat[: here.size] = here.ravel()
            for block in flat.reshape(blocks, lanes):
                for s in np.unique(block[block >= 0]):
                    mask = np.packbits(block == s, bitorder="little").tobytes()
                    slices.append(int(s))
                    rows.append(known.setdefault(mask, len(known)))
                starts.append(len(slices))
    masks = _aligned((len(known), lanes // 8))
    for mask, row in known.items():
        masks[row] = np.frombuffer(mask, np.uint8)
    return {
        "mask_lists": np.array(starts, np.int32),
        "mask_slices": np.array(slices, np.int32),
        "mask_rows": np.array(rows, np.int32),
        "masks": masks.reshape(-1),
    }
