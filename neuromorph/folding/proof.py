"""An imported network beside its framework, level by level."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromorph.errors import NetworkError
from neuromorph.folding.chain import Chain
from neuromorph.network import Stage
from neuromorph.reference.counting import correlate, fire, pool

__all__ = ["check"]


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
