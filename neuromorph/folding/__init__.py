"""Float layers of another framework as integer layers: what all importers share.

An importer reads a model into a chain of :class:`Synapses`, :class:`Pool`,
:class:`Flat` and :class:`Pointwise`, the last being whatever acts on each
neuron alone, as a function that the framework itself evaluates.  Weights on a
grid become levels with one unit for each output; the functions behind them are
monotone in the integer sum, so their thresholds are found by bisection.

Frameworks add up floats, and a sum of units that are no powers of two rounds.
The integer network decides as the framework does on the exact sum;
:func:`check` says how often rounding made the framework decide otherwise.
"""

from neuromorph.folding.bisection import bisect
from neuromorph.folding.chain import Chain, assemble
from neuromorph.folding.grids import find_input, smallest_space
from neuromorph.folding.parts import (
    SUPPORTED,
    Flat,
    Floats,
    Pointwise,
    Pool,
    Step,
    Synapses,
    probe,
)
from neuromorph.folding.proof import check

__all__ = [
    "SUPPORTED",
    "Chain",
    "Flat",
    "Floats",
    "Pointwise",
    "Pool",
    "Step",
    "Synapses",
    "assemble",
    "bisect",
    "check",
    "find_input",
    "probe",
    "smallest_space",
]
