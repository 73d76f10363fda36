"""Comparing networks on one chip: accuracy, counts, energy, latency, side by side.

Every network runs once; its activity then prices it on any chip, in any dataflow and
packing, as whole counts and not as an estimate of them.
"""

from neuromorph.compare.activity import Activity, measure
from neuromorph.compare.contenders import Contender, find_contender
from neuromorph.compare.picture import draw_comparison, draw_sweep
from neuromorph.compare.sweep import parse_axis, sweep
from neuromorph.compare.table import Comparison, Entry, compare_networks

__all__ = [
    "Activity",
    "Comparison",
    "Contender",
    "Entry",
    "compare_networks",
    "draw_comparison",
    "draw_sweep",
    "find_contender",
    "measure",
    "parse_axis",
    "sweep",
]
