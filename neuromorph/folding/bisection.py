"""Where something monotone in an integer sum begins."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from neuromorph.network import THRESHOLD_MAX, THRESHOLD_MIN

__all__ = ["bisect"]


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
