"""Learning on the chip by discrete state transition: errors as events, no hidden weights."""

from neuromorph.learning.loop import Learned, learn, map_for
from neuromorph.learning.reading import LearningTrace, is_learning, validate_learning
from neuromorph.plasticity import MOVE_DTYPE, Plastic, Rule, fresh

__all__ = [
    "MOVE_DTYPE",
    "Learned",
    "LearningTrace",
    "Plastic",
    "Rule",
    "fresh",
    "is_learning",
    "learn",
    "map_for",
    "validate_learning",
]
