"""One layer of an integer network in plain NumPy, without chip, events or counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from neuromorph.network.stage import Stage

__all__ = ["arriving", "fire", "run_stage", "windows"]


def arriving(stage: Stage, inputs: NDArray[Any], levels: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """What arrives at a layer, (batch, inputs): its sources up-sampled and joined, flat.

    ``levels`` (batch, outputs) are those of all layers before it, in order.
    """
    parts = []
    for source in stage.sources:
        values = inputs if source.stage < 0 else levels[source.stage]
        if not stage.joins:
            return values
        image = values.reshape(len(values), *source.shape)
        if source.upsample > 1:
            image = image.repeat(source.upsample, axis=2).repeat(source.upsample, axis=3)
        parts.append(image)
    joined: NDArray[Any] = np.concatenate(parts, axis=1).reshape(len(inputs), -1)
    return joined


def run_stage(stage: Stage, levels: NDArray[Any]) -> NDArray[Any]:
    """Levels (batch, inputs) to levels (batch, outputs), or to the sums of the read-out.

    Sums are made in float64, which is exact for integers below 2**53.
    """
    images = levels.reshape(-1, *stage.input_shape).astype(np.float64)
    (top, left), (down, right) = stage.padding, stage.stride
    images = np.pad(images, ((0, 0), (0, 0), (top, top), (left, left)))
    view = windows(images, stage.extent, (down, right))
    view = view[..., :: stage.dilation[0], :: stage.dilation[1]]
    weights = stage.weights.astype(np.float64)
    sums: NDArray[Any] = np.einsum("bchwij,ocij->bohw", view, weights, optimize=True)
    sums = sums.astype(np.int64)
    return sums.reshape(len(sums), -1) if stage.levels is None else fire(stage, sums)


def fire(stage: Stage, sums: NDArray[Any]) -> NDArray[Any]:
    """Sums (batch, channel, row, column) to the levels (batch, outputs) that leave."""
    assert stage.levels is not None
    assert stage.directions is not None
    directed = sums * stage.directions[:, None, None]
    fired: NDArray[Any]
    if stage.rounding is not None:
        fired = stage.rounding.levels(directed)
    else:
        assert stage.thresholds is not None
        climbed = (directed[..., None] >= stage.thresholds[:, None, None, :]).sum(axis=-1)
        fired = stage.levels.stride * climbed - stage.levels.maximum
    if stage.pool is not None:
        fired = windows(fired, stage.pool.size, stage.pool.stride)
        minimum = stage.pool.minimum[:, None, None]
        fired = np.where(minimum, fired.min(axis=(4, 5)), fired.max(axis=(4, 5)))
    return fired.reshape(len(fired), -1)


def windows(images: NDArray[Any], size: tuple[int, int], stride: tuple[int, int]) -> NDArray[Any]:
    """Windows (…, rows, columns, height, width) of the last two axes of ``images``."""
    view: NDArray[Any] = sliding_window_view(images, size, axis=(2, 3))  # type: ignore[call-overload]
    return view[:, :, :: stride[0], :: stride[1]]
