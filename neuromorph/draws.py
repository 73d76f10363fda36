"""Counter-based random draws, keyed by (seed, layer, weight, step).

A draw depends on its key alone, never on the order of visits, so cores,
threads, batches and devices cannot change a result.  The generator is a
32-bit integer mixer (the two-multiplication "lowbias32" constants of
C. Wellons' hash prospector) applied twice; every operation is exact in
uint32, so NumPy, torch and C give the same bits.

    layer_key        = mix(mix(mix(seed_low) ^ seed_high) ^ layer)
    weight_key[i]    = mix(i ^ layer_key)                    fixed for a run
    step_key         = mix(mix(step ^ 0x9E3779B9) ^ layer_key)
    draw[i]          = mix(weight_key[i] ^ step_key)         32 bits
    uniform[i]       = (draw[i] >> 8) * 2**-24               exact in float32

Seeds have 64 bits; layers, steps and indices have 32.  Higher bits are ignored.
"""

from __future__ import annotations

import operator

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["layer_key", "mix", "step_key", "step_uniform", "uniform", "weight_keys"]

_MASK = 0xFFFFFFFF


def mix(x: int) -> int:
    """The 32-bit mixer on a Python integer."""
    x = operator.index(x) & _MASK
    x ^= x >> 16
    x = (x * 0x7FEB352D) & _MASK
    x ^= x >> 15
    x = (x * 0x846CA68B) & _MASK
    x ^= x >> 16
    return x


def _mix(x: NDArray[np.uint32]) -> NDArray[np.uint32]:
    with np.errstate(over="ignore"):  # NumPy warns when a scalar wraps, which it should
        x = x ^ (x >> np.uint32(16))
        x *= np.uint32(0x7FEB352D)
        x ^= x >> np.uint32(15)
        x *= np.uint32(0x846CA68B)
        x ^= x >> np.uint32(16)
    return x


def layer_key(seed: int, layer: int) -> int:
    """Key of one layer (uint32 as int); ``seed`` may have up to 64 bits."""
    seed, layer = operator.index(seed), operator.index(layer)
    return mix(mix(mix(seed) ^ (seed >> 32)) ^ layer)


def step_key(key: int, step: int) -> int:
    """Key of one training step of the layer with ``key``."""
    return mix(mix(operator.index(step) ^ 0x9E3779B9) ^ key)


def weight_keys(key: int, indices: ArrayLike) -> NDArray[np.uint32]:
    """Per-weight part of the key, constant over steps; ``indices`` are flat positions."""
    return _mix(np.asarray(indices).astype(np.uint32) ^ np.uint32(key))


def uniform(seed: int, layer: int, step: int, indices: ArrayLike) -> NDArray[np.float32]:
    """Draws from [0, 1) on the grid 2**-24, float32, one for each index.

    Examples
    --------
    >>> uniform(seed=1, layer=0, step=7, indices=[0, 1, 2]).dtype
    dtype('float32')
    """
    key = layer_key(seed, layer)
    return step_uniform(weight_keys(key, indices), step_key(key, step))


def step_uniform(keys: NDArray[np.uint32], key: int) -> NDArray[np.float32]:
    """The same from the :func:`weight_keys` of a layer and the :func:`step_key` of a step."""
    bits = _mix(keys ^ np.uint32(key))
    return (bits >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)
