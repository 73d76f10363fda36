"""What a model is read into: weighted layers and what stands between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromorph.errors import NetworkError

__all__ = [
    "SUPPORTED",
    "Flat",
    "Floats",
    "Function",
    "Pointwise",
    "Pool",
    "Step",
    "Synapses",
    "apply",
    "probe",
]

Floats = NDArray[np.float32]
Function = Callable[[Floats], Floats]

SUPPORTED = (
    "supported are linear layers, 2-D convolutions, max-pools, flattening and, between them, "
    "what acts on each neuron alone and gives few levels (batch norm, sign, ternary and "
    "quantised activations)"
)


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
