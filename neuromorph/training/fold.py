"""Batch norm and φ_r as integer thresholds, found against torch's own float32.

Evaluation of batch norm is monotone in the sum, so every threshold can be
found by bisection: the integer network then decides each neuron exactly as
torch does, roundings and ties included.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neuromorph.errors import NetworkError
from neuromorph.folding import bisect
from neuromorph.levels import Levels
from neuromorph.network import Readout, Threshold
from neuromorph.training.layers import DiscreteLinear
from neuromorph.training.models import Stage

__all__ = ["EXACT_SUM", "fold_readout", "fold_threshold"]

EXACT_SUM = DiscreteLinear.exact_sum


@torch.no_grad()
def fold_threshold(stage: Stage, unit: int) -> Threshold:
    """The threshold layer of a stage that fires.

    Thresholds hold for every sum of magnitude up to 2**24, whatever the
    weights; a level that no such sum reaches gets ``THRESHOLD_MAX``, one that
    all reach ``THRESHOLD_MIN`` (so does a channel whose scale is zero).

    Parameters
    ----------
    stage : Stage
        In evaluation mode, with an activation.
    unit : int
        Integer sum / torch's sum: K of the weights times the unit of the
        arriving levels, a power of two.

    Raises
    ------
    NetworkError
        Batch-norm values that are not finite.
    """
    assert stage.activation is not None
    assert stage.activation.n is not None
    space = Levels(stage.activation.n)
    scale, _, factor = _finite_affine(stage)
    direction = torch.where(scale < 0, -1, 1)
    goals = torch.from_numpy(space.levels[1:].astype(np.int64))[None, :]

    def reaches(place: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether direction · place, as a sum, fires at least each goal; (channels, steps)."""
        assert stage.activation is not None
        values = (direction[:, None] * torch.from_numpy(place)).to(torch.float32) / unit
        fired = stage.activation(stage.norm(values.T, factor)).T  # batch norm takes channels second
        reached: Tensor = (fired * space.unit).round().to(torch.int64) >= goals
        return reached.numpy()

    thresholds = bisect(reaches, (len(scale), space.size - 1), EXACT_SUM)
    return Threshold(thresholds=thresholds, directions=direction.to(torch.int8).numpy(), n=space.n)


@torch.no_grad()
def fold_readout(stage: Stage, unit: int) -> Readout:
    """The read-out of the last stage; ``unit`` as in :func:`fold_threshold`.

    Raises
    ------
    NetworkError
        Batch-norm values that are not finite.
    """
    scale, shift, _ = _finite_affine(stage)
    return Readout(scale=(scale / unit).numpy(), offset=shift.numpy())


def _finite_affine(stage: Stage) -> tuple[Tensor, Tensor, Tensor | None]:
    """(scale, shift, factor) of the batch norm in evaluation."""
    _, factor = stage.synapses.quantized()
    scale, shift = stage.norm.affine(factor)
    if not bool(torch.isfinite(scale).all() and torch.isfinite(shift).all()):
        raise NetworkError(f"layer {stage.name!r}: batch norm has values that are not finite")
    return scale, shift, factor
