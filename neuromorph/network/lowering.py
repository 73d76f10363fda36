"""From the layers of a network to its stages: what fits together, and what hears what."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from neuromorph.errors import NetworkError
from neuromorph.levels import Levels
from neuromorph.network.layers import (
    INPUT_LAYER,
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
from neuromorph.network.stage import INT32_SUM, Pool, Rounding, Source, Stage, kernel_extent

__all__ = ["lower"]

SUM_LIMIT = 2**52  # exact in float64
EXTENT_LIMIT = 2**24  # rows or columns a dilated kernel spans
MAX_NEURONS = 2**31 - 1  # of one layer, or of the input


@dataclass(frozen=True, slots=True)
class _Heard:
    """What a layer hears: levels of this shape, magnitude and number of spikes."""

    sources: tuple[Source, ...]
    shape: tuple[int, ...]
    maximum: int
    spikes: int


def lower(entry: Input, layers: Sequence[Layer]) -> list[Stage]:
    """Check that layers fit together and join them into stages.

    Raises
    ------
    NetworkError
        They do not; names the layer.
    """
    for layer in layers:
        if not isinstance(layer, Layer):
            raise NetworkError(
                f"{type(layer).__name__} is not a layer; use Linear, Conv2d, MaxPool2d, "
                "Concat, Flatten, Threshold, Requantize, Readout"
            )
    if not layers or not isinstance(layers[-1], Readout):
        raise NetworkError("the last layer must be Readout")
    _check_neurons(entry.shape, "input")
    shape = entry.shape if len(entry.shape) == 3 else (*entry.shape, 1, 1)
    source = Source(stage=-1, shape=(shape[0], shape[1], shape[2]))
    known = {INPUT_LAYER: _Heard((source,), entry.shape, entry.maximum, entry.spikes_per_neuron)}
    before = INPUT_LAYER
    stages: list[Stage] = []
    rest = list(layers)
    while rest:
        heard = known[before]
        after = f"after layer {stages[-1].name!r}" if stages else "at the start"
        if isinstance(rest[0], Concat):
            heard, after = _join(rest.pop(0), known, rest), f"{after}, behind Concat,"
        elif isinstance(rest[0], Flatten):
            heard = replace(heard, shape=(math.prod(heard.shape),))
            rest.pop(0)
        if not rest or not isinstance(rest[0], (Linear, Conv2d)):
            found = type(rest[0]).__name__ if rest else "nothing"
            raise NetworkError(f"{after} a Linear or Conv2d must follow, not {found}")
        stage = _stage(rest, heard)
        if stage.name in known:
            raise NetworkError(f"two layers have the name {stage.name!r}; names must differ")
        stages.append(stage)
        if stage.levels is None:
            if rest:
                raise NetworkError(
                    f"layer {stage.name!r} is read out, but {len(rest)} more layers follow"
                )
            break
        source = Source(stage=len(stages) - 1, shape=stage.output_shape)
        known[stage.name] = _Heard((source,), stage.output_shape, stage.highest_level, 1)
        before = stage.name
    used = {source.stage for stage in stages for source in stage.sources}
    for place, name in enumerate(known, start=-1):
        if place not in used:
            what = "the input" if place < 0 else f"layer {name!r}"
            raise NetworkError(f"{what} is heard by no layer; name it in a Concat or leave it out")
    return stages


def _join(layer: Layer, known: dict[str, _Heard], rest: Sequence[Layer]) -> _Heard:
    """What a Concat lets the next layer hear."""
    assert isinstance(layer, Concat)
    assert layer.upsample is not None
    follower = next((f for f in rest if isinstance(f, (Linear, Conv2d))), None)
    where = "a layer" if follower is None else f"layer {follower.name!r}"
    sources: list[Source] = []
    first = 0
    for name, factor in zip(layer.sources, layer.upsample):
        if name not in known:
            raise NetworkError(
                f"{where} hears {name!r}, which does not come before it; what does is "
                f"{', '.join(known)}"
            )
        source = replace(known[name].sources[0], upsample=factor, first=first)
        sources.append(source)
        first += source.shape[0]
        if source.arriving[1:] != sources[0].arriving[1:]:
            raise NetworkError(
                f"{where} joins {layer.sources[0]!r} of {_size(sources[0])} and {name!r} of "
                f"{_size(source)}; up-sample them to one size"
            )
    heard = [known[name] for name in layer.sources]
    spikes = {h.spikes for h in heard}
    if len(spikes) > 1:
        raise NetworkError(
            f"{where} joins a bitplane input of several bits with other layers; use ternary or "
            "graded input"
        )
    shape = (first, *sources[0].arriving[1:])
    _check_neurons(shape, f"what arrives at {where}")
    return _Heard(tuple(sources), shape, max(h.maximum for h in heard), spikes.pop())


def _size(source: Source) -> str:
    """'16×16', or '8×8 up-sampled by 2'."""
    size = "×".join(map(str, source.shape[1:]))
    return size if source.upsample == 1 else f"{size} up-sampled by {source.upsample}"


def _check_neurons(shape: tuple[int, ...], where: str) -> None:
    count = math.prod(shape)
    if count > MAX_NEURONS:
        raise NetworkError(f"{where} has {count} neurons; at most {MAX_NEURONS} are possible")


def _stage(rest: list[Layer], heard: _Heard) -> Stage:
    """Take one weighted layer with its threshold and pool off the front of ``rest``."""
    layer, shape = rest.pop(0), heard.shape
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
    extent, kernel = kernel_extent(weights.shape[2:], dilation), f"{list(weights.shape[2:])}"
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
    sum_shape = (weights.shape[0], height, width)
    _check_neurons(sum_shape, where)
    pool_layer = rest.pop(0) if rest and isinstance(rest[0], MaxPool2d) else None
    pooled_sums = pool_layer is not None
    head = rest.pop(0) if rest else None
    if not isinstance(head, (Threshold, Requantize, Readout)):
        found = "nothing" if head is None else type(head).__name__
        raise NetworkError(
            f"{where} must be followed by Threshold, Requantize or Readout, not {found}"
        )
    magnitude = np.abs(weights.astype(np.int64)).sum(axis=(1, 2, 3))
    largest = int(magnitude.max()) * heard.maximum
    if isinstance(head, Threshold) and largest > INT32_SUM:
        raise NetworkError(f"{where}: a sum may reach {largest}, beyond 32-bit integers")
    if largest > SUM_LIMIT:
        raise NetworkError(f"{where}: a sum may reach {largest}; at most 2^52 is counted exactly")
    if isinstance(head, Readout):
        if pool_layer is not None:
            raise NetworkError(f"{where} is read out, so no pool may follow it")
        for what in ("scale", "offset"):
            value = getattr(head, what)
            if value is not None and len(value) != sum_shape[0]:
                raise NetworkError(
                    f"read-out: {what} has {len(value)} values for {sum_shape[0]} classes"
                )
        thresholds = rounding = directions = levels = pool = None
        output_shape = sum_shape
    else:
        directions, levels = head.directions, Levels(head.n)
        assert directions is not None
        if len(directions) != sum_shape[0]:
            what = "threshold" if isinstance(head, Threshold) else "requantization"
            raise NetworkError(
                f"{where} has {sum_shape[0]} channels but its {what} has {len(directions)}"
            )
        thresholds, rounding = None, None
        if isinstance(head, Threshold):
            thresholds = head.thresholds
        else:
            low, high = head.limits
            rounding = Rounding(offsets=head.offsets, shift=head.shift, low=low, high=high)
        if pool_layer is None and rest and isinstance(rest[0], MaxPool2d):
            pool_layer = rest.pop(0)
        pool, output_shape = None, sum_shape
        if isinstance(pool_layer, MaxPool2d):
            assert pool_layer.stride is not None
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
        sources=heard.sources,
        weights=weights,
        weight_levels=Levels(layer.n),
        stride=stride,
        padding=padding,
        dilation=dilation,
        input_shape=input_shape,
        sum_shape=sum_shape,
        output_shape=output_shape,
        thresholds=thresholds,
        rounding=rounding,
        directions=directions,
        levels=levels,
        pool=pool,
        input_maximum=heard.maximum,
        spikes_per_input=heard.spikes,
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
