"""neuromorph: event-driven simulation of networks with discrete weights and activations.

import neuromorph as nm

net = nm.load_network("digits-gxnor")
chip = nm.load_chip("gxnor45")
mapping = nm.map_network(net, chip)
run = nm.simulate(mapping, images, mode="timed", trace="run.h5")
print(nm.estimate_energy(run.counts, nm.load_prices("horowitz45")))
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neuromorph.chip import Chip as Chip
    from neuromorph.chip import load_chip as load_chip
    from neuromorph.energy import EnergyReport as EnergyReport
    from neuromorph.energy import Prices as Prices
    from neuromorph.energy import estimate_energy as estimate_energy
    from neuromorph.energy import load_prices as load_prices
    from neuromorph.errors import NeuromorphError as NeuromorphError
    from neuromorph.events import Counts as Counts
    from neuromorph.learning import learn as learn
    from neuromorph.levels import Levels as Levels
    from neuromorph.mapping import Mapping as Mapping
    from neuromorph.mapping import map_network as map_network
    from neuromorph.network import Network as Network
    from neuromorph.network import load_network as load_network
    from neuromorph.network import save_network as save_network
    from neuromorph.simulation import Run as Run
    from neuromorph.simulation import simulate as simulate
    from neuromorph.trace import Trace as Trace

__version__ = "0.1.0"

# Public names and the module each comes from; loaded when first used, so that
# ``import neuromorph`` stays fast.
_PUBLIC = {
    "Chip": "chip",
    "Counts": "events",
    "EnergyReport": "energy",
    "Levels": "levels",
    "Mapping": "mapping",
    "Network": "network",
    "NeuromorphError": "errors",
    "Prices": "energy",
    "Run": "simulation",
    "Trace": "trace",
    "estimate_energy": "energy",
    "learn": "learning",
    "load_chip": "chip",
    "load_network": "network",
    "load_prices": "energy",
    "map_network": "mapping",
    "save_network": "network",
    "simulate": "simulation",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'neuromorph' has no attribute {name!r}")
    value = getattr(import_module(f"neuromorph.{_PUBLIC[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
