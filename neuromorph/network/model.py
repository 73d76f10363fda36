"""The integer network, and its lowered form that engines and mapping share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuromorph.errors import NetworkError
from neuromorph.events import html_table
from neuromorph.network.layers import (
    Concat,
    Conv2d,
    Flatten,
    Input,
    Layer,
    Linear,
    MaxPool2d,
    Readout,
    Requantize,
    Threshold,
)
from neuromorph.network.lowering import lower
from neuromorph.network.stage import Stage

__all__ = ["Network", "describe_layer"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Network:
    """A network of integers: weights, thresholds and directions, nothing else.

    Layers must read: weighted layer (:class:`Linear`, :class:`Conv2d`), then
    :class:`Threshold`, with at most one :class:`MaxPool2d` before or after the
    threshold and :class:`Flatten` where an image meets a linear layer; the
    last weighted layer is followed by :class:`Readout` alone.  A weighted layer
    hears the layer before it, or what a :class:`Concat` before it names: then
    the network is a graph with skip connections.

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
        object.__setattr__(self, "stages", tuple(lower(self.input, self.layers)))

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
        """Number of classes: channels of the read-out."""
        return self.stages[-1].output_shape[0]

    @property
    def outputs(self) -> int:
        """Number of read-out neurons: one a class, or one a class and pixel."""
        return self.stages[-1].outputs

    @property
    def pixels(self) -> tuple[int, ...]:
        """(height, width) where every pixel is classified (segmentation), else ()."""
        _, height, width = self.stages[-1].output_shape
        return () if (height, width) == (1, 1) else (height, width)

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

    @property
    def stored_bits(self) -> int:
        """Bits of all weights on a chip; see :attr:`Stage.weight_bits`."""
        return sum(s.weights.size * s.weight_bits for s in self.stages)

    def check_plain(self, what: str) -> None:
        """Refuse, for ``what`` cannot take them, joined sources, fixed point and classes of pixels.

        Raises
        ------
        NetworkError
            Names the first layer that hears something else than the layer before it, or
            rounds its sums.
        """
        for index, stage in enumerate(self.stages):
            if stage.joins or stage.sources[0].stage != index - 1:
                names = ["the input", *(repr(s.name) for s in self.stages)]
                heard = ", ".join(names[s.stage + 1] for s in stage.sources)
                raise NetworkError(
                    f"{what} takes plain sequences of layers only; layer {stage.name!r} of network "
                    f"{self.name!r} hears {heard}"
                )
        for stage in self.stages:
            if stage.rounding is not None:
                raise NetworkError(
                    f"{what} takes layers with thresholds only; layer {stage.name!r} of network "
                    f"{self.name!r} rounds its sums to fixed point"
                )
        if self.pixels:
            raise NetworkError(
                f"{what} takes one class a sample only; network {self.name!r} classifies every "
                "pixel"
            )

    def spikes_per_neuron(self, index: int) -> int:
        """Spikes a neuron of layer ``index`` (−1: the input) can send in a frame."""
        return self.input.spikes_per_neuron if index < 0 else 1

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

    def scores(self, outputs: NDArray[Any]) -> NDArray[np.float32]:
        """Read-out scores from the last sums (batch, outputs), float32.

        Shape (batch, classes), or (batch, classes, height, width) where every
        pixel is classified.
        """
        readout = self.layers[-1]
        assert isinstance(readout, Readout)
        scores: NDArray[np.float32] = outputs.astype(np.float32)
        along: tuple[int, ...] = (-1,)
        if self.pixels:
            scores, along = scores.reshape(-1, *self.stages[-1].output_shape), (-1, 1, 1)
        if readout.scale is not None:
            scores = scores * readout.scale.reshape(along)
        if readout.offset is not None:
            scores = scores + readout.offset.reshape(along)
        return scores

    def predict(self, outputs: NDArray[Any]) -> NDArray[np.int64]:
        """Class of the highest score, ties to the lowest class.

        Shape (batch,), or (batch, height, width) where every pixel is classified.
        """
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
                wide = array.astype("<f4" if array.dtype.kind == "f" else _HASHED[array.itemsize])
                digest.update(json.dumps([key, list(wide.shape)]).encode())
                digest.update(wide.tobytes())
        return digest.hexdigest()


_HASHED = {1: "<i4", 2: "<i4", 4: "<i4", 8: "<i8"}  # integers of so many bytes


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
    if isinstance(layer, Concat):
        assert layer.upsample is not None
        return "concat", {"sources": list(layer.sources), "upsample": list(layer.upsample)}, {}
    if isinstance(layer, Flatten):
        return "flatten", {}, {}
    if isinstance(layer, Threshold):
        assert layer.directions is not None
        arrays = {"thresholds": layer.thresholds, "directions": layer.directions}
        return "threshold", {"n": layer.n}, arrays
    if isinstance(layer, Requantize):
        assert layer.directions is not None
        arrays = {"offsets": layer.offsets, "directions": layer.directions}
        return (
            "requantize",
            {"n": layer.n, "shift": layer.shift, "limits": list(layer.limits)},
            arrays,
        )
    affine = {"scale": layer.scale, "offset": layer.offset}
    return "readout", {}, {k: v for k, v in affine.items() if v is not None}
