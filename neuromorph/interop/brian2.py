"""Networks as Brian2 objects, to be driven by Brian2 front-ends or checked against ours."""

from __future__ import annotations

import math
from typing import Any

from numpy.typing import ArrayLike

from neuromorph.errors import NetworkError, SimulationError, check_type
from neuromorph.network import Network
from neuromorph.reference.brian2 import Brian2Network, build

__all__ = ["Brian2Network", "to_brian2"]


def to_brian2(
    network: Network, samples: ArrayLike | None = None, *, tick_s: float = 1e-3
) -> Brian2Network:
    """Build a network out of Brian2 neuron groups, synapses and signed events.

    The network is a pipeline that takes one sample a tick; see
    :mod:`neuromorph.reference.brian2` for the order of things within a tick.
    Works with every target of Brian2: ``numpy``, ``cython`` and
    ``cpp_standalone`` (choose it before, as always in Brian2).

    Parameters
    ----------
    network : Network
    samples : integer array, shape (samples, *network.input.shape), optional
        Raw samples to feed in.  Left out, the input waits for a front-end:
        spikes that add to ``arrived`` of the group ``input`` make up the raw
        sample of a tick, cut to the range that the input takes.
    tick_s : float
        Length of a tick; any number, since nothing here decays.

    Returns
    -------
    Brian2Network
        ``objects`` is the ``brian2.Network``; ``run(n)`` runs n samples
        through; ``outputs()`` and ``levels(layer)`` are what came of it.

    Raises
    ------
    NetworkError
        Samples of wrong shape, dtype or range.
    SimulationError
        No samples, or a tick that is no time.
    MissingDependencyError
        Brian2 is not installed, or does not import with the NumPy that is.

    Examples
    --------
    >>> import numpy as np, neuromorph as nm
    >>> net = nm.load_network("digits-gxnor")
    >>> images = np.zeros((2, 1, 8, 8), int)
    >>> built = to_brian2(net, images)
    >>> built.run(2)
    >>> built.outputs().shape
    (2, 10)
    """
    check_type(network, Network, "network", NetworkError, "give a Network, such as load_network")
    if not isinstance(tick_s, (int, float)) or not 0 < tick_s < math.inf:
        raise SimulationError(f"tick_s is {tick_s!r}; give seconds above 0")
    inputs: Any = None
    if samples is not None:
        inputs = network.encode(samples)
        if not len(inputs):
            raise SimulationError("there are no samples to run; give at least one")
    return build(network, inputs, tick_s)
