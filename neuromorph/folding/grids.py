"""Grids: the unit of which values are whole multiples, and the space that holds the multiples."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromorph.errors import NetworkError
from neuromorph.folding.parts import Function
from neuromorph.levels import Levels
from neuromorph.network import Input

__all__ = ["MOST", "find_input", "find_levels", "find_unit", "smallest_space"]

MOST = 128  # largest level of a weight or activation
# Largest level of an input, and integers to each side at which a function of it is looked at.
_MOST_INPUT = 4095
TRAIN = (
    "train with discrete weights (neuromorph train RECIPE, docs/training.md) or quantise the float "
    "network with neuromorph.training.quantize"
)


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
    unit = 1.0 if apply is None and whole else find_unit(arriving, _MOST_INPUT)
    seen = None
    if apply is not None and whole:  # not of the examples alone, which may not show every level
        first, last = min(int(raw.min()), -_MOST_INPUT), max(int(raw.max()), _MOST_INPUT)
        numbers = np.arange(first, last + 1)
        given = numbers.astype(np.float32).reshape(-1, *(1,) * len(shape))
        values = np.asarray(apply(given), np.float64).ravel()
        seen = find_unit(values, _MOST_INPUT)
    if seen is not None:
        unit, levels = seen, np.rint(values / seen).astype(np.int64)
        if (
            (np.diff(levels) >= 0).all()
            and np.abs(levels).max(initial=0) <= 1
            and not np.array_equal(levels, numbers)
        ):
            low, high = (first + int(np.searchsorted(levels, goal)) for goal in (0, 1))
            return Input(shape=shape, thresholds=(low, high)), seen, raw.astype(np.int64)
    if unit is None:
        raise NetworkError(
            f"example_input holds floats on no grid of at most {_MOST_INPUT} levels a side; give "
            "integers, or quantise the input first in the model itself"
        )
    samples = np.rint(np.asarray(arriving, np.float64) / unit).astype(np.int64)
    largest = int(np.abs(samples).max(initial=0))
    if apply is not None and bits is None:
        ends = np.array([-1e9, 1e9], np.float32).reshape(-1, *(1,) * len(shape))
        reached = np.abs(np.asarray(apply(ends), np.float64) / unit).max()
        largest = max(largest, int(np.rint(reached)) if reached <= _MOST_INPUT else largest)
    samples = samples.reshape(len(raw), *shape)
    if largest <= 1 and bits is None:
        return Input(shape=shape), unit, samples
    entry = Input(shape=shape, encoding="graded", bits=bits or largest.bit_length())
    return entry, unit, samples
