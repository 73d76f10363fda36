"""Energy: counts × prices, after the fact.

An engine counts integers; a price file says what one of each costs, with a
range, a kind of evidence and a source.  :func:`estimate_energy` multiplies
them, so any run or stored trace can be priced again without running again.
What has no price refuses the total; it is never zero.
"""

from neuromorph.energy.dump import dump_prices
from neuromorph.energy.estimate import estimate_energy
from neuromorph.energy.files import list_prices, load_prices
from neuromorph.energy.prices import BANDS, EvidenceKind, Price, Prices, SramModel, SramPoint
from neuromorph.energy.ranking import Ranking, rank_reports
from neuromorph.energy.report import EnergyReport
from neuromorph.energy.scaling import node_factor, scale_prices
from neuromorph.energy.terms import Range, Swing, format_joules

__all__ = [
    "BANDS",
    "EnergyReport",
    "EvidenceKind",
    "Price",
    "Prices",
    "Range",
    "Ranking",
    "SramModel",
    "SramPoint",
    "Swing",
    "dump_prices",
    "estimate_energy",
    "format_joules",
    "list_prices",
    "load_prices",
    "node_factor",
    "rank_reports",
    "scale_prices",
]
