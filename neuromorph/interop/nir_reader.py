"""Reading of NIR graphs: chains of layers whose neurons are sums of steps (see ``nir.py``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromorph.errors import NetworkError
from neuromorph.folding import smallest_space
from neuromorph.levels import Levels
from neuromorph.network import (
    THRESHOLD_MAX,
    THRESHOLD_MIN,
    Conv2d,
    Flatten,
    Input,
    Layer,
    Linear,
    MaxPool2d,
    Network,
    Readout,
    Threshold,
)

__all__ = ["Reader"]

SUPPORTED = "Input, Linear, Affine, Conv2d, Scale, Threshold, SumPool2d, Flatten, Output"


class Reader:
    """A NIR graph on its way to a network; ``network`` raises NetworkError for what cannot be."""

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
            (threshold, *pool), where = self.neurons(where, None)
            if pool or not isinstance(threshold, Threshold):
                raise NetworkError("the NIR graph pools its input; a pool follows a weighted layer")
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
                fired, where = self.neurons(where, bias)
                layers += fired
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
        n = smallest_space(levels)
        bias = getattr(node, "bias", None)
        bias = None if bias is None or not np.any(bias) else np.asarray(bias, np.float64)
        clean = name.replace("/", "_").replace(".", "_")
        if kind != "Conv2d":
            return Linear(name=clean, weights=levels, n=n), bias
        if int(node.groups) != 1:
            raise NetworkError(f"NIR node {name!r} has groups; not possible")
        padding = node.padding
        stride = [int(v) for v in np.ravel(node.stride)]
        dilation = [int(v) for v in np.ravel(node.dilation)]
        if isinstance(padding, (str, bytes)):
            same = padding in ("same", b"same")
            apart = (dilation[0], dilation[-1])
            around = [d * (k - 1) if same else 0 for k, d in zip(levels.shape[2:], apart)]
            if any(a % 2 for a in around) or (same and set(stride) != {1}):
                raise NetworkError(f"NIR node {name!r} pads by itself; give it numbers")
            padding = [a // 2 for a in around]
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

    def neurons(self, name: str, bias: NDArray[Any] | None) -> tuple[list[Layer], str]:
        """The threshold, with its pool, whose branches leave a node, and where they meet."""
        steps: list[tuple[NDArray[Any], NDArray[Any]]] = []  # (first sum, height) of each channel
        branches = [self.branch(b) for b in self.after[name]]
        for branch in branches:
            values = [_channels(v, name) for v in (branch.before, branch.edge, branch.after)]
            width = max(len(v) for v in values)
            scale, theta, height = (np.broadcast_to(v, width) for v in values)
            if not np.abs(scale).min() > 0:
                raise NetworkError(f"NIR node {name!r}: a Scale of zero before a threshold")
            cut = theta / scale - (0.0 if bias is None else bias)
            up = scale > 0  # fires for s > cut; otherwise for s < cut: one less from there on
            first = np.where(up, np.floor(cut) + 1, np.ceil(cut))
            steps.append((first, np.where(up, height, -height)))
        if len({b.joint for b in branches}) != 1:
            raise NetworkError(f"the branches behind NIR node {name!r} do not meet in one node")
        firsts = np.stack([s[0] for s in steps], axis=1)
        heights = np.stack([s[1] for s in steps], axis=1)
        threshold = self.ladder(name, firsts, heights, self.lowest(name))
        return _with_pool(name, threshold, branches), branches[0].joint

    def lowest(self, name: str) -> NDArray[Any]:
        """What the branches add up to for the smallest sum of all, for each channel."""
        total: Any = 0.0
        for branch in map(self.branch, self.after[name]):
            scale, height = _channels(branch.before, name), _channels(branch.after, name)
            total = total + np.where(scale < 0, height, 0.0)
        return np.atleast_1d(np.asarray(total, np.float64))

    def branch(self, name: str) -> _Branch:
        """What stands between a node's neighbour and where the branches meet."""
        before: Any = np.ones(1)
        after: Any = np.ones(1)
        edge: NDArray[Any] | None = None
        pool: tuple[Any, NDArray[Any]] | None = None
        while _kind(self.nodes[name]) in ("Scale", "Threshold", "SumPool2d"):
            node = self.nodes[name]
            if _kind(node) == "SumPool2d":
                if edge is None or pool or np.any(after != 1):
                    raise NetworkError(f"NIR node {name!r} pools what are no steps of 0 and 1")
                name = self.only(name)
                if _kind(self.nodes[name]) != "Threshold":
                    raise NetworkError(
                        f"NIR node {name!r} takes the sums of a pool; only counts against a "
                        "threshold, any or all of a window, are a max-pool"
                    )
                pool = node, np.asarray(self.nodes[name].threshold, np.float64)
            elif _kind(node) == "Threshold":
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
        return _Branch(before=before, edge=edge, pool=pool, after=after, joint=name)

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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Branch:
    """A step: scale before, threshold, (pool, its threshold), scale after, node behind."""

    before: NDArray[Any]
    edge: NDArray[Any]
    pool: tuple[Any, NDArray[Any]] | None
    after: NDArray[Any]
    joint: str


def _with_pool(name: str, threshold: Threshold, branches: list[_Branch]) -> list[Layer]:
    """A threshold, and the pool that all its branches pass."""
    pools = [b.pool for b in branches]
    windows = {None if p is None else _window(p[0]) for p in pools}
    if windows == {None}:
        return [threshold]
    if len(windows) > 1:
        raise NetworkError(f"the branches behind NIR node {name!r} do not pass the same pool")
    (size, stride, padding) = windows.pop() or ()
    if any(padding):
        raise NetworkError(f"the pool behind NIR node {name!r} has padding; not possible")
    area, channels = size[0] * size[1], len(threshold.thresholds)
    greatest, least = np.ones(channels, bool), np.ones(channels, bool)
    for branch in branches:
        assert branch.pool is not None
        needed = _channels(branch.pool[1], name)
        any_of, all_of = (np.floor(needed) == v for v in (0, area - 1))
        up = _channels(branch.after, name) > 0
        greatest &= np.where(up, any_of, all_of)
        least &= np.where(up, all_of, any_of)
    falling = np.asarray(threshold.directions) < 0
    pool = MaxPool2d(size=size, stride=stride)
    if np.where(falling, least, greatest).all():  # the pool of sums
        return [pool, threshold]
    if greatest.all():
        return [threshold, pool]
    raise NetworkError(
        f"the pool behind NIR node {name!r} is no max-pool of levels or of sums: its steps are "
        f"counted against other thresholds than any or all of {area}"
    )


def _window(node: Any) -> tuple[tuple[int, int], ...]:
    """(size, stride, padding) of a pool."""
    ends = [[int(v) for v in np.ravel(a)] for a in (node.kernel_size, node.stride, node.padding)]
    return tuple((v[0], v[-1]) for v in ends)


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
