"""What learning on a chip moves, shared by the learners: the rule and the states."""

from neuromorph.plasticity.rule import (
    ACCUMULATOR_BITS,
    CHANCE_BITS,
    FRACTION,
    MAX_ERROR,
    SOFT_STEPS,
    ErrorPath,
    Rule,
)
from neuromorph.plasticity.state import (
    COUNTED,
    ERROR_DRAWS,
    MOVE_DTYPE,
    LearnTally,
    Plastic,
    PlasticLayer,
    feedback,
    fresh,
    read,
    shares_synapses,
)

__all__ = [
    "ACCUMULATOR_BITS",
    "CHANCE_BITS",
    "COUNTED",
    "ERROR_DRAWS",
    "FRACTION",
    "MAX_ERROR",
    "MOVE_DTYPE",
    "SOFT_STEPS",
    "ErrorPath",
    "LearnTally",
    "Plastic",
    "PlasticLayer",
    "Rule",
    "feedback",
    "fresh",
    "read",
    "shares_synapses",
]
