"""Float layers of another framework as integer layers: what all importers share.

An importer reads a model into a chain of :class:`Synapses`, :class:`Pool`,
:class:`Flat` and :class:`Pointwise`, the last being whatever acts on each
neuron alone, as a function that the framework itself evaluates.  Weights on a
grid become levels with one unit for each output; the functions behind them are
monotone in the integer sum, so their thresholds are found by bisection.

Frameworks add up floats, and a sum of units that are no powers of two rounds.
The integer network decides as the framework does on the exact sum;
:func:`check` says how often rounding made the framework decide otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromorph.errors import NetworkError
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
    Stage,
    Threshold,
)
from neuromorph.reference.counting import correlate, fire, pool

__all__ = [
    "Chain",
    "Flat",
    "Pointwise",
    "Pool",
    "Synapses",
    "assemble",
    "bisect",
    "check",
    "find_input",
    "find_levels",
    "find_unit",
    "probe",
    "smallest_space",
]

Floats = NDArray[np.float32]
Function = Callable[[Floats], Floats]

MOST = 128  # largest level of a weight or activation
SUPPORTED = (
    "supported are linear layers, 2-D convolutions, max-pools, flattening and, between them, "
    "what acts on each neuron alone and gives few levels (batch norm, sign, ternary and "
    "quantised activations)"
)
TRAIN = (
    "train with discrete weights (neuromorph train RECIPE, docs/training.md) or quantise the float "
    "network with neuromorph.training.quantize"
)
_SAMPLED = 4096
_PROBED = 4095  # integers to each side at which a function of the input is looked at


@dataclass(frozen=True, kw_only=True, eq=False)
class Synapses:
    """A weighted layer: real weights (out, in) or (out, in, height, width)."""

    name: str
    weights: NDArray[Any]
    bias: NDArray[Any] | None = None
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Max-pool without padding."""

    size: tuple[int, int]
    stride: tuple[int, int]


@dataclass(frozen=True)
class Flat:
    """(channels, height, width) to (features,)."""


@dataclass(frozen=True, eq=False)
class Pointwise:
    """What acts on each neuron alone: float32 (batch, channels, …) to the same shape."""

    name: str
    apply: Function


Step = Synapses | Pool | Flat | Pointwise


@dataclass(frozen=True, kw_only=True, eq=False)
class Chain:
    """An imported network, and the unit (value of one level) of what arrives at each layer."""

    network: Network
    units: tuple[float, ...]
    stages: tuple[_Stage, ...]


# --- grids


def find_unit(values: NDArray[Any], most: int = MOST) -> float | None:
    """Largest u such that all values are whole multiples of it, up to ``most``; None if none is.

    "Whole" leaves room for the rounding of float32.
    """
    sizes = np.unique(np.abs(np.asarray(values, np.float64)))
    sizes = sizes[sizes > 0]
    if not len(sizes):
        return 1.0
    if len(sizes) > most or not np.isfinite(sizes[-1]):
        return None
    for k in range(1, most + 1):
        ratio = sizes * (k / sizes[-1])
        whole = np.rint(ratio)
        if whole[0] >= 1 and np.abs(ratio - whole).max() <= k * 2.0**-20:
            return float(sizes[0] / whole[0])
    return None


def find_levels(weights: NDArray[Any], name: str) -> tuple[NDArray[Any], NDArray[np.float64], int]:
    """(levels, unit of each output, n of the space) of real weights (out, …).

    Raises
    ------
    NetworkError
        Weights on no grid: how far off they are, and what to do.
    """
    weights = np.asarray(weights, np.float64)
    if not np.isfinite(weights).all():
        raise NetworkError(f"layer {name!r}: weights that are not finite")
    whole = find_unit(weights)
    found = [whole] * len(weights) if whole else [find_unit(row) for row in weights]
    if any(unit is None for unit in found):
        steps = np.abs(weights).max() / np.arange(1, MOST + 1)
        flat = weights.reshape(1, -1) / steps[:, None]
        off = np.abs(flat - np.rint(flat)).max(axis=1)
        best = int(off.argmin())
        raise NetworkError(
            f"layer {name!r} has float weights on no grid of at most {2 * MOST + 1} levels: on the "
            f"nearest, of step {steps[best]:.6g}, they are up to {off[best]:.2g} steps off; {TRAIN}"
        )
    units = np.array(found, np.float64)
    axes = (-1,) + (1,) * (weights.ndim - 1)
    levels = np.rint(weights / units.reshape(axes)).astype(np.int16)
    return levels, units, smallest_space(levels)


