"""Mapping networks onto chips."""

from neuromorph.mapping.dataflow import Form
from neuromorph.mapping.file import load_mapping, save_mapping
from neuromorph.mapping.mapping import Fit, Mapping, check_fit, link_packets, map_network
from neuromorph.mapping.partition import Limit
from neuromorph.mapping.slices import Slice
from neuromorph.mapping.tally import COUNTED, Tally, complete, tabulate
from neuromorph.mapping.timing import Timing
from neuromorph.mapping.traffic import Spikes

__all__ = [
    "COUNTED",
    "Fit",
    "Form",
    "Limit",
    "Mapping",
    "Slice",
    "Spikes",
    "Tally",
    "Timing",
    "check_fit",
    "complete",
    "link_packets",
    "load_mapping",
    "map_network",
    "save_mapping",
    "tabulate",
]
