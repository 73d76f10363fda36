"""The main charts of a trace as one PNG, for papers and slides."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from neuromorph.canvas import blank_figure, save_png
from neuromorph.energy import EnergyReport, Prices, Range, estimate_energy, format_joules
from neuromorph.errors import SimulationError
from neuromorph.events import plural
from neuromorph.report.charts import PORT, Layer, latency_parts
from neuromorph.report.drawing import colour_of, short
from neuromorph.report.gather import (
    events_by_layer,
    gather_raster,
    gather_traffic,
    link_loads,
    terms_of,
)
from neuromorph.trace import Trace

__all__ = ["write_figure"]

INCHES, DOTS = (12.8, 15.0), 110
SHOWN_TERMS = 10
SHOWN_LAYERS = 24
SHOWN_SAMPLES = 400
GREY, PALE = "#b0b0b0", "#e4e4e4"


def write_figure(
    trace: Trace, path: str | os.PathLike[str], *, prices: Prices | None = None
) -> Path:
    """Draw activity, cores, links, latency, rest, energy and events of a trace as PNG.

    Parameters
    ----------
    trace : Trace
        Of any detail and mode, finished or not; what it does not hold is said.
    path : path
        It appears under its name only when it is whole.
    prices : Prices, optional
        For the energy.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    MissingDependencyError
        matplotlib is not installed.
    TraceError
        The trace is damaged.
    SimulationError
        The file cannot be written.
    """
    layers = [
        Layer(name=info.name, fill=colour_of(i)[0])
        for i, info in enumerate(trace.network_info.layers)
    ]
    figure = blank_figure(*INCHES)
    (activity, latency), (cores, links), (pairs, energy), (by_layer, events) = figure.subplots(4, 2)
    state = "" if trace.complete else ", unfinished"
    figure.suptitle(
        short(f"{trace.network_name} on {trace.chip_name}", 70)
        + f": {plural(trace.samples, 'sample')}, mode {trace.mode}, detail {trace.detail}{state}"
    )
    _draw_activity(activity, trace)
    _draw_latency(latency, trace, layers)
    _draw_cores(cores, trace)
    _draw_links(links, trace)
    _draw_pairs(pairs, trace, layers)
    report = estimate_energy(trace.sums, prices) if prices and trace.samples else None
    _draw_energy(energy, report)
    _draw_energy_by_layer(by_layer, report, layers)
    _draw_events(events, trace, layers)
    for axes in figure.axes:
        axes.tick_params(labelsize=8)
    return save_png(figure, path, SimulationError, dpi=DOTS)


def _say(axes: Any, text: str) -> None:
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, ha="center", va="center", color="#555", transform=axes.transAxes)


def _draw_activity(axes: Any, trace: Trace) -> None:
    """Spikes by layer and neuron or core over time: a stroke each, or bins where they are many."""
    raster = gather_raster(trace)
    axes.set_title(plural(raster.spikes, "spike"), fontsize=10)
    scale = trace.tick_s * 1e6 if raster.timed else 1
    start, stop = raster.start * scale, raster.stop * scale
    top, places, row = 0.0, [], 0
    for band, (_, _, rows) in enumerate(raster.bands):
        height = float(rows)
        fill = PORT if band == 0 else colour_of(band - 1)[0]
        axes.axhspan(top, top + height, color="#f6f6f6", linewidth=0)
        if raster.bins is not None:
            shade = raster.shades(row, rows)
            image = np.ones((*shade.shape, 4))
            image[..., :3] = [int(fill[i : i + 2], 16) / 255 for i in (1, 3, 5)]
            image[..., 3] = shade
            box = (start, stop, top + height, top)
            axes.imshow(image, extent=box, aspect="auto", interpolation="nearest", zorder=2)
        else:
            mine = [m for m in raster.marks or () if m[0] == band]
            for sign, colour in ((1, "#0072B2"), (-1, "#D55E00")):
                x = [start + m[1] * (stop - start) for m in mine if m[3] * sign > 0]
                y = [top + m[2] * height for m in mine if m[3] * sign > 0]
                axes.plot(x, y, "|", color=colour, markersize=3, markeredgewidth=0.6)
        places.append(top + height / 2)
        top, row = top + height + 2, row + rows
    axes.set_yticks(places, [short(name, 12) for name, _, _ in raster.bands])
    axes.set_xlim(start, stop)
    axes.set_ylim(top, -1)
    axes.set_xlabel("time in µs" if raster.timed else "sample", fontsize=8)


def _draw_latency(axes: Any, trace: Trace, layers: list[Layer]) -> None:
    """Where the time of every sample went, layers upon each other."""
    arrived = gather_traffic(trace).arrived if trace.holds("packets") else None
    parts = latency_parts(trace, arrived, layers)
    if parts is None:
        return _say(axes, "no times: record in mode timed")
    number = min(trace.samples, SHOWN_SAMPLES)
    more = f", the first {plural(number, 'sample')}" if number < trace.samples else ""
    axes.set_title(f"latency in µs, first input to read-out{more}", fontsize=10)
    edges, below = np.arange(number + 1), np.zeros(number)
    for name, fill, values in parts:
        label = f"{short(name, 16)} {values.mean():,.3g} µs"
        axes.stairs(
            below + values[:number], edges, baseline=below, fill=True, color=fill, label=label
        )
        below = below + values[:number]
    axes.set_xlim(0, number)
    axes.set_ylim(0)
    axes.set_xlabel("sample", fontsize=8)
    axes.legend(fontsize=7, loc="lower right", framealpha=0.9)
    return None


def _draw_cores(axes: Any, trace: Trace) -> None:
    """Every used core on the mesh, darker the busier."""
    counts = trace.sums
    if counts.active_ticks is not None and counts.ticks:
        shares, what = counts.active_ticks / counts.ticks, "share of the time busy"
    else:
        events = (counts["xnor_event"] + counts["graded_event"]).sum(axis=0)
        shares, what = events / max(int(events.max()), 1), "events against the busiest core"
    columns, rows = _mesh(axes, trace)
    axes.set_title(f"cores: {what}", fontsize=10)
    roomy = max(columns, rows) <= 8 and trace.chip.cores_per_tile == 1
    for s, share in zip(trace.slices, shares[1:]):
        x, y = trace.chip.tile(s.core)
        fill, shown = colour_of(s.stage)[0], float(np.clip(share, 0, 1))
        axes.add_patch(_square(x, y, fill, 0.15))
        axes.bar(x, -0.84 * shown, 0.84, y + 0.42, color=fill, alpha=0.7)
        if roomy:
            axes.text(x, y, f"{short(s.layer, 9)}\n{shown:.0%}", ha="center", va="center",
                      fontsize=7)  # fmt: skip


def _square(x: int, y: int, fill: str, alpha: float) -> Any:
    from matplotlib.patches import Rectangle

    corner = x - 0.42, y - 0.42
    return Rectangle(corner, 0.84, 0.84, facecolor=fill, edgecolor=fill, alpha=alpha)


def _mesh(axes: Any, trace: Trace) -> tuple[int, int]:
    """The used corner of the mesh, (0, 0) above on the left."""
    chip = trace.chip
    tiles = [*(chip.tile(s.core) for s in trace.slices), *chip.ports]
    columns, rows = (max(axis) + 1 for axis in zip(*tiles))
    for x in range(chip.columns, columns, chip.columns):
        axes.axvline(x - 0.5, color="#D55E00", linewidth=1, linestyle="--")
    for y in range(chip.rows, rows, chip.rows):
        axes.axhline(y - 0.5, color="#D55E00", linewidth=1, linestyle="--")
    axes.set_xlim(-0.6, columns - 0.4)
    axes.set_ylim(rows - 0.4, -0.6)
    axes.set_aspect("equal")
    axes.set_xticks(range(columns))
    axes.set_yticks(range(rows))
    return columns, rows


def _draw_links(axes: Any, trace: Trace) -> None:
    """Packets over every link, the two directions side by side."""
    if not trace.holds("packets"):
        return _say(axes, "no packets were recorded")
    traffic = gather_traffic(trace)
    loads = link_loads(trace, traffic)
    if loads is None:
        return _say(axes, "ways around dead links and trees: record hops")
    _mesh(axes, trace)
    most = max(loads.values(), default=1)
    axes.set_title(f"{sum(loads.values()):,} link crossings, at most {most:,}", fontsize=10)
    for x, y in {trace.chip.tile(s.core) for s in trace.slices}:
        axes.plot(x, y, "s", color=PALE, markersize=9)
    for (x, y, to_x, to_y), number in loads.items():
        dx, dy = to_x - x, to_y - y
        share = number / most
        start = x + 0.2 * dx - 0.09 * dy, y + 0.2 * dy + 0.09 * dx
        axes.annotate(
            "", xytext=start, xy=(start[0] + 0.6 * dx, start[1] + 0.6 * dy),
            arrowprops={"arrowstyle": "-|>", "color": "#0072B2", "alpha": 0.25 + 0.75 * share,
                        "linewidth": 0.6 + 5 * share, "shrinkA": 0, "shrinkB": 0},
        )  # fmt: skip
    return None


def _draw_pairs(axes: Any, trace: Trace, layers: list[Layer]) -> None:
    """Of every layer: shares of events, zero weights and zero levels."""
    counts = trace.sums
    shown = layers[:SHOWN_LAYERS]
    axes.set_title("synaptic pairs: events (colour), weight zero, level zero", fontsize=10)
    for place, layer in enumerate(shown):
        rows = [i for i, name in enumerate(counts.layers) if name == layer.name]
        dense = max(int(counts.pairs[rows].sum()) * trace.samples, 1)
        left = 0.0
        for actions, fill in (
            (("xnor_event", "graded_event"), layer.fill),
            (("skip_weight",), GREY),
            (("skip_act",), PALE),
        ):
            share = sum(int(counts[a][:, rows].sum()) for a in actions) / dense
            axes.barh(place, share, left=left, color=fill, height=0.7)
            if share > 0.08:
                axes.text(left + share / 2, place, f"{share:.0%}", ha="center", va="center",
                          fontsize=7)  # fmt: skip
            left += share
    axes.set_yticks(range(len(shown)), [short(layer.name, 14) for layer in shown])
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")


def _draw_energy(axes: Any, energy: EnergyReport | None) -> None:
    """Energy by action, static power among them, with its range."""
    if energy is None:
        return _say(axes, "nothing to price")
    figure = energy.figures["total"] or energy.figures["dynamic"]
    head = "no total" if figure is None else str(figure)
    axes.set_title(f"energy an inference: {head} ({energy.prices})", fontsize=10)
    return _bars(axes, [(n, r, "#7fb8dc") for n, r in terms_of(energy)[:SHOWN_TERMS]])


def _draw_energy_by_layer(axes: Any, energy: EnergyReport | None, layers: list[Layer]) -> None:
    """Dynamic energy of every layer with its range."""
    if energy is None or energy.dynamic_problem:
        return _say(axes, "no energy by layer: an action has no price")
    axes.set_title("dynamic energy an inference, by layer", fontsize=10)
    fills = {layer.name: layer.fill for layer in layers}
    shown = list(energy.by_layer.items())[:SHOWN_LAYERS]
    return _bars(axes, [(short(n, 14), r, fills.get(n, PORT)) for n, r in shown])


def _bars(axes: Any, terms: list[tuple[str, Range, str]]) -> None:
    """A bar to the median and a line from p10 to p90 for each name."""
    for place, (_, r, fill) in enumerate(terms):
        axes.barh(place, r.p50, color=fill, height=0.7)
        axes.plot([r.p10, r.p90], [place, place], color="#222", linewidth=1)
    axes.set_yticks(range(len(terms)), [name for name, _, _ in terms])
    axes.invert_yaxis()
    axes.xaxis.set_major_formatter(lambda joules, _: format_joules(joules))
    axes.locator_params(axis="x", nbins=5)


def _draw_events(axes: Any, trace: Trace, layers: list[Layer]) -> None:
    """Synaptic events of every sample, layers upon each other."""
    number = min(trace.samples, SHOWN_SAMPLES)
    if not number:
        return _say(axes, "no samples")
    more = f", the first {plural(number, 'sample')}" if number < trace.samples else ""
    axes.set_title(f"synaptic events by sample{more}", fontsize=10)
    edges, below, events = np.arange(number + 1), np.zeros(number), events_by_layer(trace)
    for layer in layers:
        top = below + events[layer.name][:number]
        label = short(layer.name, 16)
        axes.stairs(top, edges, baseline=below, fill=True, color=layer.fill, label=label)
        below = top
    axes.set_xlim(0, number)
    axes.set_ylim(0)
    axes.set_xlabel("sample", fontsize=8)
    axes.yaxis.set_major_formatter(lambda n, _: f"{n:,.0f}")
    axes.legend(fontsize=7, loc="lower right", framealpha=0.9)
    return None