def smallest_space(levels: NDArray[Any]) -> int:
    """Smallest n whose Z_n holds the levels."""
    largest = int(np.abs(levels).max(initial=0))
    if largest == 1 and (levels != 0).all():
        return 0
    return next(n for n in range(1, 9) if Levels(n).maximum >= largest)


def find_input(
    raw: NDArray[Any], arriving: NDArray[Any], apply: Function | None, bits: int | None
) -> tuple[Input, float, NDArray[np.int64]]:
    """(input of the network, its unit, integer samples) from examples of a float model.

    Parameters
    ----------
    raw : array (samples, *shape)
        What the model was given.
    arriving : array (samples, …)
        What of it arrives at the first weighted layer.
    apply : function, optional
        What stands in between.
    bits : int, optional
        Bits of an input level, where examples may not show the largest.

    Raises
    ------
    NetworkError
        Samples on no grid.
    """
    shape, whole = raw.shape[1:], bool((raw == np.rint(raw)).all())
    unit = 1.0 if apply is None and whole else find_unit(arriving, 4095)
    if apply is not None and whole:  # not of the examples alone, which may not show every level
        low, high = min(int(raw.min()), -_PROBED), max(int(raw.max()), _PROBED)
        numbers = np.arange(low, high + 1)
        given = numbers.astype(np.float32).reshape(-1, *(1,) * len(shape))
        values = np.asarray(apply(given), np.float64).ravel()
        seen = find_unit(values, 4095)
        unit = unit if seen is None else seen
        levels = None if seen is None else np.rint(values / seen).astype(np.int64)
        if (
            levels is not None
            and (np.diff(levels) >= 0).all()
            and np.abs(levels).max(initial=0) <= 1
            and not np.array_equal(levels, numbers)
        ):
            low, high = (int(numbers[0] + np.searchsorted(levels, goal)) for goal in (0, 1))
            entry = Input(shape=shape, thresholds=(low, high))
            return entry, 1.0 if seen is None else seen, raw.astype(np.int64)
    if unit is None:
        raise NetworkError(
            "example_input holds floats on no grid of at most 4095 levels a side; give integers, "
            "or quantise the input first in the model itself"
        )
    samples = np.rint(np.asarray(arriving, np.float64) / unit).astype(np.int64)
    largest = int(np.abs(samples).max(initial=0))
    if apply is not None and bits is None:
        ends = np.array([-1e9, 1e9], np.float32).reshape(-1, *(1,) * len(shape))
        reached = np.abs(np.asarray(apply(ends), np.float64) / unit).max()
        largest = max(largest, int(np.rint(reached)) if reached <= 4095 else largest)
    samples = samples.reshape(len(raw), *shape)
    if largest <= 1 and bits is None:
        return Input(shape=shape), unit, samples
    entry = Input(shape=shape, encoding="graded", bits=bits or largest.bit_length())
    return entry, unit, samples


# --- folding


