"""The integer network of a chain of float layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromorph.errors import NetworkError
from neuromorph.folding.bisection import bisect
from neuromorph.folding.grids import MOST, find_levels, find_unit, smallest_space
from neuromorph.folding.parts import SUPPORTED, Floats, Pointwise, Pool, Step, Synapses, apply
from neuromorph.levels import Levels
from neuromorph.network import (
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

__all__ = ["Chain", "assemble"]

_SAMPLED = 4096


@dataclass(frozen=True, kw_only=True, eq=False)
class Chain:
    """An imported network, and the unit (value of one level) of what arrives at each layer."""

    network: Network
    units: tuple[float, ...]
    stages: tuple[_Stage, ...]


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
