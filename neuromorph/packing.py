"""Levels packed to the fewest whole bits: 1 for binary, N + 1 for Z_N with N >= 1.

A level k is coded as the unsigned integer (k + K) / stride, K the largest
level, so ternary −1, 0, 1 become 0, 1, 2.  Codes stand end to end, least
significant bit first, in C order of the array; the last byte is filled with
zero bits.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromorph.errors import LevelError
from neuromorph.levels import Levels

__all__ = ["pack", "packed_size", "unpack"]


def packed_size(count: int, n: int) -> int:
    """Bytes that ``count`` levels of Z_n take."""
    return (count * Levels(n).bits + 7) // 8


def pack(levels: NDArray[Any], n: int) -> NDArray[np.uint8]:
    """Pack levels of Z_n (any shape) into bytes.

    Raises
    ------
    LevelError
        A value outside Z_n.

    Examples
    --------
    >>> pack(np.array([-1, 0, 1, 1]), n=1).tolist()
    [164]
    """
    space = Levels(n)
    levels = space.check(levels, "array to pack")
    codes = ((levels.astype(np.int32).ravel() + space.maximum) // space.stride).astype("<u2")
    low_bits = np.unpackbits(codes.view(np.uint8).reshape(-1, 2), axis=1, bitorder="little")
    return np.packbits(low_bits[:, : space.bits].ravel(), bitorder="little")


def unpack(data: NDArray[np.uint8], n: int, shape: tuple[int, ...]) -> NDArray[Any]:
    """Inverse of :func:`pack`.

    Raises
    ------
    LevelError
        Wrong number of bytes, a code that stands for no level, or fill bits
        that are not zero.
    """
    space = Levels(n)
    count = math.prod(shape)
    if data.dtype != np.uint8 or data.ndim != 1 or data.size != packed_size(count, n):
        raise LevelError(
            f"packed levels are {data.dtype} of shape {list(data.shape)}; {count} levels of "
            f"Z_{n} take {packed_size(count, n)} bytes"
        )
    bits = np.unpackbits(data, bitorder="little")
    if bits[count * space.bits :].any():
        raise LevelError("packed levels end in fill bits that are not zero")
    grouped = bits[: count * space.bits].reshape(count, space.bits).astype(np.uint16)
    codes = grouped @ (1 << np.arange(space.bits, dtype=np.uint16))
    if count and int(codes.max()) >= space.size:
        where = int(np.argmax(codes >= space.size))
        raise LevelError(
            f"packed code {int(codes[where])} at position {where} stands for no level of Z_{n}"
        )
    levels = codes.astype(np.int32) * space.stride - space.maximum
    return levels.astype(space.dtype).reshape(shape)
