"""One self-contained HTML page about a trace.

No script, no network: charts are inline SVG made by templates, and the page
forbids itself everything but its own style sheet.  Horizontal places are
percentages, so charts fill a telephone as well as a wide screen and letters
keep their size.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from neuromorph.energy import EnergyReport, Prices, estimate_energy, format_joules
from neuromorph.errors import SimulationError
from neuromorph.events import ACTIONS, plural
from neuromorph.report.charts import Layer, area_chart, latency_chart, raster_chart
from neuromorph.report.drawing import Mesh, colour_of, short, template
from neuromorph.report.gather import (
    WAYS_UNKNOWN,
    Traffic,
    events_by_layer,
    gather_raster,
    gather_traffic,
    link_loads,
    terms_of,
)
from neuromorph.trace import Trace
from neuromorph.writing import write_whole

__all__ = ["write_report"]

SHOWN_FLOWS = 12
SHOWN_TERMS = 14
SHOWN_LAYERS = 40
MESH_BOX, LARGEST_TILE = 380.0, 90.0


def write_report(
    trace: Trace, path: str | os.PathLike[str], *, prices: Prices | None = None
) -> Path:
    """Write a page about a trace.

    Parameters
    ----------
    trace : Trace
        Of any detail and mode, finished or not.
    path : path
        HTML file to write; it appears under its name only when it is whole.
    prices : Prices, optional
        For the energy; without them the page has none.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    TraceError
        The trace is damaged.
    SimulationError
        The file cannot be written.
    """
    counts = trace.sums
    traffic = gather_traffic(trace) if trace.holds("packets") else None
    energy = None
    if prices is not None and trace.samples:
        energy = estimate_energy(counts, prices)
    layers = [
        Layer(name=info.name, fill=colour_of(i)[0])
        for i, info in enumerate(trace.network_info.layers)
    ]
    style = files("neuromorph.report").joinpath("templates/page.css").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    text = template("page.html.jinja").render(
        style=style,
        policy=f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'",
        title=short(f"{trace.network_name} on {trace.chip_name}", 80),
        state=None if trace.complete else _unfinished(trace),
        tiles=_tiles(trace, energy),
        legend=[(layer.name, layer.fill) for layer in layers],
        raster=raster_chart(gather_raster(trace), trace.tick_s),
        cores=_cores(trace),
        links=None if traffic is None else _links(trace, traffic),
        flows=None if traffic is None else _flows(trace, traffic),
        time=latency_chart(trace, None if traffic is None else traffic.arrived, layers),
        events=area_chart(events_by_layer(trace), layers) if trace.samples else None,
        pairs=_pairs(trace, layers),
        actions=None if energy is None else _actions(energy),
        by_layer=None if energy is None else _by_layer(energy, layers),
        energy=_energy(trace, prices, energy),
        counts=_counts(trace),
        provenance=_provenance(trace),
    )
    return write_whole(path, text.encode(), SimulationError, "report")


# --- head


def _unfinished(trace: Trace) -> str:
    return (
        f"The run did not finish. {plural(trace.samples, 'sample')} and "
        f"{plural(trace.packet_count, 'packet')} "
        "were written before it stopped; everything below is about these."
    )


def _tiles(trace: Trace, energy: EnergyReport | None) -> list[tuple[str, str, str]]:
    """(figure, what it is, more) of the facts asked for first."""
    counts, n = trace.sums, max(trace.samples, 1)
    tiles = [(f"{trace.samples:,}", "samples", f"mode {trace.mode}, detail {trace.detail}")]
    if trace.accuracy is not None:
        what = "pixels" if trace.dice is not None else "samples"
        tiles.append((f"{trace.accuracy:.2%}", "accuracy", f"of the labelled {what}"))
    if trace.dice is not None:
        tiles.append((f"{trace.dice:.4f}", "Dice", "of the pixels of class 1"))
    if trace.samples:
        tiles.append((f"{counts.events / n:,.0f}", "synaptic events", "an inference"))
        tiles.append((f"{counts.resting_fraction:.1%}", "at rest", "of all synaptic pairs"))
    if trace.latency_s is not None:
        pace = trace.interval_s
        more = "" if pace is None else f"one result every {_seconds(pace)}"
        tiles.append((_seconds(trace.latency_s), "mean latency", more))
    if energy is not None:
        for name in ("total", "dynamic"):
            figure = energy.figures[name]
            if figure is not None:
                spread = f"{format_joules(figure.p10)} … {format_joules(figure.p90)}"
                what = "energy" if name == "total" else "dynamic energy"
                tiles.append((format_joules(figure.p50), f"{what} an inference", spread))
                break
    return tiles


def _seconds(seconds: float) -> str:
    return f"{seconds * 1e6:,.4g} µs" if seconds < 1e-3 else f"{seconds * 1e3:,.4g} ms"


# --- cores, links and flows


def _cores(trace: Trace) -> dict[str, Any]:
    """Every used core with its layer and how busy it was."""
    counts = trace.sums
    timed = counts.active_ticks is not None and bool(counts.ticks)
    if counts.active_ticks is not None and counts.ticks:
        shares = counts.active_ticks / counts.ticks
        says = [f"busy {share:.0%}" for share in shares]
    else:
        events = (counts["xnor_event"] + counts["graded_event"]).sum(axis=0)
        shares = events / max(int(events.max()), 1)
        says = [f"{events[i] / max(trace.samples, 1):,.0f} events" for i in range(len(events))]
    mesh = Mesh.of(trace.chip, trace.slices, MESH_BOX, LARGEST_TILE, 0)
    cores = [
        {
            "x": x,
            "y": y,
            "fill": colour_of(s.stage)[0],
            "share": float(min(max(share, 0.0), 1.0)),
            "lines": _core_lines(mesh.size, s.layer, f"{share:.0%}"),
            "label": f"core {s.core}: {s.layer}, {plural(s.neurons, 'neuron')}, {said}",
        }
        for s, (x, y), share, said in zip(trace.slices, mesh.places, shares[1:], says[1:])
    ]
    what = "share of the time it was busy" if timed else "events, as a share of the busiest core's"
    return {"mesh": mesh, "cores": cores, "note": f"Filled from below: {what}. {_used(trace)}"}


def _used(trace: Trace) -> str:
    return f"{len(trace.slices)} of {trace.chip.cores:,} cores are used."


def _core_lines(size: float, layer: str, share: str) -> list[str]:
    if size >= 43:
        return [short(layer, int(size / 6.5)), share]
    return [share] if size >= 26 else []


def _links(trace: Trace, traffic: Traffic) -> dict[str, Any]:
    """Every link that carried a packet, drawn on the right-hand side of its direction."""
    mesh = Mesh.of(trace.chip, trace.slices, MESH_BOX, LARGEST_TILE, 0)
    loads = link_loads(trace, traffic)
    if loads is None:
        return {"mesh": mesh, "lines": [], "tiles": _places(mesh), "note": WAYS_UNKNOWN}
    most = max(loads.values(), default=1)
    side, lines, waited = mesh.side, [], traffic.waited
    for (x, y, to_x, to_y), number in sorted(loads.items(), key=lambda item: item[1]):
        dx, dy = to_x - x, to_y - y
        width = max(1.5, 0.12 * side * number / most)
        lines.append(
            {
                "path": _arrow(x + 0.5, y + 0.5, dx, dy, side, width),
                "shade": 0.25 + 0.75 * number / most,
                "label": f"tile {x},{y} to {to_x},{to_y}: {plural(number, 'packet')}"
                + ("" if waited is None else f", waited {waited[x, y, to_x, to_y]:,} ticks"),
            }
        )
    total = sum(loads.values())
    note = f"{total:,} crossings of {len(loads)} links, tokens included"
    if total:
        x, y, to_x, to_y = max(loads, key=lambda link: (loads[link], link))
        note += f"; the busiest, {x},{y} to {to_x},{to_y}, took {most:,} ({most / total:.0%})"
    if waited:
        x, y, to_x, to_y = max(waited, key=lambda link: (waited[link], link))
        mean = sum(waited.values()) * trace.tick_s * 1e9 / max(total, 1)
        note += f". A crossing waited {mean:,.3g} ns on average, most at {x},{y} to {to_x},{to_y}"
    return {"mesh": mesh, "lines": lines, "tiles": _places(mesh), "note": note + "."}


def _places(mesh: Mesh) -> list[tuple[float, float]]:
    return [(x * mesh.side, y * mesh.side) for y in range(mesh.rows) for x in range(mesh.columns)]


def _arrow(x: float, y: float, dx: int, dy: int, side: float, width: float) -> str:
    """Outline of an arrow from the tile around (x, y) to the next one, right of the middle."""
    # along the link and across it, in tiles
    half, head = width / side / 2, min(width / side, 0.1)
    outline = [(0.23, -half), (0.77 - head, -half), (0.77 - head, -2 * half), (0.77, 0),
               (0.77 - head, 2 * half), (0.77 - head, half), (0.23, half)]  # fmt: skip
    points = (
        (
            (x + along * dx - (across + 0.1) * dy) * side,
            (y + along * dy + (across + 0.1) * dx) * side,
        )
        for along, across in outline
    )
    return "M" + "L".join(f"{px:.1f} {py:.1f}" for px, py in points) + "z"


def _flows(trace: Trace, traffic: Traffic) -> dict[str, Any]:
    """The busiest pairs of source and target."""

    def name(row: int) -> str:
        if not 0 < row <= len(trace.slices):
            return "input"
        return f"{short(trace.slices[row - 1].layer, 14)} (core {trace.slices[row - 1].core})"

    found = traffic.packets.most_common()
    most = found[0][1] if found else 1
    bars = [
        {
            "name": f"{name(source)} → {name(target)}",
            "text": f"{number:,}",
            "parts": [(0.0, number / most, colour_of(trace.slices[target - 1].stage)[0])],
        }
        for (source, target), number in found[:SHOWN_FLOWS]
    ]
    rest = found[SHOWN_FLOWS:]
    more = f"and {len(rest)} more with {plural(sum(n for _, n in rest), 'packet')}" if rest else ""
    return {"bars": bars, "more": more, "total": sum(traffic.packets.values())}


# --- synaptic pairs and energy


def _pairs(trace: Trace, layers: list[Layer]) -> dict[str, Any]:
    """Of every layer: shares of events, zero weights and zero levels."""
    counts, bars = trace.sums, []
    for layer in layers:
        rows = [i for i, name in enumerate(counts.layers) if name == layer.name]
        dense = int(counts.pairs[rows].sum()) * trace.samples
        shares = [
            sum(int(counts[a][:, rows].sum()) for a in actions) / max(dense, 1)
            for actions in (("xnor_event",), ("graded_event",), ("skip_weight",), ("skip_act",))
        ]
        edges = np.concatenate([[0.0], np.cumsum(shares)]).tolist()
        fills = (layer.fill, layer.fill, "#b0b0b0", "#e4e4e4")
        bars.append(
            {
                "name": short(layer.name, 24),
                "text": f"{shares[0] + shares[1]:.1%} events, {shares[2] + shares[3]:.1%} at rest",
                "parts": list(zip(edges, shares, fills)),
            }
        )
    more = len(bars) - SHOWN_LAYERS
    return {
        "bars": bars[:SHOWN_LAYERS],
        "more": f"and {plural(more, 'more layer')}" if more > 0 else "",
    }


def _actions(energy: EnergyReport) -> dict[str, Any]:
    """Energy by action, static power among them, with its range."""
    terms = terms_of(energy)
    most = max((r.p90 for _, r in terms), default=0.0) or 1.0
    bars = [
        {
            "name": name,
            "text": str(r),
            "parts": [(0.0, r.p50 / most, "#7fb8dc")],
            "whisker": (r.p10 / most, r.p90 / most),
        }
        for name, r in terms[:SHOWN_TERMS]
    ]
    rest = len(terms) - SHOWN_TERMS
    return {"bars": bars, "more": f"and {rest} smaller terms" if rest > 0 else ""}


def _by_layer(energy: EnergyReport, layers: list[Layer]) -> dict[str, Any] | None:
    """Dynamic energy by layer; None where it is refused."""
    if energy.dynamic_problem:
        return None
    fills = {layer.name: layer.fill for layer in layers}
    ranges = energy.by_layer
    most = max((r.p90 for r in ranges.values()), default=0.0) or 1.0
    bars = [
        {
            "name": short(name, 24),
            "text": str(r),
            "parts": [(0.0, r.p50 / most, fills.get(name, "#555"))],
            "whisker": (r.p10 / most, r.p90 / most),
        }
        for name, r in ranges.items()
    ]
    more = len(bars) - SHOWN_LAYERS
    return {
        "bars": bars[:SHOWN_LAYERS],
        "more": f"and {plural(more, 'more layer')}" if more > 0 else "",
    }


def _energy(trace: Trace, prices: Prices | None, energy: EnergyReport | None) -> list[str]:
    """What must be known beside the bars."""
    if prices is None:
        return ["No prices were given."]
    if energy is None:
        return ["No sample was recorded, so there is nothing to price."]
    said = [
        f"Prices {energy.prices} ({energy.conditions}), joules an inference. Bar: median; line: "
        f"p10 to p90 of {energy.draws} draws; worst evidence: {energy.evidence or 'none'}."
    ]
    problems = [p for p in (energy.dynamic_problem, energy.static_problem) if p]
    said += [f"No total: {problem}." for problem in problems]
    return said + [f"{note[:1].upper()}{note[1:]}." for note in energy.notes]


# --- tables


def _counts(trace: Trace) -> dict[str, Any]:
    """Tallies of an inference by layer; only actions that happened."""
    by_layer, n = trace.sums.by_layer(), max(trace.samples, 1)
    from_actions = [
        (action, [float(tally[i]) / n for tally in by_layer.values()])
        for i, action in enumerate(ACTIONS)
    ]
    shown = [(action, row) for action, row in from_actions if any(row)]
    return {
        "layers": list(by_layer),
        "rows": [(a, [f"{v:,.1f}" for v in row], f"{sum(row):,.1f}") for a, row in shown],
    }


def _provenance(trace: Trace) -> dict[str, Any]:
    facts = [
        ("trace", f"{trace.path.name}, format {trace.version}, {_bytes(trace.path)}"),
        ("written", f"{trace.created} by {trace.generator}"),
        ("network", trace.network_name),
        ("SHA-256 of the network", trace.network_hash),
        ("input", f"{trace.network_info.encoding}, {trace.network_info.inputs:,} neurons"),
        ("chip", f"{trace.chip_name}: {trace.chip.description}"),
        *([("board", trace.chip.board)] if trace.chip.board else []),
        ("tick", f"{trace.tick_s:g} s"),
        *((f"option {name}", _plain(value)) for name, value in trace.options.items()),
        *((name, _plain(value)) for name, value in trace.environment.items()),
    ]
    notes = json.dumps(trace.provenance, indent=2, ensure_ascii=False, default=str)
    return {"facts": facts, "notes": notes}


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _bytes(path: Path) -> str:
    return f"{path.stat().st_size:,} bytes"
