"""What learning on a chip moves: the rule, the states of synapses, the means of neurons.

A synapse holds a state S from −K to K, of which the network reads a ternary
weight: +1 above T, −1 below −T, else 0.  A transition of S is a step of
discrete state transition (§4 of ``docs/paper.md``) in Z with Δz = 1 state.
Sums are centred by running means; all of it is integer arithmetic, with
``FRACTION`` fractional bits where a mean needs them (a read-out that is taken
over has more, see :meth:`Plastic.of`):

    d = gain · sum − (mean + offset)          distance from the centre
    level = +1 where d > half, −1 where d < −half, else 0
    mean ← mean + round(d' / 2**memory)       d' = gain · sum − mean
    spread ← spread + round((|d'| − spread) / 2**memory)
    half = spread · threshold / 16            where it follows the spread

Arrays of synapses have shape (out_channels, taps): weights (out, in, ky, kx)
with the last three axes flat; arrays of neurons have shape (channels,).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromorph import draws
from neuromorph.errors import LearningError
from neuromorph.network import (
    THRESHOLD_MAX,
    THRESHOLD_MIN,
    Conv2d,
    Flatten,
    Input,
    Layer,
    Linear,
    MaxPool2d,
    Network,
    Readout,
    Stage,
    Threshold,
)
from neuromorph.plasticity.rule import FRACTION, Rule

__all__ = [
    "COUNTED",
    "MOVE_DTYPE",
    "LearnTally",
    "Plastic",
    "PlasticLayer",
    "feedback",
    "fresh",
    "read",
    "shares_synapses",
]

_LIMIT = 1 << 22  # of a threshold in sums: beyond what a sum reaches
_EXACT_BITS = 24  # integers up to 2**24 are exact in float32
# Draws of other purposes are numbered apart from those of transitions.
START_DRAWS, ERROR_DRAWS, FEEDBACK_DRAWS, FILTER_DRAWS = 0x30000, 0x40000, 0x50000, 0x80000
FILTER, FILTER_THRESHOLD = 5, 0.8  # side of a fixed filter, and where it fires, in √taps

# One transition: sample (from 1), layer, flat synapse (out, taps), state before and after.
MOVE_DTYPE = np.dtype(
    [("step", "<u4"), ("layer", "<u2"), ("synapse", "<u4"), ("before", "i1"), ("after", "i1")]
)

# What learners count for every layer and slice, in the order of the kernel.
COUNTED = ("errors", "windows", "transposed", "adds", "attempts", "transitions", "accumulated")


@dataclass(kw_only=True)
class PlasticLayer:
    """The synapses and neurons of one layer while they learn.

    ``states`` int8 and ``stuck`` bool (out, taps); ``writes`` and ``gradient``
    int32 likewise; ``gain``, ``mean``, ``offset``, ``spread``, ``half`` int32
    (channels,), with ``fraction`` fractional bits; ``dead`` bool (neurons,).
    """

    stage: Stage
    states: NDArray[np.int8]
    gain: NDArray[np.int32]
    mean: NDArray[np.int32]
    offset: NDArray[np.int32]
    spread: NDArray[np.int32]
    half: NDArray[np.int32]
    follows_spread: bool
    fraction: int = FRACTION
    stuck: NDArray[np.bool_] = field(init=False)
    writes: NDArray[np.int32] = field(init=False)
    gradient: NDArray[np.int32] = field(init=False)
    dead: NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        self.stuck = np.zeros(self.states.shape, bool)
        self.writes = np.zeros(self.states.shape, np.int32)
        self.gradient = np.zeros(self.states.shape, np.int32)
        self.dead = np.zeros(self.stage.neurons, bool)

    @property
    def shared(self) -> bool:
        """See :func:`shares_synapses`."""
        return shares_synapses(self.stage)


@dataclass(kw_only=True)
class LearnTally:
    """What a learner says of a block of samples, layer by layer.

    ``predictions`` int64 (samples,), before the sample was learned;
    ``levels`` int8 (samples, outputs) a firing layer; ``xnor`` and ``active``
    int64 (samples, slices); ``counted`` name → int64 (slices,); ``packets``
    int64 (slices of the next layer, slices) a layer but the last; ``moves`` an
    array of :data:`MOVE_DTYPE` if asked for.
    """

    predictions: NDArray[np.int64]
    levels: list[NDArray[np.int8]]
    xnor: list[NDArray[np.int64]]
    active: list[NDArray[np.int64]]
    counted: list[dict[str, NDArray[np.int64]]]
    packets: list[NDArray[np.int64]]
    taught: int
    moves: NDArray[Any] | None = None


@dataclass(kw_only=True)
class Plastic:
    """A network that learns: its layers and how many samples it has seen.

    ``rest`` is T of the rule the states belong to, ``waiting`` the samples of an
    unfinished mini-batch, ``registers`` uint32 the shift registers, one a layer.
    The first ``fixed`` layers do not learn: no errors reach them, and a synapse
    of theirs keeps its ternary weight alone.
    """

    input: Input
    layers: list[PlasticLayer]
    rest: int
    samples: int = 0
    waiting: int = 0
    fixed: int = 0
    registers: NDArray[np.uint32] = field(init=False)

    def __post_init__(self) -> None:
        self.registers = np.ones(len(self.layers), np.uint32)

    def copy(self) -> Plastic:
        """A copy that learns on its own."""
        twin = replace(self, layers=[_copy(layer) for layer in self.layers])
        twin.registers = self.registers.copy()
        return twin

    def weights(self, index: int) -> NDArray[np.int8]:
        """Ternary weights of a layer, (out, taps)."""
        return read(self.layers[index].states, self.rest)

    @staticmethod
    def of(network: Network, rule: Rule) -> Plastic:
        """Take over an integer network, exactly: the same levels.

        A state is drawn evenly from those that read as the synapse's weight.
        The scale and offset of the read-out, in units of the largest scale, are
        rounded to as many fractional bits as leave every score exact in
        float32, 12 for 512 neurons; so predictions can differ where two scores
        are closer than that, and nowhere else.

        Raises
        ------
        LearningError
            Spaces in which the rule cannot move: weights, levels or an input
            that are not ternary.
        """
        _check_spaces(network)
        readout = network.layers[-1]
        assert isinstance(readout, Readout)
        layers = []
        for index, stage in enumerate(network.stages):
            weights = stage.weights.reshape(len(stage.weights), -1).astype(np.int8)
            zero = np.zeros(len(weights), np.int32)
            fraction = FRACTION
            if stage.thresholds is not None and stage.directions is not None:
                weights = weights * stage.directions[:, None]  # so that all sums climb
                low, high = np.clip(stage.thresholds.astype(np.int64), -_LIMIT, _LIMIT).T
                gain = np.full(len(weights), 1 << FRACTION, np.int32)
                offset = ((low + high - 1) << (FRACTION - 1)).astype(np.int32)
                half = ((high - low) << (FRACTION - 1)).astype(np.int32)
            else:
                gain, offset, fraction = _integer_readout(readout, *weights.shape)
                half = zero
            layers.append(
                PlasticLayer(
                    stage=stage,
                    states=_states(weights, rule, index),
                    gain=gain,
                    mean=zero.copy(),
                    offset=offset,
                    spread=zero.copy(),
                    half=half.copy(),
                    follows_spread=False,
                    fraction=fraction,
                )
            )
        state = Plastic(input=network.input, layers=layers, rest=rule.rest)
        for index in range(len(layers)):
            state.registers[index] = draws.layer_key(rule.seed, index) or 1
        return state

    def network(self, name: str, meta: dict[str, Any] | None = None) -> Network:
        """The network as it stands: every engine gives the levels that were learned with.

        Raises
        ------
        LearningError
            Dead neurons among the living of one channel.
        """
        layers: list[Layer] = []
        shape: tuple[int, ...] = self.input.shape
        for index, layer in enumerate(self.layers):
            stage = layer.stage
            weights = self.weights(index).reshape(stage.weights.shape)
            directions = np.ones(len(weights), np.int8)
            if stage.pool is not None:  # the minimum of levels is that of negated sums
                directions[stage.pool.minimum] = -1
                weights = weights * directions[:, None, None, None]
            if not layer.shared:
                if len(shape) == 3 and shape[1:] != (1, 1):
                    layers.append(Flatten())
                layers.append(Linear(name=stage.name, weights=weights[:, :, 0, 0]))
            else:
                conv = Conv2d(
                    name=stage.name, weights=weights, stride=stage.stride, padding=stage.padding
                )
                layers.append(conv)
            centre = layer.mean.astype(np.int64) + layer.offset
            if stage.is_readout:
                unit = np.float32(1 << layer.fraction)
                layers.append(Readout(scale=layer.gain / unit, offset=-centre / unit))
                break
            low = -((layer.half - centre) >> FRACTION)  # least sum with d >= −half
            high = ((centre + layer.half) >> FRACTION) + 1  # least sum with d > half
            bounds = np.stack([low, high], axis=1)
            silent = layer.dead.reshape(len(bounds), -1)
            if (silent.any(axis=1) != silent.all(axis=1)).any():
                raise LearningError(
                    f"layer {stage.name!r} has channels with some dead neurons; "
                    "a network has no form for them"
                )
            bounds[silent.all(axis=1)] = (-_LIMIT, _LIMIT)
            bounds[bounds < 1 - _LIMIT] = THRESHOLD_MIN
            bounds[bounds > _LIMIT - 1] = THRESHOLD_MAX
            if stage.pool is not None:
                layers.append(MaxPool2d(size=stage.pool.size, stride=stage.pool.stride))
            layers.append(Threshold(thresholds=bounds, directions=directions))
            shape = stage.output_shape
        return Network(name=name, input=self.input, layers=layers, meta=meta or {})


def shares_synapses(stage: Stage) -> bool:
    """Whether a synapse serves many places, so that its updates must be added up."""
    return stage.sum_shape[1:] != (1, 1) or stage.input_shape[1:] != (1, 1)


def fresh(
    input: Input, hidden: Sequence[int], classes: int, rule: Rule, *, filters: int = 0
) -> Plastic:
    """A network of linear layers with random states, to learn from scratch.

    Parameters
    ----------
    input : Input
        Of ternary levels.
    hidden : sequence of int
        Neurons of each hidden layer.
    classes : int
        Neurons of the read-out.
    rule : Rule
        Its seed draws the states, evenly from the inner half of all.
    filters : int
        Random ternary filters of 5 × 5 in front, max-pooled by 2 × 2, which stay
        as they are (:attr:`Plastic.fixed`).

    Raises
    ------
    NetworkError
        A layer without neurons.
    LearningError
        Filters on an input that is no image, or is smaller than 6 × 6.
    """
    layers: list[Layer] = _filters(input, filters, rule.seed) if filters else []
    before = input.size
    if filters:
        before = filters * math.prod((side - FILTER + 1) // 2 for side in input.shape[1:])
    if len(input.shape) == 3:
        layers.append(Flatten())
    for index, neurons in enumerate((*hidden, classes)):
        is_last = index == len(hidden)
        name = "output" if is_last else f"fc{index + 1}"
        layers.append(Linear(name=name, weights=np.zeros((neurons, before), np.int8)))
        layers.append(Readout() if is_last else Threshold(thresholds=np.tile([0, 1], (neurons, 1))))
        before = neurons
    state = Plastic.of(Network(name="fresh", input=input, layers=layers), rule)
    state.fixed = int(filters > 0)
    reach = max(1, (rule.maximum + 1) // 2)
    for index, layer in list(enumerate(state.layers))[state.fixed :]:
        even = draws.uniform(rule.seed, START_DRAWS + index, 0, np.arange(layer.states.size))
        levels = np.floor(even * np.float32(2 * reach + 1)).astype(np.int8) - reach
        layer.states[:] = levels.reshape(layer.states.shape)
        layer.offset[:] = 0
        layer.spread[:] = math.isqrt(layer.states.shape[1]) << (FRACTION - 1)
        if not layer.stage.is_readout:
            layer.half[:] = (layer.spread * rule.threshold) >> 4
            layer.follows_spread = True
    return state


def _filters(input: Input, count: int, seed: int) -> list[Layer]:
    """Random filters whose neurons fire beyond about twice the usual size of their sums."""
    if len(input.shape) != 3 or min(input.shape[1:]) <= FILTER:
        raise LearningError(
            f"filters need an image of at least {FILTER + 1} × {FILTER + 1}; "
            f"the input has shape {list(input.shape)}"
        )
    taps = input.shape[0] * FILTER**2
    even = draws.uniform(seed, FILTER_DRAWS, 0, np.arange(count * taps))
    weights = np.floor(even * np.float32(3)).astype(np.int8) - np.int8(1)
    at = round(FILTER_THRESHOLD * math.sqrt(taps))
    return [
        Conv2d(name="filters", weights=weights.reshape(count, input.shape[0], FILTER, FILTER)),
        Threshold(thresholds=np.tile([1 - at, at], (count, 1))),
        MaxPool2d(size=(2, 2), stride=(2, 2)),
    ]


def feedback(layer: PlasticLayer, index: int, classes: int, rule: Rule) -> NDArray[np.int8]:
    """Fixed random ternary feedback of a layer, int8 (neurons, classes), thirds of −1, 0, 1."""
    neurons = layer.stage.neurons
    even = draws.uniform(rule.seed, FEEDBACK_DRAWS + index, 0, np.arange(neurons * classes))
    thirds: NDArray[np.int8] = np.floor(even * np.float32(3)).astype(np.int8) - np.int8(1)
    return thirds.reshape(neurons, classes)


def read(states: NDArray[np.int8], rest: int) -> NDArray[np.int8]:
    """Ternary weights that states read as."""
    return (states > rest).astype(np.int8) - (states < -rest).astype(np.int8)


def _states(weights: NDArray[np.int8], rule: Rule, index: int) -> NDArray[np.int8]:
    """States that read as the weights, drawn evenly."""
    even = draws.uniform(rule.seed, START_DRAWS + index, 0, np.arange(weights.size))
    even = even.reshape(weights.shape)
    outer = rule.rest + 1 + np.floor(even * np.float32(rule.maximum - rule.rest))
    inner = np.floor(even * np.float32(2 * rule.rest + 1)) - rule.rest
    return np.where(weights == 0, inner, weights * outer).astype(np.int8)


def _integer_readout(
    readout: Readout, classes: int, fan_in: int
) -> tuple[NDArray[np.int32], NDArray[np.int32], int]:
    """Gain and offset in fractions of the largest scale, and the bits of the fraction."""
    scale = np.ones(classes) if readout.scale is None else readout.scale.astype(np.float64)
    offset = np.zeros(classes) if readout.offset is None else readout.offset.astype(np.float64)
    largest = np.abs(scale).max(initial=1e-30)
    offset = np.clip(offset / largest, -_LIMIT, _LIMIT)
    # a score and a mean that moves from one end to the other stay within four times this
    reach = fan_in + math.ceil(np.abs(offset).max(initial=0))
    fraction = max(FRACTION, _EXACT_BITS - 2 - reach.bit_length())
    gain = np.rint(scale / largest * (1 << fraction)).astype(np.int32)
    return gain, -np.rint(offset * (1 << fraction)).astype(np.int32), fraction


def _check_spaces(network: Network) -> None:
    """Refuse a network in whose spaces, or over whose joined or dilated layers, no rule moves."""
    network.check_plain("learning")
    if network.input.encoding != "ternary":
        raise LearningError(
            f"network {network.name!r} has a {network.input.encoding} input; learning takes "
            "ternary levels: give the input thresholds"
        )
    for stage in network.stages:
        if stage.dilation != (1, 1):
            raise LearningError(
                f"layer {stage.name!r} of network {network.name!r} has dilation "
                f"{stage.dilation[0]}×{stage.dilation[1]}; learning takes convolutions without"
            )
        for what, space in (("weights", stage.weight_levels), ("levels", stage.levels)):
            if space is not None and space.n != 1:
                raise LearningError(
                    f"layer {stage.name!r} has {what} of Z_{space.n}; the rule moves synapses "
                    "that read as ternary, between ternary levels (Z_1)"
                )


def _copy(layer: PlasticLayer) -> PlasticLayer:
    names = ("states", "gain", "mean", "offset", "spread", "half")
    twin = replace(layer, **{name: getattr(layer, name).copy() for name in names})
    for name in ("stuck", "writes", "gradient", "dead"):
        setattr(twin, name, getattr(layer, name).copy())
    return twin
