"""Whether the slices in a trace are a mapping: of its chip, and of a network."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromorph.chip import Chip
from neuromorph.errors import TraceError
from neuromorph.mapping import Slice
from neuromorph.mapping.slices import input_range, sum_range
from neuromorph.network import Network
from neuromorph.trace.schema import RANGES, NetworkInfo

__all__ = ["check_chip", "check_network", "check_slices", "neuron_rows", "slices_for"]

MAX_NEURONS = 1 << 26
MAX_CORES = 1 << 20
COUNTING_FIELDS = (
    "columns",
    "rows",
    "cores_per_tile",
    "neurons",
    "synapse_bits",
    "axons_in",
    "axons_out",
    "accumulator_bits",
    "axon_entry_bits",
    "synapse_lanes",
    "neuron_lanes",
    "frames_in_flight",
)


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
    for index, layer in enumerate(network.layers):
        before = network.inputs if index == 0 else network.layers[index - 1].outputs
        if prod(layer.input_shape) != before:
            raise TraceError(f"{path}: layer {layer.name!r} does not fit the layer before it")
        if (layer.n is None) != (index == len(network.layers) - 1):
            raise TraceError(f"{path}: layer {layer.name!r} is read out, or not, out of turn")


def check_chip(path: Path, chip: Chip) -> None:
    """Refuse chips with impossible numbers.

    Raises
    ------
    TraceError
    """
    for name in COUNTING_FIELDS:
        value = getattr(chip, name)
        if not 1 <= value <= 1 << 40:
            raise TraceError(f"{path}: the chip has {name} = {value}")
    if chip.cores > MAX_CORES:
        raise TraceError(f"{path}: the chip has more than {MAX_CORES} cores")
    if not 0 < chip.tick_s <= 1:
        raise TraceError(f"{path}: the chip has tick_s = {chip.tick_s}")


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
    }
    for name in RANGES:
        start, stop = table[name].T
        room = np.array(shapes[name])[layer]
        least = 0 if name.startswith("input") else 1
        if (start < 0).any() or (stop - start < least).any() or (stop > room).any():
            raise TraceError(f"{path}: /mapping/{name} has a range outside its layer")
    for index, info in enumerate(network.layers):
        mine = layer == index
        for names, shape in (
            (("channels", "rows", "columns"), info.output_shape),
            (("channels", "sum_rows", "sum_columns"), info.sum_shape),
        ):
            boxes = np.stack([table[name][mine] for name in names], axis=1)
            if not _tiles(boxes, prod(shape)):
                raise TraceError(
                    f"{path}: /mapping puts neurons of layer {info.name!r} on two cores or none"
                )
    return tuple(
        Slice(
            stage=int(layer[i]),
            layer=network.layers[layer[i]].name,
            core=int(core[i]),
            **{name: (int(table[name][i, 0]), int(table[name][i, 1])) for name in RANGES},
        )
        for i in range(len(layer))
    )


def _tiles(boxes: NDArray[np.int64], volume: int) -> bool:
    """Whether boxes (number, axes, 2) inside a box of that volume fill it without overlap."""
    if int((boxes[:, :, 1] - boxes[:, :, 0]).prod(axis=1).sum()) != volume:
        return False
    for i, box in enumerate(boxes[:-1]):
        rest = boxes[i + 1 :]
        apart = (rest[:, :, 0] >= box[:, 1]) | (rest[:, :, 1] <= box[:, 0])
        if not apart.any(axis=1).all():
            return False
    return True


def neuron_rows(network: NetworkInfo, slices: tuple[Slice, ...]) -> list[NDArray[np.int32]]:
    """For the input and every spiking layer: the table row that each neuron sends from."""
    result = [np.zeros(network.inputs, np.int32)]
    for index, layer in enumerate(network.layers[:-1]):
        owner = np.zeros(layer.output_shape, np.int32)
        for row, s in enumerate(slices, start=1):
            if s.stage == index:
                owner[slice(*s.channels), slice(*s.rows), slice(*s.columns)] = row
        result.append(owner.ravel())
    return result


def slices_for(path: Path, slices: tuple[Slice, ...], network: Network) -> tuple[Slice, ...]:
    """The slices, once they have proved to be slices of this network.

    Raises
    ------
    TraceError
    """
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
    return slices
