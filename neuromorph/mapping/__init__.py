"""Mapping networks onto chips."""

from neuromorph.mapping.dataflow import Form
from neuromorph.mapping.file import load_mapping, save_mapping
from neuromorph.mapping.mapping import Fit, Mapping, check_fit, map_network
from neuromorph.mapping.partition import Limit
from neuromorph.mapping.slices import Slice
from neuromorph.mapping.tally import COUNTED, Tally, complete, tabulate
from neuromorph.mapping.timing import Timing

__all__ = [
    "COUNTED",
    "Fit",
    "Form",
    "Limit",
    "Mapping",
    "Slice",
    "Tally",
    "Timing",
    "check_fit",
    "complete",
    "load_mapping",
    "map_network",
    "save_mapping",
    "tabulate",
]
