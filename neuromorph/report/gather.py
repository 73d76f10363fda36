"""What the report page shows of a trace, read once from end to end in bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuromorph.energy import EnergyReport, Range
from neuromorph.mapping.packets import SIDES
from neuromorph.mapping.slices import source_tiles
from neuromorph.trace import Trace

__all__ = [
    "WAYS_UNKNOWN",
    "Raster",
    "Traffic",
    "events_by_layer",
    "gather_raster",
    "gather_traffic",
    "link_loads",
    "terms_of",
]

Ints = NDArray[np.int64]
Link = tuple[int, int, int, int]  # tile from (x, y), tile to (x, y)

WAYS_UNKNOWN = (
    "The ways of packets around dead links, or in trees, are known from hops alone; record the run "
    "with --detail hops to see its links."
)
STEPS = ((1, 0), (-1, 0), (0, 1), (0, -1))  # of the sides of a router
FAINTEST = 1 / 6  # darkness of a bin with the fewest spikes of its layer
MARKS = 20_000  # spikes drawn one by one; more saturate a picture and are binned
TIME_BINS = 240
ROW_BINS = 120  # of all layers together
FEWEST_ROW_BINS = 6


# --- packets


@dataclass(slots=True)
class Traffic:
    """Packets by source and target row, tokens included, and when the last one of a layer came.

    ``arrived`` int64 (samples, layers): tick of the last delivery to a core of
    the layer; −1 where there was none.  ``crossed``, ``waited``: packets over every link,
    and ticks that they waited for it, None where hops were not recorded.
    """

    packets: Counter[tuple[int, int]] = field(default_factory=Counter)
    arrived: Ints = field(default_factory=lambda: np.zeros((0, 0), np.int64))
    crossed: Counter[Link] | None = None
    waited: Counter[Link] | None = None


def gather_traffic(trace: Trace) -> Traffic:
    """Read the packet table of a trace."""
    rows, layers = len(trace.slices) + 1, len(trace.network_info.layers)
    sources = len(source_tiles(trace.chip, trace.slices, trace.network_info.inputs))
    layer_of = np.array([0, *(s.stage for s in trace.slices)])
    traffic = Traffic(arrived=np.full((trace.samples, layers), -1, np.int64))
    for block in trace.blocks("packets"):
        source, target = block["source"].astype(np.int64), block["target"].astype(np.int64)
        there = (source < sources) & (target < rows) & (target > 0)
        source, target = source[there], target[there]
        pairs, numbers = np.unique(source * rows + target, return_counts=True)
        for pair, number in zip(pairs.tolist(), numbers.tolist()):
            traffic.packets[divmod(pair, rows)] += number
        # a run that did not finish has packets of samples that are not in yet
        known = there & (block["sample"] < trace.samples)
        at = block["sample"][known], layer_of[block["target"][known]]
        np.maximum.at(traffic.arrived, at, block["delivered"][known])
    if trace.holds("hops"):
        traffic.crossed, traffic.waited = _crossed(trace)
    return traffic


def _crossed(trace: Trace) -> tuple[Counter[Link], Counter[Link]]:
    """Packets over every link between tiles, and ticks waited for it, of recorded hops."""
    columns, sides = trace.chip.mesh_columns, len(SIDES)
    crossed: Counter[Link] = Counter()
    waited: Counter[Link] = Counter()
    for block in trace.blocks("hops"):
        links, place = np.unique(block["link"], return_inverse=True)
        numbers = np.bincount(place)
        # float64 weights are exact: a block has far fewer than 2**53 ticks
        ticks = np.bincount(place, weights=block["waited"]).astype(np.int64)
        for link, number, wait in zip(links.tolist(), numbers.tolist(), ticks.tolist()):
            router, side = divmod(link, sides)
            if side < len(STEPS):
                y, x = divmod(router, columns)
                there = x, y, x + STEPS[side][0], y + STEPS[side][1]
                crossed[there] += number
                waited[there] += wait
    return crossed, waited


def link_loads(trace: Trace, traffic: Traffic) -> Counter[Link] | None:
    """Packets over every link between tiles; None where a trace without hops cannot tell.

    As recorded in the hops; without hops first along x, then along y, which is not the way
    around dead links, nor that of trees.
    """
    if traffic.crossed is not None:
        return traffic.crossed
    if trace.chip.dead_links or trace.chip.routing == "multicast":
        return None
    tiles = source_tiles(trace.chip, trace.slices, trace.network_info.inputs).tolist()
    loads: Counter[Link] = Counter()
    for (source, target), number in traffic.packets.items():
        (x, y), (to_x, to_y) = tiles[source], tiles[target]
        while (x, y) != (to_x, to_y):
            step = (np.sign(to_x - x), 0) if x != to_x else (0, np.sign(to_y - y))
            beyond = x + int(step[0]), y + int(step[1])
            loads[x, y, *beyond] += number
            x, y = beyond
    return loads


# --- spikes


@dataclass(slots=True)
class Raster:
    """Spikes over time (ticks, or samples where there is no time).

    ``bands``: (name, number of neurons or cores, rows of bins) from top to bottom.
    ``marks`` holds (band, x, y, level) in unit coordinates of the band, or is
    None; then ``bins`` int64 (rows of bins, time bins) counts spikes.
    """

    bands: list[tuple[str, int, int]]
    start: int
    stop: int
    timed: bool
    spikes: int = 0
    marks: list[tuple[int, float, float, int]] | None = None
    bins: Ints | None = None
    unit: str = "neuron"  # or "core"

    def shades(self, first: int, rows: int) -> NDArray[np.float64]:
        """How dark some rows of bins are: the fullest 1, the emptiest a bit, none 0."""
        assert self.bins is not None
        bins = np.sqrt(self.bins[first : first + rows])
        most, least = float(bins.max(initial=0)), float(bins[bins > 0].min(initial=np.inf))
        if most <= least:
            return (bins > 0).astype(np.float64)
        return np.where(bins > 0, FAINTEST + (1 - FAINTEST) * (bins - least) / (most - least), 0.0)


def gather_raster(trace: Trace) -> Raster:
    """Spikes of a trace; of one without spikes, those its cores counted a sample."""
    if not trace.holds("spikes"):
        return _counted(trace)
    names = ["input", *(layer.name for layer in trace.network_info.layers[:-1])]
    bands = _bands(names, trace.network_info.spiking_sizes)
    timed = trace.holds("packets")
    start, stop = 0, trace.samples
    if timed:
        begun, finished = trace.started_ticks, trace.finished_ticks
        if begun is not None and len(begun):
            start = int(begun[0])
        stop = max(trace.last_tick or 0, start) + 1
        if finished is not None and len(finished):
            stop = max(stop, int(finished[-1]))
    raster = Raster(bands=bands, start=start, stop=max(stop, start + 1), timed=timed)
    sizes = np.array([size for _, size, _ in bands])
    rows = np.array([number for _, _, number in bands])
    first_row = np.cumsum(rows) - rows
    columns = TIME_BINS if timed else min(TIME_BINS, raster.stop)
    bins = np.zeros((int(rows.sum()), columns), np.int64)
    marks: list[tuple[int, float, float, int]] = []
    for block in trace.timed_spikes() if timed else trace.blocks("spikes"):
        layer, neuron = block["layer"].astype(np.int64), block["neuron"].astype(np.int64)
        time = block["tick"] if timed else block["sample"].astype(np.int64)
        there = (layer < len(sizes)) & (neuron < sizes[np.minimum(layer, len(sizes) - 1)])
        layer, neuron, time, level = (a[there] for a in (layer, neuron, time, block["level"]))
        x = np.clip((time - raster.start) / (raster.stop - raster.start), 0, 1 - 1e-9)
        y = (neuron + 0.5) / sizes[layer]
        raster.spikes += len(x)
        if raster.spikes <= MARKS:
            marks += zip(layer.tolist(), x.tolist(), y.tolist(), level.tolist())
        at = first_row[layer] + (y * rows[layer]).astype(int), (x * columns).astype(int)
        np.add.at(bins, at, 1)
    if raster.spikes <= MARKS:
        raster.marks = marks
    else:
        raster.bins = bins
    return raster


def _counted(trace: Trace) -> Raster:
    """One row of bins a core: how many spikes left it, sample by sample."""
    names = trace.count_layers
    rows = {name: [i for i, n in enumerate(names) if n == name] for name in dict.fromkeys(names)}
    rows.pop(trace.network_info.layers[-1].name)
    # many cores share a row of bins
    groups = {n: np.array_split(r, min(len(r), ROW_BINS // len(rows) + 1)) for n, r in rows.items()}
    sent = _tallies(trace, [group for parts in groups.values() for group in parts], "spike_out")
    columns = min(TIME_BINS, max(len(sent), 1))
    bins = np.zeros((sent.shape[1], columns), np.int64)
    at = np.arange(len(sent)) * columns // max(len(sent), 1)
    np.add.at(bins.T, at, sent)
    return Raster(
        bands=[(name, len(rows[name]), len(parts)) for name, parts in groups.items()],
        start=0,
        stop=max(len(sent), 1),
        timed=False,
        spikes=int(bins.sum()),
        bins=bins,
        unit="core",
    )


def _bands(names: list[str], sizes: list[int]) -> list[tuple[str, int, int]]:
    """Room for every layer, by the root of its size: small layers stay visible."""
    roots = np.sqrt(sizes)
    rooms = np.maximum(np.round(ROW_BINS * roots / roots.sum()), FEWEST_ROW_BINS).astype(int)
    return [(n, s, min(s, int(r))) for n, s, r in zip(names, sizes, rooms)]


def terms_of(energy: EnergyReport) -> list[tuple[str, Range]]:
    """Energy by action, static power among them, dearest first."""
    terms = list(energy.by_action.items())
    static = energy.figures["static"]
    if static is not None and static.p90 > 0:
        terms.append(("static power", static))
    return sorted(terms, key=lambda item: -item[1].p50)


def events_by_layer(trace: Trace) -> dict[str, NDArray[Any]]:
    """Synaptic events of every sample, by layer."""
    names = [layer.name for layer in trace.network_info.layers]
    groups = [[i for i, n in enumerate(trace.count_layers) if n == name] for name in names]
    return dict(zip(names, _tallies(trace, groups, "xnor_event", "graded_event").T))


def _tallies(trace: Trace, groups: Sequence[ArrayLike], *actions: str) -> Ints:
    """Sums of some actions over groups of rows, (samples, groups), read a block at a time."""
    places = [i for i, name in enumerate(trace.action_names) if name in actions]
    parts = [np.zeros((0, len(groups)), np.int64)]
    for block in trace.blocks("counts"):
        sums = block["values"][:, :, places].sum(axis=2)
        parts.append(np.stack([sums[:, np.asarray(g)].sum(axis=1) for g in groups], axis=1))
    return np.concatenate(parts)
