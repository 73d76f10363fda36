"""Energy: counts × prices, after the fact.

An engine counts integers; a price file says what one of each costs, with a
range, a kind of evidence and a source.  :func:`estimate_energy` multiplies
them, so any run or stored trace can be priced again without running again.
What has no price refuses the total; it is never zero.
"""

from neuromorph.energy.estimate import estimate_energy
from neuromorph.energy.files import list_prices, load_prices
from neuromorph.energy.prices import BANDS, EvidenceKind, Price, Prices, SramModel, SramPoint
from neuromorph.energy.report import EnergyReport, Range, format_joules

__all__ = [
    "BANDS",
    "EnergyReport",
    "EvidenceKind",
    "Price",
    "Prices",
    "Range",
    "SramModel",
    "SramPoint",
    "estimate_energy",
    "format_joules",
    "list_prices",
    "load_prices",
]
