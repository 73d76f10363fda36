"""From the torch network to the integer :class:`neuromorph.network.Network`, with proof."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from neuromorph.errors import NetworkError
from neuromorph.levels import Levels
from neuromorph.network import (
    Concat,
    Conv2d,
    Flatten,
    Layer,
    Linear,
    MaxPool2d,
    Network,
    Requantize,
)
from neuromorph.network.forward import arriving, run_stage
from neuromorph.training.fixedpoint import fold_rounding
from neuromorph.training.fold import EXACT_SUM, fold_readout, fold_threshold
from neuromorph.training.layers import DiscreteLinear, exact_sums
from neuromorph.training.models import DiscreteNetwork, Stage

__all__ = ["export", "prove"]

_CHUNK = 500  # samples at most
_PAIRS = 1 << 28  # of all neurons of a layer with their inputs: bounds the working arrays


def export(
    model: DiscreteNetwork,
    raw: ArrayLike,
    *,
    name: str,
    meta: Mapping[str, Any] | None = None,
) -> Network:
    """Fold a trained network into integers and prove it on a batch.

    Parameters
    ----------
    model : DiscreteNetwork
    raw : integer array, shape (batch, *shape)
        Raw samples on which all levels of all layers must agree.
    name : str
        Name of the network.
    meta : mapping, optional
        Anything JSON can hold.

    Returns
    -------
    Network
        Fires on every sample the very levels of torch's float32 evaluation,
        and its ``scores`` are torch's, bit for bit.

    Raises
    ------
    NetworkError
        Sums that float32 cannot hold, batch-norm values that are not finite,
        or a difference on ``raw``: names the first layer that differs.
    """
    model = copy.deepcopy(model).cpu().eval()
    entry = model.encoder.spec
    layers: list[Layer] = []
    is_image = len(entry.shape) == 3
    # of the input and of each layer: integer level / torch's value, largest level
    units, maxima = [model.encoder.unit], [entry.maximum]
    names = ["input", *(str(stage.name) for stage in model.stages)]
    for stage in model.stages:
        assert isinstance(stage, Stage)
        heard = [source + 1 for source, _ in stage.sources] or [len(units) - 1]
        if len({units[i] for i in heard}) > 1:
            raise NetworkError(
                f"layer {stage.name!r} joins levels of different units "
                f"({', '.join(names[i] for i in heard)}), which no threshold folds; join layers of "
                "one space"
            )
        unit, maximum = units[heard[0]], max(maxima[i] for i in heard)
        if stage.sources:
            factors = tuple(factor for _, factor in stage.sources)
            layers.append(Concat(sources=tuple(names[i] for i in heard), upsample=factors))
        n = stage.synapses.n
        if n is None or (stage.activation is not None and stage.activation.n is None):
            raise NetworkError(
                f"layer {stage.name!r} has float weights or activations; "
                "make it discrete first with neuromorph.training.quantize"
            )
        weights = stage.synapses.levels.numpy()
        reach = (
            int(np.abs(weights.astype(np.int64)).reshape(len(weights), -1).sum(1).max()) * maximum
        )
        unit *= Levels(n).unit
        head: Layer
        if stage.activation is None:
            exact, head = stage.synapses.exact_sum, fold_readout(stage, unit)
        elif (rounding := fold_rounding(stage, unit)) is not None:
            exact, head = stage.synapses.exact_sum, rounding
        else:
            exact, head = EXACT_SUM, fold_threshold(stage, unit)
        if reach > exact:
            raise NetworkError(
                f"layer {stage.name!r}: a sum may reach {reach}; "
                f"float{32 if exact == EXACT_SUM else 64}, in which torch makes it, is exact up to "
                f"{exact}; use fewer inputs, bits or levels"
            )
        if isinstance(stage.synapses, DiscreteLinear):
            if is_image:
                layers.append(Flatten())
            layers.append(Linear(name=stage.name, weights=weights, n=n))
            is_image = False
        else:
            conv = stage.synapses
            layers.append(
                Conv2d(
                    name=stage.name,
                    weights=weights,
                    n=n,
                    stride=(conv.stride, conv.stride),
                    padding=(conv.padding, conv.padding),
                    dilation=(conv.dilation, conv.dilation),
                )
            )
        if stage.pool > 1:
            layers.append(MaxPool2d(size=(stage.pool, stage.pool)))
        layers.append(head)
        if stage.activation is not None:
            assert stage.activation.n is not None
            space = Levels(stage.activation.n)
            units.append(space.unit)
            maxima.append(max(head.limits) if isinstance(head, Requantize) else space.maximum)
    network = Network(name=name, input=entry, layers=layers, meta=dict(meta or {}))
    prove(network, model, raw)
    return network


@torch.no_grad()
def prove(network: Network, model: DiscreteNetwork, raw: ArrayLike) -> None:
    """Compare all levels of all layers, and the scores, with torch's on a batch.

    Parameters
    ----------
    network : Network
    model : DiscreteNetwork
        In evaluation mode, on the CPU.
    raw : integer array, shape (batch, *shape)

    Raises
    ------
    NetworkError
        Names the first layer that differs, and where.
    """
    raw = np.asarray(raw)
    most = max(s.fan_in * s.neurons for s in network.stages)
    chunk = max(1, min(_CHUNK, _PAIRS // most))
    for start in range(0, len(raw), chunk):
        part = raw[start : start + chunk]
        inputs: NDArray[Any] = network.encode(part)
        levels: list[NDArray[Any]] = []
        with exact_sums():
            values = model.outputs(torch.tensor(part))
        unit = float(model.encoder.unit)
        _compare("input", inputs, values[0].numpy() * unit, start)
        for stage, wanted in zip(network.stages, values[1:], strict=True):
            found = run_stage(stage, arriving(stage, inputs, levels))
            if stage.levels is None:
                _compare(stage.name, network.scores(found), wanted.numpy(), start)
            else:
                _compare(stage.name, found, wanted.numpy() * stage.levels.unit, start)
            levels.append(found)


def _compare(name: str, ours: NDArray[Any], theirs: NDArray[Any], start: int) -> None:
    ours, theirs = _flat(ours), _flat(theirs)
    if ours.shape != theirs.shape:
        raise NetworkError(
            f"layer {name!r} has {ours.shape[1]} neurons in the integer network but "
            f"{theirs.shape[1]} in torch"
        )
    differs = np.argwhere(ours != theirs)
    if len(differs):
        sample, neuron = (int(i) for i in differs[0])
        raise NetworkError(
            f"layer {name!r} differs from torch first at sample {start + sample}, neuron {neuron}: "
            f"{ours[sample, neuron]} against {theirs[sample, neuron]}"
        )


def _flat(array: NDArray[Any]) -> NDArray[Any]:
    """(batch, …) to (batch, neurons)."""
    flat: NDArray[Any] = array.reshape(len(array), -1)
    return flat
