"""The rule: how errors come back, how likely a synapse moves, what it may keep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from neuromorph.errors import LearningError
from neuromorph.levels import transition_probability

__all__ = [
    "ACCUMULATOR_BITS",
    "CHANCE_BITS",
    "FRACTION",
    "MAX_ERROR",
    "SOFT_STEPS",
    "ErrorPath",
    "Rule",
]

ErrorPath = Literal[
    "bp", "bp_q8", "bp_q4", "bp_q3", "ternary", "sign", "dfa", "sdfa", "drtp", "readout"
]
Target = Literal["rival", "soft", "hinge"]
Probability = Literal["tanh", "linear"]
Draws = Literal["keyed", "lfsr"]
Centring = Literal["tracked", "frozen"]

FRACTION = 8  # fractional bits of means, spreads and scores
MAX_ERROR = 255  # |level · error| from which the probability table is read at its end
CHANCE_BITS = 16  # bits of a probability, and of a draw
SOFT_STEPS = 8  # sum of the positive errors of the soft target, at most
ACCUMULATOR_BITS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How a chip learns.

    Parameters
    ----------
    states : int
        States of a synapse, odd, 3 … 255.
    error : str
        Way of the errors: ``bp`` (exact, back through the ternary weights),
        ``bp_q8``, ``bp_q4``, ``bp_q3`` (so many bits, scaled by a shift),
        ``ternary`` (−1, 0, 1 drawn by magnitude), ``sign`` (above
        ``dead_zone``), ``dfa`` (fixed random ternary feedback), ``sdfa`` (of
        the signs), ``drtp`` (of the label alone), ``readout`` (last layer only).
    target : {"rival", "soft", "hinge"}
        Errors of the read-out: −1 on the label and +1 on the best other class
        while the margin is violated; graded errors that add up to zero; or one
        against the rest, which does not (a negative control).
    margin : int
        In sums of the read-out.
    rate, readout_rate : float
        ΔW that an error of one proposes, where the states reach from −1 to 1;
        hidden layers and read-out.  A step is 1/K.
    halve_every : int, optional
        Samples after which the rates have halved; None keeps them.
    probability : {"linear", "tanh"}
        τ(ν) = ν, or tanh(3 ν), of the fraction of a step.
    draws : {"keyed", "lfsr"}
        By (seed, layer, synapse, sample), or from one shift register a layer
        in the order of synapses.
    centring : {"tracked", "frozen"}
        Whether means follow the sums.
    memory : int
        Means look back over about 2**memory samples, 1 … 14.
    threshold, pulse : int
        In sixteenths: half the gap of a fresh neuron in mean magnitudes, and
        the half-width of the window around a threshold in half gaps.
    dead_zone : int
        Hidden errors up to this magnitude are none.
    batch : int
        Samples whose updates are added up before synapses try a transition.
    metaplastic : int
        How many times the chance to move towards zero halves from state 0 to
        the outermost.
    seed : int

    Raises
    ------
    LearningError
        A setting outside its range; names it.
    """

    states: int = 63
    error: ErrorPath = "bp"
    target: Target = "rival"
    margin: int = 40
    rate: float = 0.02
    readout_rate: float = 0.013
    halve_every: int | None = None
    probability: Probability = "linear"
    draws: Draws = "keyed"
    centring: Centring = "tracked"
    memory: int = 9
    threshold: int = 6
    pulse: int = 20
    dead_zone: int = 0
    batch: int = 1
    metaplastic: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, choices in (
            ("error", ErrorPath),
            ("target", Target),
            ("probability", Probability),
            ("draws", Draws),
            ("centring", Centring),
        ):
            if getattr(self, name) not in get_args(choices):
                raise LearningError(
                    f"rule: {name} is {getattr(self, name)!r}; "
                    f"choose one of {', '.join(get_args(choices))}"
                )
        for name, least, most in (
            ("states", 3, 255),
            ("margin", 0, 1 << 20),
            ("memory", 1, 14),
            ("threshold", 0, 64),
            ("pulse", 0, 256),
            ("dead_zone", 0, 1 << 20),
            ("batch", 1, 1 << 20),
            ("metaplastic", 0, 16),
            ("seed", 0, (1 << 63) - 1),
            ("halve_every", 1, 1 << 40),
        ):
            value = getattr(self, name)
            if value is None and name == "halve_every":
                continue
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
                raise LearningError(f"rule: {name} is {value!r}; it must be a whole number")
            if not least <= value <= most:
                raise LearningError(f"rule: {name} is {value}; it must be {least} to {most}")
        if self.states % 2 == 0:
            raise LearningError(
                f"rule: states is {self.states}; it must be odd, as many above zero as below"
            )
        for name in ("rate", "readout_rate"):
            value = getattr(self, name)
            if (
                isinstance(value, bool)
                or not isinstance(value, (int, float))
                or not 0 <= value <= 8
            ):
                raise LearningError(f"rule: {name} is {value!r}; it must be 0 to 8")

    @property
    def maximum(self) -> int:
        """K, the outermost state."""
        return (self.states - 1) // 2

    @property
    def rest(self) -> int:
        """T, the outermost state that reads as zero: a fifth of K."""
        return self.maximum // 5

    @property
    def cell_bits(self) -> int:
        """Bits that hold a state."""
        return int(self.states - 1).bit_length()

    def bits_per_synapse(self, *, shared: bool = False) -> int:
        """Bits a synapse keeps while learning: its state, and an accumulator if it needs one."""
        return self.cell_bits + (ACCUMULATOR_BITS if self.batch > 1 or shared else 0)

    def table(self, samples: int, layer: int, layers: int) -> NDArray[np.uint32]:
        """Steps by magnitude of level · error: uint32 (2, MAX_ERROR + 1).

        Row 0 holds whole steps, row 1 the probability of one more in
        2**−CHANCE_BITS, after ``samples`` samples.  Rates of layers further
        down are divided by 4 a layer, since their errors are sums.
        """
        rate = self.readout_rate if layer == layers - 1 else self.rate
        if self.error in ("bp", "bp_q8", "bp_q4", "bp_q3"):
            rate /= 4 ** max(0, layers - 2 - layer)
        if self.halve_every is not None:
            rate *= 0.5 ** (samples / self.halve_every)
        proposed = rate * self.maximum * np.arange(MAX_ERROR + 1)
        whole = np.floor(proposed)
        kind: Any = "tanh" if self.probability == "tanh" else "unbiased"
        chance = transition_probability(proposed - whole, 1.0, 3.0, kind)
        scaled = np.rint(chance * (1 << CHANCE_BITS))
        return np.stack([whole, scaled]).astype(np.uint32)
