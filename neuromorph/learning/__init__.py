"""Learning on the chip by discrete state transition: errors as events, no hidden weights."""

from neuromorph.learning.loop import Learned, learn, map_for
from neuromorph.learning.moves import load_moves, save_moves
from neuromorph.plasticity import MOVE_DTYPE, Plastic, Rule, fresh

__all__ = [
    "MOVE_DTYPE",
    "Learned",
    "Plastic",
    "Rule",
    "fresh",
    "learn",
    "load_moves",
    "map_for",
    "save_moves",
]
