"""Post-training quantisation: a network with float parts as one of integers.

Weights that are float become levels of Z_8 with one scale for each output,
activations that are float (ReLU) levels 0 … 127 of Z_8 with one scale for each
layer: the common symmetric 8-bit scheme.  Discrete parts stay what they are.
The scales go into the batch norm, so the result is an ordinary
:class:`DiscreteNetwork` that :func:`neuromorph.training.export` folds exactly.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from neuromorph.errors import NetworkError
from neuromorph.levels import Levels
from neuromorph.training.layers import Activation, exact_sums
from neuromorph.training.lossaware import TWO_SCALES
from neuromorph.training.models import DiscreteNetwork, Stage
from neuromorph.training.shift import ShiftBatchNorm

__all__ = ["QuantizedReLU", "quantize"]

N = 8
TOP = 127  # largest level in use, of 128
_CHUNK = 500


class QuantizedReLU(Activation):
    """ReLU rounded to the levels 0 … 127 of Z_8; level = round(x / unit), halves to even."""

    def __init__(self, unit: float) -> None:
        super().__init__(N)
        self.unit = unit

    def forward(self, x: Tensor) -> Tensor:
        """Pre-activations to values k/K of Z_8, none negative."""
        return (x / self.unit).round().clamp(0, TOP) / Levels(N).maximum


@torch.no_grad()
def quantize(model: DiscreteNetwork, images: Tensor, *, clip: float = 0.9995) -> DiscreteNetwork:
    """The model with float parts made discrete.

    Parameters
    ----------
    model : DiscreteNetwork
    images : integer tensor, shape (samples, *shape)
        Calibration samples, of the training part.
    clip : float
        The largest level stands for this quantile of the positive
        activations of a layer; what is above saturates.

    Raises
    ------
    NetworkError
        A layer none of whose neurons fires on the calibration samples; float
        levels joined with the input, which have no unit in common.

    Notes
    -----
    Where layers join several sources, all of them get one unit, the largest.
    """
    model = copy.deepcopy(model).eval()
    for stage in model.stages:
        assert isinstance(stage, Stage)
        if isinstance(stage.norm, ShiftBatchNorm):
            stage.norm = stage.norm.unshifted()  # to be scaled by any factor
    if any(stage.sources for stage in model.stages):
        return _quantize_joined(model, images, clip)
    for index, stage in enumerate(model.stages):
        assert isinstance(stage, Stage)
        if stage.synapses.n is None or stage.synapses.method in TWO_SCALES:
            _quantize_weights(stage)
        if stage.activation is not None and stage.activation.n is None:
            unit = _unit(model, index, images, clip)
            stage.activation = QuantizedReLU(unit)
            # the next layer now sees level / K where it saw about level · unit
            following = model.stages[index + 1]
            assert isinstance(following, Stage)
            _rescale(following, torch.tensor(unit * Levels(N).maximum))
    return model


def _quantize_joined(model: DiscreteNetwork, images: Tensor, clip: float) -> DiscreteNetwork:
    stages = [stage for stage in model.stages if isinstance(stage, Stage)]
    for stage in stages:
        if stage.synapses.n is None or stage.synapses.method in TWO_SCALES:
            _quantize_weights(stage)
    floats = [s.activation is not None and s.activation.n is None for s in stages]
    if not any(floats):
        return model
    unit = max(_units(model, [i for i, is_float in enumerate(floats) if is_float], images, clip))
    for index, stage in enumerate(stages):
        heard = {source for source, _ in stage.sources} or {index - 1}
        if -1 in heard and len(heard) > 1:
            raise NetworkError(
                f"layer {stage.name!r} joins the input with float levels, which have no unit in "
                "common; join layers only"
            )
        if stage.activation is not None:
            stage.activation = QuantizedReLU(unit)
        if -1 not in heard:
            _rescale(stage, torch.tensor(unit * Levels(N).maximum))
    return model


def _quantize_weights(stage: Stage) -> None:
    """Real weights to Z_8, symmetric, each output by its own largest magnitude."""
    weight = stage.synapses.quantized()[0]
    largest = weight.abs().flatten(1).amax(1).clamp_(min=1e-30)
    axes = (-1,) + (1,) * (weight.ndim - 1)
    levels = (weight / largest.view(axes) * TOP).round()
    stage.synapses.weight.copy_(levels / Levels(N).maximum)
    stage.synapses.n, stage.synapses.method = N, "dst"
    _rescale(stage, largest * (Levels(N).maximum / TOP))


def _rescale(stage: Stage, factor: Tensor) -> None:
    """Let batch norm see sums that are smaller by a positive factor, to the same effect."""
    norm = stage.norm
    norm.gamma.mul_(factor)
    norm.mean.div_(factor)


def _unit(model: DiscreteNetwork, index: int, images: Tensor, clip: float) -> float:
    """Real activation that one level of a layer stands for."""
    return _units(model, [index], images, clip)[0]


def _units(
    model: DiscreteNetwork, places: Sequence[int], images: Tensor, clip: float
) -> list[float]:
    """Real activation that one level of each of some layers stands for, in one run."""
    found: dict[int, list[Tensor]] = {index: [] for index in places}
    with exact_sums():
        for part in torch.split(images, _CHUNK):
            values = [model.encoder(part)]
            for index, stage in enumerate(list(model.stages)[: max(places) + 1]):
                assert isinstance(stage, Stage)
                heard = stage.arriving(values)
                if index in found:
                    fired = F.relu(_pre_activation(stage, heard))
                    found[index].append(fired[fired > 0])
                values.append(stage(heard))
    units = []
    for index, parts in found.items():
        positive = torch.cat(parts)
        if not len(positive):
            raise NetworkError(
                f"layer {model.stages[index].name!r} never fires on the {len(images)} calibration "
                "samples; give samples of the training data"
            )
        place = min(int(clip * len(positive)), len(positive) - 1)
        units.append(positive.kthvalue(place + 1).values.item() / TOP)
    return units


def _pre_activation(stage: Stage, values: Tensor) -> Tensor:
    activation, stage.activation = stage.activation, None
    result: Tensor = stage(values)
    stage.activation = activation
    return result
