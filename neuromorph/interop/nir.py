"""Networks as NIR graphs, in standard primitives, and back.

NIR has no ternary neuron, so a neuron becomes branches that add up.  With
s the sum, d its direction and t its thresholds, level i > 0 adds

    Scale(d) → Threshold(t_i − ½)                     +1 where d·s ≥ t_i

and each level below zero

    Scale(−d) → Threshold(½ − t_i) → Scale(−1)        −1 where d·s < t_i

(thresholds of NIR are strict, sums are whole).  NIR has no max-pool either,
but of steps of 0 and 1 the greatest in a window is whether *any* is 1 and the
least whether *all* are, both a count of its k steps against a threshold:

    Threshold → SumPool2d → Threshold(½)              any
    Threshold → SumPool2d → Threshold(k − ½)          all

A pool takes the greatest level, so any step up and all steps down; where it
takes the least, the other way round.  Coming back, any graph whose neurons are
such sums of steps is read, ours or not.  What NIR cannot say or we cannot hold
(state, leak) is refused, not approximated.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from neuromorph.errors import NetworkError, NeuromorphError, check_type
from neuromorph.interop.nir_events import require_nir
from neuromorph.interop.nir_reader import Reader
from neuromorph.levels import Levels
from neuromorph.network import Conv2d, Layer, Linear, Network, Pool, Readout, Stage
from neuromorph.trace.door import look_over

__all__ = ["from_nir", "to_nir"]

MOST_STEPS = 16  # branches of a neuron: Z_4


# --- out


def to_nir(network: Network, path: str | os.PathLike[str] | None = None) -> Any:
    """A network as a ``nir.NIRGraph``, written to a file if one is named.

    Parameters
    ----------
    network : Network
    path : path, optional

    Returns
    -------
    nir.NIRGraph
        Takes the raw samples of the network and gives its scores; weights are
        int8, and nothing in it relies on metadata.

    Raises
    ------
    NetworkError
        A kernel that is not square (NIR reckons wrongly with it), or neurons of
        more than 17 levels.
    MissingDependencyError
        The package nir is not installed.
    """
    check_type(network, Network, "network", NetworkError, "give a Network, such as load_network")
    network.check_plain("NIR export")
    nir = require_nir()
    for stage in network.stages:
        if stage.levels is not None and stage.levels.size - 1 > MOST_STEPS:
            raise NetworkError(
                f"layer {stage.name!r} has {stage.levels.size} levels; as NIR thresholds at most "
                f"{MOST_STEPS + 1} are exported; use activations of Z_4 or less"
            )
    writer = _Writer(nir, network)
    graph = nir.NIRGraph(nodes=writer.nodes, edges=writer.edges)
    graph.metadata = {"neuromorph": _hint(network)}
    if path is not None:
        nir.write(Path(path), graph)
    return graph


def _hint(network: Network) -> str:
    i = network.input
    return f"{network.name}: {i.encoding} input of {i.bits} bits, {i.describe()}"


class _Writer:
    def __init__(self, nir: Any, network: Network) -> None:
        self.nir = nir
        self.nodes: dict[str, Any] = {}
        self.edges: list[tuple[str, str]] = []
        entry = network.input
        self.nodes["input"] = nir.Input(input_type=np.array(entry.shape))
        ends, shape = ["input"], entry.shape
        if entry.thresholds is not None:
            steps = np.full((2, *shape), np.array(entry.thresholds).reshape(2, *(1,) * len(shape)))
            ends = self.neurons("input", "input", steps, np.ones(shape), Levels(1))
        for stage, layer in zip(network.stages, _weighted(network)):
            if len(shape) == 3 and (isinstance(layer, Linear) or stage.input_shape != shape):
                flat = nir.Flatten({"input": np.array(shape)}, start_dim=0)
                ends, shape = [self.add(f"{stage.name}_flatten", flat, ends)], (stage.inputs,)
            if isinstance(layer, Conv2d) and len(shape) == 1:  # an image of one pixel
                row, column = (np.flatnonzero(stage.taps(a) == 0) for a in (0, 1))
                if stage.sum_shape[1:] != (1, 1) or not len(row) or not len(column):
                    raise NetworkError(
                        f"layer {stage.name!r} convolves a vector into an image; NIR cannot"
                    )
                weights = layer.weights[:, :, row[0], column[0]]
                layer = Linear(name=layer.name, weights=weights, n=layer.n)
            made = self.add(stage.name, self.synapses(stage, layer), ends)
            ends = [made]
            shape = stage.sum_shape if isinstance(layer, Conv2d) else stage.sum_shape[:1]
            if stage.levels is not None:
                assert stage.thresholds is not None
                assert stage.directions is not None
                spread = (-1, *(1,) * (len(shape) - 1))
                rungs = [np.broadcast_to(t.reshape(spread), shape) for t in stage.thresholds.T]
                way = np.broadcast_to(stage.directions.reshape(spread), shape)
                steps = np.stack(rungs)
                pool = stage.pool if len(shape) == 3 else None  # of one pixel, it does nothing
                ends = self.neurons(stage.name, made, steps, way, stage.levels, pool)
                shape = stage.output_shape if pool else shape
        self.readout(network, shape, ends)

    def add(self, name: str, node: Any, before: list[str]) -> str:
        """A node behind others, by this name or one like it."""
        while name in self.nodes:
            name += "_"
        self.nodes[name] = node
        self.edges += [(b, name) for b in before]
        return name

    def synapses(self, stage: Stage, layer: Layer) -> Any:
        if isinstance(layer, Linear):
            return self.nir.Linear(weight=np.array(layer.weights))
        assert isinstance(layer, Conv2d)
        node = self.nir.Conv2d(
            input_shape=stage.input_shape[1:],
            weight=np.array(layer.weights),
            stride=layer.stride,
            padding=layer.padding,
            dilation=layer.dilation,
            groups=1,
            bias=np.zeros(len(layer.weights), np.float32),
        )
        reckoned = tuple(int(v) for v in node.output_type["output"])
        if reckoned != stage.sum_shape:
            raise NetworkError(
                f"layer {stage.name!r} gives {list(stage.sum_shape)}, but NIR reckons with "
                f"{list(reckoned)}: it takes kernel and stride to be the same in both directions"
            )
        return node

    def neurons(
        self,
        name: str,
        source: str,
        steps: NDArray[Any],
        way: NDArray[Any],
        space: Levels,
        pool: Pool | None = None,
    ) -> list[str]:
        """The branches of a layer's neurons; the names they end with."""
        ends = []
        zero = space.maximum if space.has_zero else 1
        thresholds = steps.astype(np.float64)
        branches: list[tuple[str, NDArray[Any], NDArray[Any], int]] = []
        for i, t in enumerate(thresholds):
            if i >= zero or not space.has_zero:
                branches.append((f"up{i + 1}", way, t - 0.5, 1))
            if i < zero:
                branches.append((f"down{i + 1}", -way, 0.5 - t, -1))
        for branch, scale, threshold, sign in branches:
            before, base = source, f"{name}_{branch}"
            if not (scale == 1).all():
                before = self.add(f"{base}_way", self.nir.Scale(scale.astype(np.float32)), [before])
            end = self.add(base, self.nir.Threshold(np.array(threshold)), [before])
            shape = way.shape
            if pool is not None:
                end, shape = self.pooled(base, end, pool, pool.minimum == (sign > 0), way.shape)
            if sign < 0:
                minus = self.nir.Scale(np.full(shape, -1, np.float32))
                end = self.add(f"{base}_sign", minus, [end])
            ends.append(end)
        return ends

    def pooled(
        self, base: str, end: str, pool: Pool, all_of: NDArray[np.bool_], shape: tuple[int, ...]
    ) -> tuple[str, tuple[int, ...]]:
        """Whether any, or all where ``all_of`` of a channel, of the steps in a window are 1."""
        size, stride = np.array(pool.size), np.array(pool.stride)
        rows, columns = (np.array(shape[1:]) - size) // stride + 1
        after = (shape[0], int(rows), int(columns))
        counted = self.nir.SumPool2d(kernel_size=size, stride=stride, padding=np.zeros(2, int))
        end = self.add(f"{base}_count", counted, [end])
        needed = np.where(all_of, size.prod() - 0.5, 0.5)[:, None, None]
        threshold = self.nir.Threshold(np.array(np.broadcast_to(needed, after)))
        return self.add(f"{base}_pool", threshold, [end]), after

    def readout(self, network: Network, shape: tuple[int, ...], ends: list[str]) -> None:
        last, classes = network.layers[-1], network.classes
        assert isinstance(last, Readout)
        if len(shape) == 3:
            flat = self.nir.Flatten({"input": np.array(shape)}, start_dim=0)
            ends = [self.add("scores_flatten", flat, ends)]
        if last.scale is not None or last.offset is not None:
            scale = np.ones(classes, np.float32) if last.scale is None else last.scale
            offset = np.zeros(classes, np.float32) if last.offset is None else np.array(last.offset)
            affine = self.nir.Affine(weight=np.diag(scale), bias=offset)
            ends = [self.add("scores", affine, ends)]
        self.add("output", self.nir.Output(output_type=np.array([classes])), ends)