def assemble(
    name: str, entry: Input, unit: float, steps: Sequence[Step], meta: dict[str, Any]
) -> Chain:
    """The integer network of a chain; ``unit`` is the value of one input level.

    Raises
    ------
    NetworkError
        Weights on no grid, functions that are not monotone or give too many
        levels, an order of layers that has no integer form; names the layer.
    """
    groups: list[list[Step]] = []
    for step in steps:
        if isinstance(step, Synapses):
            groups.append([step])
        elif groups:
            groups[-1].append(step)
    if not groups:
        raise NetworkError(f"the model has no weighted layer; {SUPPORTED}")
    layers: list[Layer] = []
    units, stages = [unit], []
    maximum, is_image = entry.maximum, len(entry.shape) == 3
    for place, (first, *rest) in enumerate(groups):
        assert isinstance(first, Synapses)
        levels, unit_of, n = find_levels(first.weights, first.name)
        if levels.ndim == 2:
            layers += [Flatten()] if is_image else []
            layers.append(Linear(name=first.name, weights=levels, n=n))
            is_image = False
        else:
            layers.append(
                Conv2d(
                    name=first.name,
                    weights=levels,
                    n=n,
                    stride=first.stride,
                    padding=first.padding,
                    dilation=first.dilation,
                )
            )
            is_image = True
        reach = np.abs(levels.astype(np.int64)).reshape(len(levels), -1).sum(axis=1) * maximum
        stage = _Stage(first, unit_of * units[-1], int(reach.max()), rest)
        stages.append(stage)
        if place == len(groups) - 1:
            layers.append(stage.readout())
            continue
        found, maximum, unit = stage.threshold()
        layers += found
        units.append(unit)
    network = Network(name=name, input=entry, layers=layers, meta=meta)
    return Chain(network=network, units=tuple(units), stages=tuple(stages))


