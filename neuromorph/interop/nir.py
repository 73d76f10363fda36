"""Networks as NIR graphs, in standard primitives, and back; events as NIR data.

NIR has no ternary neuron, so a neuron becomes branches that add up.  With
s the sum, d its direction and t its thresholds, level i > 0 adds

    Scale(d) → Threshold(t_i − ½)                     +1 where d·s ≥ t_i

and each level below zero

    Scale(−d) → Threshold(½ − t_i) → Scale(−1)        −1 where d·s < t_i

(thresholds of NIR are strict, sums are whole).  Coming back, any graph whose
neurons are such sums of steps is read, ours or not.  What NIR cannot say
(max-pools) or we cannot hold (state, leak) is refused, not approximated.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuromorph.errors import MissingDependencyError, NetworkError, NeuromorphError, check_type
from neuromorph.levels import Levels
from neuromorph.network import (
    THRESHOLD_MAX,
    THRESHOLD_MIN,
    Conv2d,
    Flatten,
    Input,
    Layer,
    Linear,
    Network,
    Readout,
    Stage,
    Threshold,
)
from neuromorph.trace.door import look_over

__all__ = ["from_nir", "from_nir_events", "to_nir", "to_nir_events"]

MOST_STEPS = 16  # branches of a neuron: Z_4
SUPPORTED = "Input, Linear, Affine, Conv2d, Scale, Threshold, Flatten, Output"


def _require() -> Any:
    try:
        import nir
    except ImportError:
        raise MissingDependencyError(
            "nir is not installed; run: pip install 'neuromorph[nir]'"
        ) from None
    return nir


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
        A max-pool, a kernel that is not square (NIR reckons wrongly with it), or
        neurons of more than 17 levels.
    MissingDependencyError
        The package nir is not installed.
    """
    check_type(network, Network, "network", NetworkError, "give a Network, such as load_network")
    nir = _require()
    for stage in network.stages:
        if stage.pool is not None:
            raise NetworkError(
                f"layer {stage.name!r} has a max-pool, which NIR has no word for; a network "
                "without pools (strided convolutions instead) can be exported"
            )
        if stage.levels is not None and stage.levels.size - 1 > MOST_STEPS:
            raise NetworkError(
                f"layer {stage.name!r} has {stage.levels.size} levels; as NIR thresholds at most "
                f"{MOST_STEPS + 1} are exported"
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
                ends = self.neurons(stage.name, made, np.stack(rungs), way, stage.levels)
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
        self, name: str, source: str, steps: NDArray[Any], way: NDArray[Any], space: Levels
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
            if sign < 0:
                minus = self.nir.Scale(np.full(way.shape, -1, np.float32))
                end = self.add(f"{base}_sign", minus, [end])
            ends.append(end)
        return ends

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
    nir = _require()
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
    return _Reader(graph).network(name or "imported", bits, dict(meta or {}))


class _Reader:
    def __init__(self, graph: Any) -> None:
        self.nodes = graph.nodes
        self.after: dict[str, list[str]] = {n: [] for n in graph.nodes}
        for before, after in graph.edges:
            self.after[str(before)].append(str(after))
        for name, node in self.nodes.items():
            if _kind(node) not in SUPPORTED.split(", "):
                raise NetworkError(
                    f"NIR node {name!r} is a {_kind(node)}; supported are {SUPPORTED}, whose "
                    "neurons have no state"
                )

    def network(self, name: str, bits: int | None, meta: dict[str, Any]) -> Network:
        starts = [n for n, node in self.nodes.items() if _kind(node) == "Input"]
        if len(starts) != 1:
            raise NetworkError(f"the NIR graph has {len(starts)} inputs; one is possible")
        where = starts[0]
        shape = tuple(int(v) for v in next(iter(self.nodes[where].input_type.values())))
        if len(shape) not in (1, 3):
            raise NetworkError(f"NIR input {where!r} has shape {list(shape)}; need 1 or 3 axes")
        entry = Input(shape=shape)
        if bits is not None:
            entry = Input(shape=shape, encoding="graded", bits=bits)
        if self.fires(where):
            threshold, where = self.neurons(where, None)
            t = threshold.thresholds
            if threshold.n != 1 or (t != t[0]).any() or np.any(threshold.directions != 1):
                raise NetworkError(
                    "the NIR graph thresholds its input in more than two common thresholds"
                )
            entry = Input(shape=shape, thresholds=(int(t[0][0]), int(t[0][1])))
        else:
            where = self.only(where)
        layers: list[Layer] = []
        while True:
            if _kind(self.nodes[where]) == "Flatten":
                layers.append(Flatten())
                where = self.only(where)
            layer, bias = self.weighted(where)
            layers.append(layer)
            if self.fires(where):
                threshold, where = self.neurons(where, bias)
                layers.append(threshold)
                continue
            layers.append(self.readout(where, bias))
            return Network(name=name, input=entry, layers=layers, meta=meta)

    def only(self, name: str) -> str:
        after = self.after[name]
        if len(after) != 1:
            raise NetworkError(f"NIR node {name!r} goes to {len(after)} nodes; a chain has one")
        return after[0]

    def weighted(self, name: str) -> tuple[Layer, NDArray[Any] | None]:
        node = self.nodes[name]
        kind = _kind(node)
        if kind not in ("Linear", "Affine", "Conv2d"):
            raise NetworkError(f"NIR node {name!r} is a {kind} where synapses should stand")
        weights = np.asarray(node.weight)
        whole = np.rint(weights)
        if not np.array_equal(whole, weights) or np.abs(weights).max(initial=0) > 128:
            raise NetworkError(
                f"NIR node {name!r} has weights that are no integers from -128 to 128; quantise "
                "them first"
            )
        levels = whole.astype(np.int16)
        largest = int(np.abs(levels).max(initial=0))
        n = next(n for n in range(1, 9) if Levels(n).maximum >= largest)
        bias = getattr(node, "bias", None)
        bias = None if bias is None or not np.any(bias) else np.asarray(bias, np.float64)
        clean = name.replace("/", "_").replace(".", "_")
        if kind != "Conv2d":
            return Linear(name=clean, weights=levels, n=n), bias
        if int(node.groups) != 1:
            raise NetworkError(f"NIR node {name!r} has groups; not possible")
        padding = node.padding
        if isinstance(padding, (str, bytes)):
            if padding in ("same", b"same") and tuple(np.ravel(node.stride)) != (1, 1):
                raise NetworkError(f"NIR node {name!r} pads by itself; give it numbers")
            same = padding in ("same", b"same")
            padding = [(k - 1) // 2 if same else 0 for k in levels.shape[2:]]
        stride = [int(v) for v in np.ravel(node.stride)]
        dilation = [int(v) for v in np.ravel(node.dilation)]
        return (
            Conv2d(
                name=clean,
                weights=levels,
                n=n,
                stride=(stride[0], stride[-1]),
                padding=(int(np.ravel(padding)[0]), int(np.ravel(padding)[-1])),
                dilation=(dilation[0], dilation[-1]),
            ),
            bias,
        )

    def fires(self, name: str) -> bool:
        """Whether thresholds follow a node."""
        return any(
            _kind(self.nodes[a]) == "Threshold"
            or (_kind(self.nodes[a]) == "Scale" and self.fires(a))
            for a in self.after[name]
        )

    def neurons(self, name: str, bias: NDArray[Any] | None) -> tuple[Threshold, str]:
        """The threshold layer whose branches leave a node, and the node that they meet in."""
        steps: list[tuple[NDArray[Any], NDArray[Any]]] = []  # (first sum, height) of each channel
        joints: set[str] = set()
        for branch in self.after[name]:
            before, edge, after, joint = self.branch(branch)
            joints.add(joint)
            values = [_channels(v, name) for v in (before, edge, after)]
            width = max(len(v) for v in values)
            scale, theta, height = (np.broadcast_to(v, width) for v in values)
            if not np.abs(scale).min() > 0:
                raise NetworkError(f"NIR node {name!r}: a Scale of zero before a threshold")
            cut = theta / scale - (0.0 if bias is None else bias)
            up = scale > 0  # fires for s > cut; otherwise for s < cut: one less from there on
            first = np.where(up, np.floor(cut) + 1, np.ceil(cut))
            steps.append((first, np.where(up, height, -height)))
        if len(joints) != 1:
            raise NetworkError(f"the branches behind NIR node {name!r} do not meet in one node")
        firsts = np.stack([s[0] for s in steps], axis=1)
        heights = np.stack([s[1] for s in steps], axis=1)
        return self.ladder(name, firsts, heights, self.lowest(name)), joints.pop()

    def lowest(self, name: str) -> NDArray[Any]:
        """What the branches add up to for the smallest sum of all, for each channel."""
        total: Any = 0.0
        for branch in self.after[name]:
            before, _, after, _ = self.branch(branch)
            scale, height = _channels(before, name), _channels(after, name)
            total = total + np.where(scale < 0, height, 0.0)
        return np.atleast_1d(np.asarray(total, np.float64))

    def branch(self, name: str) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], str]:
        """(scale before, threshold, scale after, node behind) of a branch."""
        before: Any = np.ones(1)
        after: Any = np.ones(1)
        edge: NDArray[Any] | None = None
        while _kind(self.nodes[name]) in ("Scale", "Threshold"):
            node = self.nodes[name]
            if _kind(node) == "Threshold":
                if edge is not None:
                    raise NetworkError(f"NIR node {name!r} thresholds what is thresholded already")
                edge = np.asarray(node.threshold, np.float64)
            elif edge is None:
                before = before * np.asarray(node.scale, np.float64)
            else:
                after = after * np.asarray(node.scale, np.float64)
            name = self.only(name)
        if edge is None:
            raise NetworkError(f"a branch before NIR node {name!r} has no threshold")
        return before, edge, after, name

    def ladder(
        self, name: str, firsts: NDArray[Any], heights: NDArray[Any], lowest: NDArray[Any]
    ) -> Threshold:
        """Steps at some sums, as thresholds of a space Z_n."""
        channels = len(firsts)
        lowest = np.broadcast_to(lowest, channels)
        falling = heights.sum(axis=1) < 0
        if (np.sign(heights) == np.where(falling, 1, -1)[:, None]).any() or (heights == 0).any():
            raise NetworkError(f"neurons behind NIR node {name!r} are not monotone in their sum")
        if (heights != np.rint(heights)).any() or (lowest != np.rint(lowest)).any():
            raise NetworkError(f"neurons behind NIR node {name!r} have levels that are no integers")
        rungs: list[list[float]] = []
        ends: list[tuple[int, int]] = []
        for c in range(channels):
            way = -1 if falling[c] else 1
            # −s reaches 1 − first where s falls below first
            edges = [f if way > 0 else 1 - f for f in firsts[c]]
            climbed = sorted(e for e, h in zip(edges, heights[c]) for _ in range(int(abs(h))))
            start = int(lowest[c]) if way > 0 else int(lowest[c] + heights[c].sum())
            rungs.append(climbed)
            ends.append((start, start + len(climbed)))
        low, high = min(e[0] for e in ends), max(e[1] for e in ends)
        largest = max(-low, high, 1)
        binary = all(e == (-1, 1) and r[0] == r[1] for e, r in zip(ends, rungs) if len(r) == 2)
        if binary and all(len(r) == 2 for r in rungs):
            return _threshold([r[:1] for r in rungs], falling, 0)
        fitting = [n for n in range(1, 9) if Levels(n).maximum >= largest]
        if not fitting:
            raise NetworkError(f"neurons behind NIR node {name!r} have levels up to {largest}")
        n, k = fitting[0], Levels(fitting[0]).maximum
        whole = [
            [-np.inf] * (start + k) + rung + [np.inf] * (k - end)
            for (start, end), rung in zip(ends, rungs)
        ]
        return _threshold(whole, falling, n)

    def readout(self, name: str, bias: NDArray[Any] | None) -> Readout:
        scale: NDArray[Any] | None = None
        offset = bias
        name = self.only(name)
        while _kind(self.nodes[name]) != "Output":
            node = self.nodes[name]
            if _kind(node) == "Scale":
                factor = np.ravel(np.asarray(node.scale, np.float64))
                add = np.zeros(1)
            elif _kind(node) == "Affine" and _is_diagonal(node.weight):
                factor = np.diag(node.weight).astype(np.float64)
                add = np.asarray(node.bias, np.float64)
            elif _kind(node) == "Flatten":
                name = self.only(name)
                continue
            else:
                raise NetworkError(
                    f"NIR node {name!r} follows synapses without a threshold between them"
                )
            scale = factor if scale is None else scale * factor
            offset = add if offset is None else offset * factor + add
            name = self.only(name)
        if offset is not None:
            offset = np.broadcast_to(offset, np.shape(offset if scale is None else scale))
        return Readout(scale=scale, offset=offset)