def _weighted(network: Network) -> list[Layer]:
    return [layer for layer in network.layers if isinstance(layer, (Linear, Conv2d))]


# --- back


def from_nir(
    source: Any,
    *,
    name: str | None = None,
    bits: int | None = None,
    meta: Mapping[str, Any] | None = None,
) -> Network:
    """A NIR graph or file as an integer network.

    Parameters
    ----------
    source : path or nir.NIRGraph
    name : str, optional
        Name of the network; left out, that of the file.
    bits : int, optional
        Bits of an input level: the network then takes graded integers.  Left
        out, levels −1, 0, 1, unless the graph itself thresholds its input.
    meta : mapping, optional
        Anything JSON can hold.

    Returns
    -------
    Network

    Raises
    ------
    NetworkError
        A file that is none, primitives other than those named, or neurons that
        are no sum of equal steps.
    MissingDependencyError
        The package nir is not installed.
    """
    nir = require_nir()
    graph = source
    if not isinstance(source, nir.NIRGraph):
        path = Path(source)
        name = name or path.stem
        try:
            with h5py.File(path, "r") as file:
                look_over(path, file)
            graph = nir.read(path)
        except FileNotFoundError:
            raise NetworkError(f"no file {path}") from None
        except NeuromorphError as error:
            raise NetworkError(str(error)) from None
        except Exception as error:  # h5py's and nir's own
            text = str(error).strip().split("\n")[0] or type(error).__name__
            raise NetworkError(f"{path} cannot be read as NIR: {text}") from None
    return Reader(graph).network(name or "imported", bits, dict(meta or {}))
