"""What a trained network does on a set of images: accuracy, density, rest."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from neuromorph.training.layers import DiscreteLinear, exact_sums
from neuromorph.training.models import DiscreteNetwork, Stage

__all__ = ["accuracy", "accuracy_and_dice", "dice", "measure_rest"]

_CHUNK = 256


def accuracy(model: DiscreteNetwork, images: Tensor, labels: Tensor) -> float:
    """Fraction of images (or pixels) classified right; ties go to the lowest class.

    Parameters
    ----------
    model : DiscreteNetwork
    images : integer tensor, shape (samples, channels, height, width)
    labels : int64 tensor, shape (samples,), or (samples, height, width)
    """
    return accuracy_and_dice(model, images, labels)[0]


def dice(model: DiscreteNetwork, images: Tensor, labels: Tensor) -> float:
    """Dice coefficient 2·|A ∩ B| / (|A| + |B|) of the pixels of class 1, over all images.

    A are those predicted and B those labelled so; 1 if there are neither.
    """
    return accuracy_and_dice(model, images, labels)[1]


@torch.no_grad()
def accuracy_and_dice(
    model: DiscreteNetwork, images: Tensor, labels: Tensor
) -> tuple[float, float]:
    """What :func:`accuracy` and :func:`dice` give, in one go."""
    right, both, either = torch.zeros(3, dtype=torch.int64, device=labels.device)
    with _evaluating(model):
        for part, wanted in zip(torch.split(images, _CHUNK), torch.split(labels, _CHUNK)):
            found = model(part).argmax(dim=1)
            right += (found == wanted).sum()
            first, second = found == 1, wanted == 1
            both += (first & second).sum()
            either += first.sum() + second.sum()
    return right.item() / labels.numel(), 2 * both.item() / either.item() if either else 1.0


@torch.no_grad()
def measure_rest(model: DiscreteNetwork, images: Tensor) -> list[dict[str, Any]]:
    """Density and rest of each layer, averaged over ``images``.

    Returns
    -------
    list of dict, one a layer
        ``name``; ``weights``; ``weight_density``: fraction of weights that are
        not zero; ``input_density``: fraction of arriving levels that are not
        zero; ``synapses``: (input, neuron) pairs a sample, padding left out;
        ``resting_fraction``: fraction of these pairs in which the level or the
        weight is zero (1 − events / synapses).  A bitplane value counts as
        one level here, however many bits it has.
    """
    pairs = [0.0] * len(model.stages)
    events = [0.0] * len(model.stages)
    spikes = [0.0] * len(model.stages)
    sizes = [0] * len(model.stages)
    with _evaluating(model):
        for part in torch.split(images, _CHUNK):
            outputs = model.outputs(part)
            for index, stage in enumerate(model.stages):
                assert isinstance(stage, Stage)
                active = (stage.arriving(outputs[: index + 1]) != 0).to(torch.float64)
                spikes[index] += active.sum().item()
                sizes[index] += active.numel()
                used = (stage.synapses.quantized()[0] != 0).to(torch.float64)
                events[index] += _pairs(stage, active, used)
                pairs[index] += _pairs(stage, torch.ones_like(active), torch.ones_like(used))
    return [
        {
            "name": str(stage.name),
            "weights": stage.synapses.weight.numel(),
            "weight_density": (stage.synapses.quantized()[0] != 0).double().mean().item(),
            "input_density": spikes[index] / sizes[index],
            "synapses": round(pairs[index] / len(images)),
            "resting_fraction": 1 - events[index] / pairs[index],
        }
        for index, stage in enumerate(model.stages)
        if isinstance(stage, Stage)
    ]


def _pairs(stage: Stage, active: Tensor, used: Tensor) -> float:
    """Number of (input, neuron) pairs in which both masks are set."""
    if isinstance(stage.synapses, DiscreteLinear):
        return float((active.flatten(1).sum(0) @ used.sum(0)).item())
    conv = stage.synapses
    taps = F.conv2d(
        active.sum(0, keepdim=True),
        used.sum(0, keepdim=True),
        stride=conv.stride,
        padding=conv.padding,
        dilation=conv.dilation,
    )
    return float(taps.sum().item())


class _evaluating:
    """Evaluation mode and exact sums for the time of a block."""

    def __init__(self, model: DiscreteNetwork) -> None:
        self._model, self._was = model, model.training
        self._exact = exact_sums()

    def __enter__(self) -> None:
        self._model.eval()
        self._exact.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._exact.__exit__(*error)
        self._model.train(self._was)