class _Stage:
    """A weighted layer with what follows it up to the next."""

    def __init__(
        self, first: Synapses, scale: NDArray[np.float64], reach: int, rest: Sequence[Step]
    ) -> None:
        self.first, self.reach, self.unit = first, max(reach, 1), 1.0
        self.scale = scale.astype(np.float32)
        self.bias = None if first.bias is None else np.asarray(first.bias, np.float32)
        pools = [s for s in rest if isinstance(s, Pool)]
        if len(pools) > 1:
            raise NetworkError(f"layer {first.name!r} is pooled twice; one max-pool is possible")
        self.pool = pools[0] if pools else None
        cut = rest.index(pools[0]) if pools else len(rest)
        self.before = [s for s in rest[:cut] if isinstance(s, Pointwise)]
        self.after = [s for s in rest[cut:] if isinstance(s, Pointwise)]

    def values(self, sums: NDArray[Any], parts: Sequence[Pointwise], *, start: bool) -> Floats:
        """Integer sums (or values) (count, channels) through some functions, in float32."""
        x = np.asarray(sums).astype(np.float32)
        if start:
            x = x * self.scale
            x = x if self.bias is None else x + self.bias
        shape = x.shape
        if self.first.weights.ndim == 4:
            x = x[:, :, None, None]
        for part in parts:
            x = apply(part, x, self.first.name)
        return x.reshape(shape)

    def sampled(self) -> NDArray[np.int64]:
        """Sums at which functions are looked at: all, or many evenly spaced."""
        count = min(2 * self.reach + 1, _SAMPLED + 1)
        sums = np.unique(np.linspace(-self.reach, self.reach, count).round().astype(np.int64))
        return np.repeat(sums[:, None], len(self.scale), axis=1)

    def between(
        self, sums: NDArray[np.int64], values: Floats, parts: Sequence[Pointwise]
    ) -> NDArray[Any]:
        """Values between sampled sums: every jump of a step function is halved down to one sum.

        A function of more values than levels are possible is given up on; what was seen tells.
        """
        place, channel = np.nonzero(values[1:] != values[:-1])
        low, high = sums[place, channel], sums[place + 1, channel]
        below, above = values[place, channel], values[place + 1, channel]
        seen = [np.zeros(0, np.float32)]
        while (wide := high - low > 1).any() and len(low) <= (2 * MOST + 2) * len(self.scale):
            low, high, channel = low[wide], high[wide], channel[wide]
            below, above = below[wide], above[wide]
            middle = (low + high) // 2
            # one sum a channel and row: the k-th jump of each channel in row k
            order = np.argsort(channel, kind="stable")
            counts = np.bincount(channel, minlength=len(self.scale))
            row = np.empty(len(channel), np.int64)
            row[order] = np.arange(len(channel)) - np.repeat(np.cumsum(counts) - counts, counts)
            table = np.zeros((int(counts.max()), len(self.scale)), np.int64)
            table[row, channel] = middle
            found = self.values(table, parts, start=True)[row, channel]
            seen.append(found)
            left, right = below != found, found != above
            low = np.concatenate([low[left], middle[right]])
            high = np.concatenate([middle[left], high[right]])
            below, above = (
                np.concatenate([below[left], found[right]]),
                np.concatenate([found[left], above[right]]),
            )
            channel = np.concatenate([channel[left], channel[right]])
        return np.concatenate(seen)

    def readout(self) -> Readout:
        """Scores: whatever follows must be affine in the sum."""
        parts, name = [*self.before, *self.after], self.first.name
        if self.pool is not None:
            raise NetworkError(f"layer {name!r} is the last one, so it cannot be pooled")
        zeros = np.zeros((1, len(self.scale)), np.int64)
        offset = self.values(zeros, parts, start=True)[0].astype(np.float64)
        slope = self.values(zeros + self.reach, parts, start=True)[0] - offset
        slope = slope / self.reach if parts else self.scale.astype(np.float64)
        sums = self.sampled()
        wanted = self.values(sums, parts, start=True).astype(np.float64)
        off = np.abs(sums * slope + offset - wanted).max()
        if not off <= 1e-4 * max(np.abs(wanted).max(), 1e-30):
            raise NetworkError(
                f"layer {name!r} is the last one, so what follows it must be linear; "
                f"{', '.join(p.name for p in parts)} is not; let the model end with its scores"
            )
        return Readout(scale=slope, offset=offset)

    def threshold(self) -> tuple[list[Layer], int, float]:
        """(threshold with its pool, largest level that leaves, value of one level)."""
        parts, name = [*self.before, *self.after], self.first.name
        if not parts:
            raise NetworkError(f"layer {name!r} has no activation before the next weighted layer")
        sums = self.sampled()
        values = self.values(sums, parts, start=True)
        between = self.between(sums, values, parts) if np.isfinite(values).all() else values
        every = np.concatenate([np.unique(values), np.unique(between)])
        unit = find_unit(every) if np.isfinite(every).all() else None
        if unit is None:
            raise NetworkError(
                f"layer {name!r}: {', '.join(p.name for p in parts)} gives values on no grid of at "
                f"most {2 * MOST + 1} levels; end it with a sign, ternary or quantised activation"
            )
        n = smallest_space(np.rint(every / unit))
        space = Levels(n)
        direction = np.where(values[-1] < values[0], -1, 1)
        goals = space.levels[1:].astype(np.int64)

        def reaches(place: NDArray[np.int64]) -> NDArray[np.bool_]:
            found = self.values((direction[:, None] * place).T, parts, start=True).T
            whole: NDArray[np.bool_] = np.rint(found / unit) >= goals
            return whole

        thresholds = bisect(reaches, (len(direction), len(goals)), self.reach)
        layer = Threshold(thresholds=thresholds, directions=direction.astype(np.int8), n=n)
        climbed = (sums[:, :, None] * direction[:, None] >= thresholds).sum(axis=2)
        wrong = space.stride * climbed - space.maximum != np.rint(values / unit)
        if wrong.any():
            sample, channel = (int(i) for i in np.argwhere(wrong)[0])
            raise NetworkError(
                f"layer {name!r}: {', '.join(p.name for p in parts)} is not monotone, or not on "
                f"its grid: channel {channel} at sum {int(sums[sample, channel])}"
            )
        self.unit = unit
        return self._pooled(layer, sums), space.maximum, unit

    def levels(self, sums: NDArray[Any]) -> NDArray[np.int64]:
        """Levels of sums (batch, channels, rows, columns), which need not be whole."""
        rows = np.moveaxis(sums, 1, -1)
        values = self.values(
            rows.reshape(-1, sums.shape[1]), [*self.before, *self.after], start=True
        )
        levels = np.rint(values / self.unit).astype(np.int64).reshape(rows.shape)
        return np.ascontiguousarray(np.moveaxis(levels, -1, 1))

    def _pooled(self, threshold: Threshold, sums: NDArray[np.int64]) -> list[Layer]:
        """The threshold, with the pool before or after it, whichever means the same."""
        if self.pool is None:
            return [threshold]
        layer = MaxPool2d(size=self.pool.size, stride=self.pool.stride)
        inner = self.values(sums, self.before, start=True)
        if (np.diff(inner, axis=0) >= 0).all() and (self.scale >= 0).all():
            return [layer, threshold]  # the largest sum makes the largest value
        ordered = np.sort(inner, axis=0)
        if (np.diff(self.values(ordered, self.after, start=False), axis=0) >= 0).all():
            return [threshold, layer]  # the largest value makes the largest level
        raise NetworkError(
            f"layer {self.first.name!r}: its max-pool stands between scales of different sign; "
            "put it right behind the weighted layer or behind the activation"
        )


