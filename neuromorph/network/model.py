"""The integer network, and its lowered form that engines and mapping share."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuromorph.errors import NetworkError
from neuromorph.events import html_table
from neuromorph.levels import Levels
from neuromorph.network.layers import (
    Conv2d,
    Flatten,
    Input,
    Layer,
    Linear,
    MaxPool2d,
    Readout,
    Threshold,
)

__all__ = ["Network", "Pool", "Stage"]

SUM_LIMIT = 2**31 - 2
EXTENT_LIMIT = 2**24  # rows or columns a dilated kernel spans
MAX_NEURONS = 2**31 - 1  # of one layer, or of the input


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pool:
    """Max-pool as the chip does it: on levels, after the threshold.

    ``minimum[c]`` is set where the maximum of the sums is the minimum of the
    levels (pooled before a threshold of negative direction).
    """

    size: tuple[int, int]
    stride: tuple[int, int]
    minimum: NDArray[np.bool_]

    @property
    def overlaps(self) -> bool:
        """Whether windows share neurons."""
        return self.size[0] > self.stride[0] or self.size[1] > self.stride[1]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stage:
    """One layer of neurons with its synapses: weights → sums → levels → pool.

    A linear layer is a convolution of a 1×1 image.  Shapes are (channels,
    height, width) without the batch axis:

    ``input_shape`` what arrives, ``sum_shape`` the neurons, ``output_shape``
    what leaves after the pool.
    """

    name: str
    weights: NDArray[Any]  # (out_channels, in_channels, kernel_height, kernel_width)
    weight_levels: Levels
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    input_shape: tuple[int, int, int]
    sum_shape: tuple[int, int, int]
    output_shape: tuple[int, int, int]
    thresholds: NDArray[np.int32] | None  # None for the read-out
    directions: NDArray[np.int8] | None
    levels: Levels | None
    pool: Pool | None
    input_maximum: int  # largest magnitude of an arriving level
    spikes_per_input: int  # spikes one arriving neuron can send in a frame

    @property
    def neurons(self) -> int:
        """Number of neurons (before the pool)."""
        return int(np.prod(self.sum_shape))

    @property
    def outputs(self) -> int:
        """Number of neurons whose levels leave (after the pool)."""
        return int(np.prod(self.output_shape))

    @property
    def inputs(self) -> int:
        """Number of neurons that send to this layer."""
        return int(np.prod(self.input_shape))

    @property
    def is_readout(self) -> bool:
        """Whether this is the last layer, read out as sums."""
        return self.levels is None

    @property
    def fan_in(self) -> int:
        """Synapses of one neuron (inside the image)."""
        return int(np.prod(self.weights.shape[1:]))

    @property
    def synapses(self) -> int:
        """Number of (input neuron, neuron) pairs; padding makes none."""
        first, last = zip(*(self.tap_range(axis) for axis in (0, 1)))
        rows, columns = (int(np.maximum(b - a, 0).sum()) for a, b in zip(first, last))
        return int(self.weights.shape[0] * self.weights.shape[1] * rows * columns)

    @property
    def extent(self) -> tuple[int, int]:
        """Rows and columns from the first tap of a kernel to its last."""
        return _extent(self.weights.shape[2:], self.dilation)

    def taps(self, axis: int) -> NDArray[np.int64]:
        """For each tap of an axis, where neuron 0 meets the image (below 0: in the padding)."""
        return np.arange(self.weights.shape[2 + axis]) * self.dilation[axis] - self.padding[axis]

    def tap_range(self, axis: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """For each tap of an axis the neurons [first, last) that meet the image through it."""
        stride, size, neurons = (
            self.stride[axis],
            self.input_shape[1 + axis],
            self.sum_shape[1 + axis],
        )
        taps = self.taps(axis)  # neuron n meets n · stride + tap
        first, last = -(taps // stride), (size - 1 - taps) // stride + 1
        return np.clip(first, 0, neurons), np.clip(last, 0, neurons)


def _extent(kernel: Sequence[int], dilation: Sequence[int]) -> tuple[int, int]:
    height, width = ((kernel[a] - 1) * dilation[a] + 1 for a in (0, 1))
    return height, width


@dataclass(frozen=True, kw_only=True, eq=False)
class Network:
    """A network of integers: weights, thresholds and directions, nothing else.

    Layers must read: weighted layer (:class:`Linear`, :class:`Conv2d`), then
    :class:`Threshold`, with at most one :class:`MaxPool2d` before or after the
    threshold and :class:`Flatten` where an image meets a linear layer; the
    last weighted layer is followed by :class:`Readout` alone.

    Parameters
    ----------
    name : str
        Shown in every table and trace.
    input : Input
        Shape and encoding of samples.
    layers : sequence of layers
    meta : dict, optional
        Anything JSON can hold (accuracy, provenance); it does not take part
        in comparison or in the hash.

    Raises
    ------
    NetworkError
        Layers that do not fit together; names the layer.

    Examples
    --------
    >>> import numpy as np, neuromorph as nm
    >>> from neuromorph.network import Input, Linear, Readout, Threshold
    >>> net = nm.Network(
    ...     name="tiny",
    ...     input=Input(shape=(3,)),
    ...     layers=[
    ...         Linear(name="hidden", weights=np.array([[1, -1, 0], [0, 1, 1]])),
    ...         Threshold(thresholds=np.array([[0, 2], [0, 2]])),
    ...         Linear(name="output", weights=np.array([[1, 0], [-1, 1]])),
    ...         Readout(),
    ...     ],
    ... )
    >>> [(s.name, s.fan_in, s.neurons) for s in net.stages]
    [('hidden', 3, 2), ('output', 2, 2)]
    """

    name: str
    input: Input
    layers: Sequence[Layer]
    meta: dict[str, Any] = field(default_factory=dict)
    stages: tuple[Stage, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if (
            not isinstance(self.name, str)
            or not 1 <= len(self.name) <= 128
            or not self.name.isprintable()
        ):
            raise NetworkError(f"network name is {self.name!r}; use 1 to 128 printable characters")
        if not isinstance(self.input, Input):
            raise NetworkError(f"input is {self.input!r}; give an Input(shape=..., encoding=...)")
        if not isinstance(self.layers, Sequence):
            raise NetworkError(f"layers are {self.layers!r}; give a list of layers")
        object.__setattr__(self, "layers", tuple(self.layers))
        object.__setattr__(self, "stages", tuple(_lower(self.input, self.layers)))

    def __repr__(self) -> str:
        return (
            f"<Network {self.name!r}: {self.input.encoding} input {list(self.input.shape)}, "
            f"{len(self.stages)} layers, {self.neurons} neurons, {self.synapses} synapses>"
        )

    def _repr_html_(self) -> str:
        """A row a layer, for notebooks."""
        rows = [
            [
                s.name,
                "×".join(map(str, s.weights.shape)),
                f"Z_{s.weight_levels.n}",
                "×".join(map(str, s.output_shape)),
                "sums" if s.levels is None else f"Z_{s.levels.n}",
                f"{s.neurons:,}",
                f"{s.synapses:,}",
            ]
            for s in self.stages
        ]
        header = ["layer", "weights", "of", "gives", "of", "neurons", "synapses"]
        return html_table(repr(self).strip("<>"), header, rows)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Network) and self.hash == other.hash

    def __hash__(self) -> int:
        return hash(self.hash)

    @property
    def classes(self) -> int:
        """Number of read-out neurons."""
        return self.stages[-1].outputs

    @property
    def neurons(self) -> int:
        """Neurons of all layers, inputs not counted."""
        return sum(s.neurons for s in self.stages)

    @property
    def synapses(self) -> int:
        """(neuron, neuron) pairs of all layers, zero weights included."""
        return sum(s.synapses for s in self.stages)

    @property
    def weight_count(self) -> int:
        """Stored weights (a shared kernel counts once)."""
        return sum(s.weights.size for s in self.stages)

    @property
    def weight_bits(self) -> int:
        """Bits of all packed weights."""
        return sum(s.weights.size * s.weight_levels.bits for s in self.stages)

    def stage(self, name: str) -> Stage:
        """The layer of that name.

        Raises
        ------
        NetworkError
            No such layer; lists those there are.
        """
        for stage in self.stages:
            if stage.name == name:
                return stage
        names = ", ".join(s.name for s in self.stages)
        raise NetworkError(f"network {self.name!r} has no layer {name!r}; its layers are {names}")

    def encode(self, raw: ArrayLike) -> NDArray[np.int16]:
        """Raw integer samples (batch, *shape) to input levels (batch, size); see Input."""
        return self.input.encode(raw)

    def scores(self, outputs: NDArray[np.int32]) -> NDArray[np.float32]:
        """Read-out scores (batch, classes) from the last sums, float32."""
        readout = self.layers[-1]
        assert isinstance(readout, Readout)
        scores: NDArray[np.float32] = outputs.astype(np.float32)
        if readout.scale is not None:
            scores = scores * readout.scale
        if readout.offset is not None:
            scores = scores + readout.offset
        return scores

    def predict(self, outputs: NDArray[np.int32]) -> NDArray[np.int64]:
        """Class of the highest score, ties to the lowest class."""
        classes: NDArray[np.int64] = np.argmax(self.scores(outputs), axis=1)
        return classes

    @property
    def hash(self) -> str:
        """SHA-256 of everything that computes (not the name, not ``meta``)."""
        digest = hashlib.sha256()
        i = self.input
        digest.update(json.dumps([i.shape, i.encoding, i.bits, i.thresholds]).encode())
        for layer in self.layers:
            kind, fields, arrays = describe_layer(layer)
            digest.update(json.dumps([kind, fields], sort_keys=True).encode())
            for key in sorted(arrays):
                array = arrays[key]
                wide = array.astype("<f4" if array.dtype.kind == "f" else "<i4")
                digest.update(json.dumps([key, list(wide.shape)]).encode())
                digest.update(wide.tobytes())
        return digest.hexdigest()


def describe_layer(layer: Layer) -> tuple[str, dict[str, Any], dict[str, NDArray[Any]]]:
    """(kind, plain fields, arrays) of a layer: what the hash and the file are made of."""
    if isinstance(layer, Linear):
        return "linear", {"name": layer.name, "n": layer.n}, {"weights": layer.weights}
    if isinstance(layer, Conv2d):
        fields = {
            "name": layer.name,
            "n": layer.n,
            "stride": list(layer.stride),
            "padding": list(layer.padding),
        }
        if layer.dilation != (1, 1):  # left out, hashes and files are as before format 1.2
            fields["dilation"] = list(layer.dilation)
        return "conv2d", fields, {"weights": layer.weights}
    if isinstance(layer, MaxPool2d):
        assert layer.stride is not None
        return "maxpool2d", {"size": list(layer.size), "stride": list(layer.stride)}, {}
    if isinstance(layer, Flatten):
        return "flatten", {}, {}
    if isinstance(layer, Threshold):
        assert layer.directions is not None
        arrays = {"thresholds": layer.thresholds, "directions": layer.directions}
        return "threshold", {"n": layer.n}, arrays
    affine = {"scale": layer.scale, "offset": layer.offset}
    return "readout", {}, {k: v for k, v in affine.items() if v is not None}


def _lower(entry: Input, layers: Sequence[Layer]) -> list[Stage]:
    """Check that layers fit together and join them into stages."""
    for layer in layers:
        if not isinstance(layer, Layer):
            raise NetworkError(
                f"{type(layer).__name__} is not a layer; use Linear, Conv2d, MaxPool2d, "
                "Flatten, Threshold, Readout"
            )
    if not layers or not isinstance(layers[-1], Readout):
        raise NetworkError("the last layer must be Readout")
    _check_neurons(entry.shape, "input")
    stages: list[Stage] = []
    shape: tuple[int, ...] = entry.shape
    maximum, spikes = entry.maximum, entry.spikes_per_neuron
    rest = list(layers)
    while rest:
        if isinstance(rest[0], Flatten):
            shape = (int(np.prod(shape)),)
            rest.pop(0)
        if not rest or not isinstance(rest[0], (Linear, Conv2d)):
            found = type(rest[0]).__name__ if rest else "nothing"
            after = f"after layer {stages[-1].name!r}" if stages else "at the start"
            raise NetworkError(f"{after} a Linear or Conv2d must follow, not {found}")
        stage = _stage(rest, shape, maximum, spikes)
        if any(s.name == stage.name for s in stages):
            raise NetworkError(f"two layers have the name {stage.name!r}; names must differ")
        stages.append(stage)
        shape = stage.output_shape
        if stage.levels is None:
            if rest:
                raise NetworkError(
                    f"layer {stage.name!r} is read out, but {len(rest)} more layers follow"
                )
            break
        maximum, spikes = stage.levels.maximum, 1
    return stages


def _check_neurons(shape: tuple[int, ...], where: str) -> None:
    count = math.prod(shape)
    if count > MAX_NEURONS:
        raise NetworkError(f"{where} has {count} neurons; at most {MAX_NEURONS} are possible")


def _stage(rest: list[Layer], shape: tuple[int, ...], maximum: int, spikes: int) -> Stage:
    """Take one weighted layer with its threshold and pool off the front of ``rest``."""
    layer = rest.pop(0)
    assert isinstance(layer, (Linear, Conv2d))
    where = f"layer {layer.name!r}"
    if isinstance(layer, Linear):
        if len(shape) == 3 and shape[1:] != (1, 1):
            raise NetworkError(
                f"{where} is linear but gets an image of shape {list(shape)}; put Flatten before it"
            )
        input_shape = (shape[0], 1, 1)
        weights = layer.weights[:, :, None, None]
        stride, padding, dilation = (1, 1), (0, 0), (1, 1)
    else:
        input_shape = (shape[0], shape[1], shape[2]) if len(shape) == 3 else (shape[0], 1, 1)
        weights, stride, padding = layer.weights, layer.stride, layer.padding
        dilation = layer.dilation
    if weights.shape[1] != input_shape[0]:
        raise NetworkError(
            f"{where} has weights for {weights.shape[1]} inputs but gets {input_shape[0]} "
            f"(shape {list(shape)})"
        )
    extent, kernel = _extent(weights.shape[2:], dilation), f"{list(weights.shape[2:])}"
    if dilation != (1, 1):
        kernel += f" with dilation {list(dilation)}"
    if max(extent) > EXTENT_LIMIT:
        raise NetworkError(
            f"{where}: a kernel of {kernel} spans {list(extent)} pixels; at most {EXTENT_LIMIT}"
        )
    if any(padding[a] >= extent[a] for a in (0, 1)):
        raise NetworkError(
            f"{where}: padding {list(padding)} must be smaller than the kernel {kernel}"
        )
    height, width = (
        (input_shape[1 + a] + 2 * padding[a] - extent[a]) // stride[a] + 1 for a in (0, 1)
    )
    if height < 1 or width < 1:
        raise NetworkError(
            f"{where}: a kernel of {kernel} does not fit its input "
            f"{list(input_shape)} with padding {list(padding)}"
        )
    magnitude = np.abs(weights.astype(np.int64)).sum(axis=(1, 2, 3)) * maximum
    if int(magnitude.max()) > SUM_LIMIT:
        raise NetworkError(
            f"{where}: a sum may reach {int(magnitude.max())}, beyond 32-bit integers"
        )
    sum_shape = (weights.shape[0], height, width)
    _check_neurons(sum_shape, where)
    pool_layer = rest.pop(0) if rest and isinstance(rest[0], MaxPool2d) else None
    pooled_sums = pool_layer is not None
    head = rest.pop(0) if rest else None
    if not isinstance(head, (Threshold, Readout)):
        found = "nothing" if head is None else type(head).__name__
        raise NetworkError(f"{where} must be followed by Threshold or Readout, not {found}")
    if isinstance(head, Readout):
        if pool_layer is not None or sum_shape[1:] != (1, 1):
            raise NetworkError(
                f"{where} is read out, so it must give one sum a class, not {list(sum_shape)}"
                + (" pooled" if pool_layer else "")
            )
        for what in ("scale", "offset"):
            value = getattr(head, what)
            if value is not None and len(value) != sum_shape[0]:
                raise NetworkError(
                    f"read-out: {what} has {len(value)} values for {sum_shape[0]} classes"
                )
        thresholds = directions = levels = pool = None
        output_shape = sum_shape
    else:
        if len(head.thresholds) != sum_shape[0]:
            raise NetworkError(
                f"{where} has {sum_shape[0]} channels but its threshold has {len(head.thresholds)}"
            )
        thresholds, directions, levels = head.thresholds, head.directions, Levels(head.n)
        if pool_layer is None and rest and isinstance(rest[0], MaxPool2d):
            pool_layer = rest.pop(0)
        pool, output_shape = None, sum_shape
        if isinstance(pool_layer, MaxPool2d):
            assert pool_layer.stride is not None
            assert directions is not None
            negative = directions < 0 if pooled_sums else np.zeros(sum_shape[0], bool)
            pool = Pool(size=pool_layer.size, stride=pool_layer.stride, minimum=negative)
            rows, columns = (
                (sum_shape[1 + a] - pool.size[a]) // pool.stride[a] + 1 for a in (0, 1)
            )
            if rows < 1 or columns < 1:
                raise NetworkError(
                    f"{where}: a pool of {list(pool.size)} does not fit {list(sum_shape)}"
                )
            output_shape = (sum_shape[0], rows, columns)
    stage = Stage(
        name=layer.name,
        weights=weights,
        weight_levels=Levels(layer.n),
        stride=stride,
        padding=padding,
        dilation=dilation,
        input_shape=input_shape,
        sum_shape=sum_shape,
        output_shape=output_shape,
        thresholds=thresholds,
        directions=directions,
        levels=levels,
        pool=pool,
        input_maximum=maximum,
        spikes_per_input=spikes,
    )
    _check_sight(stage)
    return stage


def _check_sight(stage: Stage) -> None:
    """Every neuron meets the image; between the taps of a dilated kernel it may slip through."""
    for axis, what in ((0, "row"), (1, "column")):
        neurons = stage.sum_shape[1 + axis]
        first, last = (edge[::-1] for edge in stage.tap_range(axis))  # both ascend
        seen = np.concatenate(([0], last))
        gaps = np.flatnonzero(np.append(first, neurons) > seen)
        if len(gaps):
            raise NetworkError(
                f"layer {stage.name!r}: neurons in {what} {int(seen[gaps[0]])} see nothing but "
                f"padding; use less padding than {list(stage.padding)} or less dilation than "
                f"{list(stage.dilation)}"
            )
