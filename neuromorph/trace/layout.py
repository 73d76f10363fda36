"""Whether the slices in a trace are a mapping: of its chip, and of a network."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from neuromorph.chip import Chip
from neuromorph.errors import TraceError
from neuromorph.mapping import Slice
from neuromorph.mapping.slices import input_range, sum_range
from neuromorph.network import Network
from neuromorph.trace.schema import INPUTS, RANGES, NetworkInfo, SourceInfo, network_info

__all__ = ["check_network", "check_origin", "check_slices", "neuron_rows"]

MAX_NEURONS = 1 << 26


def check_network(path: Path, network: NetworkInfo) -> None:
    """Refuse networks of absurd size or with two layers of one name.

    Raises
    ------
    TraceError
    """
    shapes = [s for layer in network.layers for s in (layer.sum_shape, layer.output_shape)]
    if sum(prod(shape) for shape in shapes) + network.inputs > MAX_NEURONS:
        raise TraceError(f"{path}: the network has more than {MAX_NEURONS} neurons")
    if len({layer.name for layer in network.layers}) != len(network.layers):
        raise TraceError(f"{path}: two layers of the network have one name")
    for index, (layer, sources) in enumerate(zip(network.layers, network.heard)):
        if any(source.layer > index for source in sources):
            raise TraceError(f"{path}: layer {layer.name!r} hears one that does not come before it")
        if not _arrives(network, sources, layer.input_shape):
            before = "the layers it hears" if layer.sources else "the layer before it"
            raise TraceError(f"{path}: layer {layer.name!r} does not fit {before}")
        if (layer.n is None) != (index == len(network.layers) - 1):
            raise TraceError(f"{path}: layer {layer.name!r} is read out, or not, out of turn")


def _arrives(
    network: NetworkInfo, sources: tuple[SourceInfo, ...], shape: tuple[int, int, int]
) -> bool:
    """Whether what leaves the sources is what arrives, of this shape."""
    shapes = [network.shape(source.layer) for source in sources]
    if len(sources) == 1 and sources[0].upsample == 1:  # it may be flattened
        return prod(shapes[0]) == prod(shape)
    sizes = {(y * s.upsample, x * s.upsample) for s, (_, y, x) in zip(sources, shapes)}
    return sizes == {shape[1:]} and sum(channels for channels, _, _ in shapes) == shape[0]


def check_slices(
    path: Path, table: dict[str, NDArray[Any]], network: NetworkInfo, chip: Chip
) -> tuple[Slice, ...]:
    """The slices of a mapping table.

    Raises
    ------
    TraceError
        A layer, core or range that is not there, a core used twice, or neurons
        on no core or on two.
    """
    layer, core = table["layer"].astype(np.int64), table["core"]
    if not len(layer):
        raise TraceError(f"{path}: /mapping has no slices")
    if (np.diff(layer) < 0).any() or set(layer.tolist()) != set(range(len(network.layers))):
        raise TraceError(f"{path}: /mapping/layer does not ascend through the layers")
    if core.min() < 0 or core.max() >= chip.cores or len(set(core.tolist())) != len(core):
        raise TraceError(f"{path}: /mapping/core has a core twice, or one the chip does not have")
    shapes = {
        "channels": [s.output_shape[0] for s in network.layers],
        "rows": [s.output_shape[1] for s in network.layers],
        "columns": [s.output_shape[2] for s in network.layers],
        "sum_rows": [s.sum_shape[1] for s in network.layers],
        "sum_columns": [s.sum_shape[2] for s in network.layers],
        "input_rows": [s.input_shape[1] for s in network.layers],
        "input_columns": [s.input_shape[2] for s in network.layers],
        INPUTS: (channels := [s.input_shape[0] for s in network.layers]),
    }
    if INPUTS not in table:  # every slice hears all channels
        table = table | {INPUTS: np.array([(0, channels[i]) for i in layer], np.int64)}
    for name in (*RANGES, INPUTS):
        start, stop = table[name].T
        room = np.array(shapes[name])[layer]
        least = 0 if name in ("input_rows", "input_columns") else 1
        # in this order, so that no difference leaves int64
        if ((start < 0) | (stop < 0) | (stop > room)).any() or (stop - start < least).any():
            raise TraceError(f"{path}: /mapping/{name} has a range outside its layer")
    for index, info in enumerate(network.layers):
        mine = (layer == index) & (table[INPUTS][:, 0] == 0)
        for names, shape in (
            (("channels", "rows", "columns"), info.output_shape),
            (("channels", "sum_rows", "sum_columns"), info.sum_shape),
        ):
            boxes = np.stack([table[name][mine] for name in names], axis=1)
            if not _fill(boxes, shape):
                raise TraceError(
                    f"{path}: /mapping puts neurons of layer {info.name!r} on two cores or none"
                )
    slices = tuple(
        Slice(
            stage=int(layer[i]),
            layer=network.layers[layer[i]].name,
            core=int(core[i]),
            **{n: (int(table[n][i, 0]), int(table[n][i, 1])) for n in (*RANGES, INPUTS)},
        )
        for i in range(len(layer))
    )
    _check_parts(path, slices, channels)
    return slices


def _check_parts(path: Path, slices: tuple[Slice, ...], channels: list[int]) -> None:
    """Whether the slices of a box hear every input channel once, and see one window."""
    parts: dict[tuple[object, ...], list[Slice]] = {}
    for s in slices:
        parts.setdefault((s.stage, s.box), []).append(s)
    for found in parts.values():
        first = found[0]
        edges = [edge for run in sorted(s.inputs for s in found) for edge in run]
        ends = [0, *edges[1::2]], [*edges[::2], channels[first.stage]]
        if ends[0] != ends[1] or any(
            replace(s, core=0, inputs=(0, 1)) != replace(first, core=0, inputs=(0, 1))
            for s in found
        ):
            raise TraceError(
                f"{path}: /mapping has parts of the fan-in of layer {first.layer!r} that do not "
                f"make up its {channels[first.stage]} input channels once"
            )


def _fill(boxes: NDArray[np.int64], shape: tuple[int, ...]) -> bool:
    """Whether boxes (number, axes, 2) inside the shape fill it without overlap."""
    if int((boxes[:, :, 1] - boxes[:, :, 0]).prod(axis=1).sum()) != prod(shape):
        return False
    filled = np.zeros(shape, bool)
    for box in boxes.tolist():
        filled[tuple(slice(*edges) for edges in box)] = True
    return bool(filled.all())


def neuron_rows(network: NetworkInfo, slices: tuple[Slice, ...]) -> NDArray[np.int32]:
    """Table row that each neuron sends from: of the input, then of every spiking layer."""
    sizes = network.spiking_sizes
    result = np.zeros(sum(sizes), np.int32)
    start = network.inputs
    for index, layer in enumerate(network.layers[:-1]):
        owner = result[start : start + layer.outputs].reshape(layer.output_shape)
        for row, s in enumerate(slices, start=1):
            if s.stage == index and s.owns:
                owner[slice(*s.channels), slice(*s.rows), slice(*s.columns)] = row
        start += layer.outputs
    return result


def check_origin(
    path: Path, info: NetworkInfo, slices: tuple[Slice, ...], network: Network
) -> None:
    """Refuse another network than the one that ran, and slices it does not have.

    Raises
    ------
    TraceError
    """
    if network.hash != info.hash:
        raise TraceError(
            f"{path} was recorded from network {info.name!r} ({info.hash[:12]}), not from "
            f"{network.name!r} ({network.hash[:12]}); load the network file it was made from"
        )
    if msgspec.structs.replace(network_info(network), name=info.name) != info:
        raise TraceError(f"{path}: /meta describes another network than the one of its hash")
    for s in slices:
        stage = network.stages[s.stage]
        for axis, outputs, sums, inputs in (
            (0, s.rows, s.sum_rows, s.input_rows),
            (1, s.columns, s.sum_columns, s.input_columns),
        ):
            wanted = sum_range(stage, axis, outputs)
            if sums != wanted or inputs != input_range(stage, axis, wanted):
                raise TraceError(
                    f"{path}: /mapping gives core {s.core} a part of layer {s.layer!r} that the "
                    "network does not have"
                )