def apply(part: Pointwise, x: Floats, layer: str) -> Floats:
    """A function of the framework; its failures are ours to tell."""
    try:
        with np.errstate(all="ignore"):
            result = np.asarray(part.apply(x), np.float32)
    except NetworkError:
        raise
    except Exception as error:  # whatever a framework raises
        text = str(error).split("\n")[0]
        raise NetworkError(
            f"{part.name} after layer {layer!r} cannot be imported ({text}); {SUPPORTED}"
        ) from None
    if result.shape != x.shape:
        raise NetworkError(
            f"{part.name} after layer {layer!r} does not act on each neuron alone: shape "
            f"{list(x.shape)} becomes {list(result.shape)}; {SUPPORTED}"
        )
    return result


def probe(part: Pointwise, channels: int, is_image: bool, layer: str) -> None:
    """Refuse a function that lets neurons act on each other.

    Raises
    ------
    NetworkError
        Names the function.
    """
    rng = np.random.default_rng(0)
    shape = (4, channels, 3, 3) if is_image else (4, channels)
    x = (rng.normal(size=shape) * 3).astype(np.float32)
    whole = apply(part, x, layer)
    alone = apply(part, x[::-1, :, :1, :1].copy() if is_image else x[::-1].copy(), layer)
    same = np.array_equal(whole[::-1, :, :1, :1] if is_image else whole[::-1], alone)
    if channels > 1:
        x[:, 0] = -x[:, 0] * 2
        same = same and np.array_equal(apply(part, x, layer)[:, 1:], whole[:, 1:])
    if not same:
        raise NetworkError(
            f"{part.name} after layer {layer!r} does not act on each neuron alone; {SUPPORTED}"
        )


def bisect(
    reaches: Callable[[NDArray[np.int64]], NDArray[np.bool_]], shape: tuple[int, int], bound: int
) -> NDArray[np.int64]:
    """Smallest sums that reach something monotone, (channels, steps), within ±bound.

    ``THRESHOLD_MIN`` where every sum does, ``THRESHOLD_MAX`` where none does.
    """
    low = np.full(shape, -bound - 1, np.int64)  # not reached, as far as known
    high = np.full(shape, bound, np.int64)
    never, always = ~reaches(high), reaches(low + 1)
    while (high - low > 1).any():
        middle = (low + high) // 2
        reached = reaches(middle)
        high = np.where(reached, middle, high)
        low = np.where(reached, low, middle)
    high[never], high[always] = THRESHOLD_MAX, THRESHOLD_MIN
    return high


# --- proof


