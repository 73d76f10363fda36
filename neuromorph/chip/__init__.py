"""The modelled chip: a mesh of tiles with cores, its limits and its times.

A chip is a TOML file in which every number carries its evidence: ``value``,
``kind`` and ``source``.  What is not published is marked ``assumed`` with a
reason, never slipped in; a time that is not published may be left out, and
then the chip cannot be simulated in time.  Times are whole ticks.
"""

from neuromorph.chip.file import PRESETS, list_chips, load_chip
from neuromorph.chip.keys import BOUNDS, KEYS, Fact, Kind, Routing, Sync
from neuromorph.chip.model import LINK_SIDES, Chip, Times

__all__ = [
    "BOUNDS",
    "KEYS",
    "LINK_SIDES",
    "PRESETS",
    "Chip",
    "Fact",
    "Kind",
    "Routing",
    "Sync",
    "Times",
    "list_chips",
    "load_chip",
]
