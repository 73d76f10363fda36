"""Products of small matrices of integers in floating point, exact and in one thread."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["exact_float", "product"]

# Up to so many multiplications OpenBLAS stays in the thread that asks.  Several threads
# wait for each other longer than a narrow product takes, above all on a busy machine.
ALONE = 2**17
FEW = 8  # rows; products of fewer at a time would cost more than threads do


def exact_float(largest: int) -> np.dtype[Any]:
    """The floating type in which integers that never add up to more than this are exact."""
    return np.dtype(np.float32 if largest < 2**24 else np.float64)


def product(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    """``a @ b`` in the type of ``b``, some rows of ``a`` at a time."""
    step = ALONE // b.size
    if step < FEW or len(a) <= step:
        whole: NDArray[Any] = a.astype(b.dtype, copy=False) @ b
        return whole
    found = np.empty((len(a), b.shape[1]), b.dtype)
    for at in range(0, len(a), step):
        part = a[at : at + step].astype(b.dtype, copy=False)
        np.matmul(part, b, out=found[at : at + step])
    return found