def check(
    chain: Chain, samples: NDArray[Any], values: Sequence[NDArray[Any]], framework: str
) -> tuple[int, int]:
    """Compare all levels of all layers with what a framework made of the same samples.

    Parameters
    ----------
    samples : integer array, shape (samples, *shape)
        Raw samples of the network.
    values : one array for each layer and one more
        Real values that arrive at each weighted layer, then the scores.
    framework : str
        Its name, for messages.

    Returns
    -------
    (int, int)
        Levels compared, and how many of them the framework decided otherwise
        because its float sum was rounded.

    Raises
    ------
    NetworkError
        The first layer that differs, and where.
    """
    network, count = chain.network, len(samples)
    compared = rounded = 0
    given: list[NDArray[np.int64]] = []
    for unit, arrived in zip(chain.units, values):
        given.append(np.rint(np.asarray(arrived, np.float64) / unit).astype(np.int64))
    encoded = network.encode(samples).astype(np.int64)
    _same("input", encoded, given[0].reshape(count, -1), framework)
    compared += encoded.size
    for k, stage in enumerate(network.stages):
        image = given[k].reshape(count, *stage.input_shape)
        weights = stage.weights.astype(np.int64)
        sums = correlate(stage, image, weights)
        theirs = np.asarray(values[k + 1])
        if stage.levels is None:
            scores = network.scores(sums.reshape(count, -1)).astype(np.float64)
            room = 1e-4 * max(float(np.abs(scores).max()), 1e-30)
            far = np.abs(scores - theirs.reshape(scores.shape)) > room
            if far.any():
                sample, neuron = (int(i) for i in np.argwhere(far)[0])
                raise NetworkError(
                    f"layer {stage.name!r} differs from {framework} first at sample {sample}, "
                    f"class {neuron}: {scores[sample, neuron]:.6g} against "
                    f"{theirs.reshape(scores.shape)[sample, neuron]:.6g}"
                )
            compared += scores.size
            continue
        levels = _leave(stage, fire(stage, sums))
        found = given[k + 1].reshape(count, -1)
        compared += found.size
        if found.shape == levels.shape and np.array_equal(found, levels):
            continue
        _same_shape(stage.name, levels, found, framework)
        # a rounded sum may fall on the other side of a threshold that it meets exactly
        slack = correlate(stage, np.abs(image), np.abs(weights)) * 2.0**-19
        ends = [_leave(stage, chain.stages[k].levels(sums + way * slack)) for way in (-1, 1)]
        beyond = (found < np.minimum(*ends)) | (found > np.maximum(*ends))
        if beyond.any():
            sample, neuron = (int(i) for i in np.argwhere(beyond)[0])
            raise NetworkError(
                f"layer {stage.name!r} differs from {framework} first at sample {sample}, neuron "
                f"{neuron}: {levels[sample, neuron]} against {found[sample, neuron]}"
            )
        rounded += int((found != levels).sum())
    return compared, rounded


def _leave(stage: Stage, fired: NDArray[Any]) -> NDArray[np.int64]:
    """Levels (samples, neurons) that leave a layer for those its neurons fire."""
    if stage.pool is not None:
        fired = pool(stage.pool, fired)
    flat: NDArray[np.int64] = fired.reshape(len(fired), -1).astype(np.int64)
    return flat


def _same_shape(name: str, ours: NDArray[Any], theirs: NDArray[Any], framework: str) -> None:
    if ours.shape != theirs.shape:
        raise NetworkError(
            f"layer {name!r} has {ours.shape[1]} neurons here but {theirs.shape[1]} in {framework}"
        )


def _same(name: str, ours: NDArray[Any], theirs: NDArray[Any], framework: str) -> None:
    _same_shape(name, ours, theirs, framework)
    wrong = np.argwhere(ours != theirs)
    if len(wrong):
        sample, neuron = (int(i) for i in wrong[0])
        raise NetworkError(
            f"layer {name!r} differs from {framework} first at sample {sample}, neuron {neuron}: "
            f"{ours[sample, neuron]} against {theirs[sample, neuron]}"
        )