def _threshold(rungs: list[list[float]], falling: NDArray[np.bool_], n: int) -> Threshold:
    edges = np.clip(np.array(rungs, np.float64), THRESHOLD_MIN, THRESHOLD_MAX)
    return Threshold(
        thresholds=edges.astype(np.int64), directions=np.where(falling, -1, 1).astype(np.int8), n=n
    )


def _channels(values: NDArray[Any], name: str) -> NDArray[Any]:
    """One value for each channel, out of one for each neuron."""
    rows: NDArray[Any] = values.reshape(len(values), -1)
    if (rows != rows[:, :1]).any():
        raise NetworkError(
            f"neurons behind NIR node {name!r} of one channel have different thresholds; a channel "
            "shares its thresholds"
        )
    first: NDArray[Any] = rows[:, 0]
    return first


def _is_diagonal(weight: NDArray[Any]) -> bool:
    w = np.asarray(weight)
    return w.ndim == 2 and w.shape[0] == w.shape[1] and bool((w == np.diag(np.diag(w))).all())


def _kind(node: Any) -> str:
    return type(node).__name__


# --- events


def to_nir_events(levels: ArrayLike, *, dt_s: float = 1.0) -> Any:
    """Levels as signed events, ``nir.ValuedEventData``: one sample, a time step a row.

    Parameters
    ----------
    levels : integer array, shape (steps, neurons)
        Such as ``run.levels(layer)``: a row a frame.
    dt_s : float
        Time of a row.

    Raises
    ------
    NetworkError
        An array of another shape or kind.
    """
    nir = _require()
    array = np.asarray(levels)
    if array.ndim != 2 or array.dtype.kind not in "iu":
        raise NetworkError(
            f"levels are {array.dtype} of shape {list(array.shape)}; need integers of shape "
            "[steps, neurons]"
        )
    step, neuron = np.nonzero(array)
    return nir.ValuedEventData(
        idx=neuron[None, :],
        time=(step * dt_s)[None, :].astype(np.float64),
        value=array[step, neuron][None, :].astype(np.float64),
        n_neurons=array.shape[1],
        t_max=len(array) * dt_s,
    )


def from_nir_events(events: Any, *, dt_s: float = 1.0) -> NDArray[np.int64]:
    """Events of NIR as levels, (samples, steps, neurons); those of one step and neuron add up.

    Raises
    ------
    NetworkError
        Values that are no integers, or events outside the recording.
    """
    _require()
    idx, time = np.asarray(events.idx), np.asarray(events.time, np.float64)
    value = np.asarray(getattr(events, "value", np.ones(idx.shape)), np.float64)
    there = idx >= 0
    steps = round(float(events.t_max) / dt_s)
    step = np.floor(np.where(there, time, 0.0) / dt_s + 1e-9).astype(np.int64)
    inside = (step >= 0) & (step < steps) & (idx < events.n_neurons)
    if (value != np.rint(value))[there].any() or not inside[there].all():
        raise NetworkError(
            "NIR events have values that are no integers, or times or neurons outside the recording"
        )
    levels = np.zeros((len(idx), steps, int(events.n_neurons)), np.int64)
    sample = np.broadcast_to(np.arange(len(idx))[:, None], idx.shape)
    np.add.at(levels, (sample[there], step[there], idx[there]), value[there].astype(np.int64))
    return levels
