"""Networks as Brian2 objects, to be driven by Brian2 front-ends or checked against ours."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuromorph.errors import LearningError, NetworkError, SimulationError, check_type
from neuromorph.network import Network
from neuromorph.plasticity import Plastic, Rule
from neuromorph.reference import brian2_learning
from neuromorph.reference.brian2 import Brian2Network, build

__all__ = ["Brian2Network", "learn_in_brian2", "to_brian2"]

# What the synaptic equations cover of a rule.
COVERED: dict[str, tuple[Any, ...]] = {
    "error": ("bp", "sign"),
    "target": ("rival",),
    "draws": ("keyed",),
    "centring": ("frozen",),
    "batch": (1,),
    "metaplastic": (0,),
    "halve_every": (None,),
}


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


def learn_in_brian2(
    state: Plastic, samples: ArrayLike, labels: ArrayLike, *, rule: Rule
) -> tuple[Plastic, NDArray[Any]]:
    """Learn in Brian2, by events and synaptic equations, to check ``learn`` against.

    Made for small networks of linear layers: every synapse exists, and its
    draws are tables over all samples.  Checked in Brian2's target ``numpy``;
    compiling takes longer than learning.  See
    :mod:`neuromorph.reference.brian2_learning` for the equations.

    Parameters
    ----------
    state : Plastic
        Goes on from there and is left as it is.
    samples : integer array, shape (samples, *input.shape)
    labels : integer array, shape (samples,)
    rule : Rule
        Errors ``bp`` or ``sign``, target ``rival``, frozen centring, keyed draws, batch 1.

    Returns
    -------
    (Plastic, array)
        The state after, and every transition, an array of ``MOVE_DTYPE``
        sorted by sample, layer and synapse.

    Raises
    ------
    LearningError
        A rule or a layer that the equations do not cover, a state of another
        rule, labels that do not fit.
    NetworkError
        Samples of wrong shape, dtype or range.
    SimulationError
        Brian2 is set to build a stand-alone program.
    MissingDependencyError
        Brian2 is not installed, or does not import with the NumPy that is.

    Examples
    --------
    >>> import brian2, numpy as np
    >>> from neuromorph.learning import Rule, fresh
    >>> from neuromorph.network import Input
    >>> brian2.prefs.codegen.target = "numpy"
    >>> rule = Rule(states=7, rate=0.3, readout_rate=0.3, centring="frozen")
    >>> state = fresh(Input(shape=(6,)), (5,), 3, rule)
    >>> rng = np.random.default_rng(0)
    >>> samples, labels = rng.integers(-1, 2, (8, 6)), rng.integers(0, 3, 8)
    >>> after, moves = learn_in_brian2(state, samples, labels, rule=rule)
    >>> after.samples, len(moves) > 0
    (8, True)
    """
    check_type(state, Plastic, "state", LearningError, "give fresh(...) or Plastic.of(...)")
    check_type(rule, Rule, "rule", LearningError, "give Rule(...)")
    for name, choices in COVERED.items():
        if getattr(rule, name) not in choices:
            raise LearningError(
                f"rule: {name} is {getattr(rule, name)!r}; in Brian2 it must be "
                + " or ".join(map(repr, choices))
            )
    for layer in state.layers:
        if layer.shared or layer.stage.pool is not None or state.fixed:
            raise LearningError(
                f"layer {layer.stage.name!r} is a convolution, has a pool or is fixed; "
                "learning in Brian2 takes linear layers that learn"
            )
    reach = max(int(np.abs(layer.states).max()) for layer in state.layers)
    if state.rest != rule.rest or reach > rule.maximum:
        raise LearningError(
            f"the state was made for another number of states than the rule's {rule.states}; "
            "make it with the same rule"
        )
    inputs = state.input.encode(samples)
    classes, outputs = np.asarray(labels), state.layers[-1].stage.neurons
    if not len(inputs):
        raise LearningError("there are no samples to learn; give at least one")
    if classes.shape != (len(inputs),) or classes.dtype.kind not in "iu":
        raise LearningError(
            f"labels are {classes.dtype} of shape {list(classes.shape)}; "
            f"need {len(inputs)} integers"
        )
    if classes.min() < 0 or classes.max() >= outputs:
        raise LearningError(
            f"labels are {classes.min()} to {classes.max()}; they must be 0 to {outputs - 1}"
        )
    return brian2_learning.learn(state, inputs, classes, rule)
