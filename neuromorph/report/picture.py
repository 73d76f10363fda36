"""One SVG picture of a run: where it sits, what rests, what it costs, how long it takes.

Plain SVG from a template: no plotting library, opens in any browser.
"""

from __future__ import annotations

import os
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuromorph.energy import EnergyReport, format_joules
from neuromorph.errors import SimulationError
from neuromorph.events import plural
from neuromorph.report.drawing import Mesh, colour_of, scaled, short, template
from neuromorph.writing import check_ending, write_whole

if TYPE_CHECKING:
    from neuromorph.simulation import Run

__all__ = ["draw_run"]

SHOWN_ACTIONS = 9
SHOWN_SAMPLES = 2000
SHOWN_LAYERS = 20
ROOMY_LAYERS = 7
MESH = 290.0  # side of the box the mesh is drawn in
LARGEST_TILE = 72.0
LAYERS_HEIGHT = 270.0
BINS = 30


def draw_run(
    run: Run,
    report: EnergyReport,
    path: str | os.PathLike[str],
    *,
    labels: ArrayLike | None = None,
) -> Path:
    """Draw a run as SVG.

    Four panels: the used part of the mesh with the slices of every layer (and
    how busy each core was, in timed mode), the share of synaptic pairs that
    made an event or rested, energy by term with its p10–p90 range, and latency
    against events of every sample (without time: how events are spread).

    Parameters
    ----------
    run : Run
    report : EnergyReport
        Of the run's counts.
    path : path
        File to write; it appears under its name only when it is whole.
    labels : integer array, shape (samples,), optional
        For the accuracy.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    SimulationError
        A name that does not end in ``.svg``, a file that cannot be written, or
        labels that do not fit the run.
    """
    check_ending(path, (".svg",), SimulationError)
    text = template("run.svg.jinja").render(
        title=short(f"{run.mapping.network.name} on {run.mapping.chip.name}", 80),
        facts=_facts(run, report, labels),
        mesh=_mesh(run),
        layers=_layers(run),
        energy=_energy(report),
        samples=_latencies(run) if run.latencies_s is not None else _histogram(run),
    )
    return write_whole(path, text.encode(), SimulationError, "picture")


def _facts(run: Run, report: EnergyReport, labels: ArrayLike | None) -> list[str]:
    facts = [f"{plural(len(run), 'sample')}, mode {run.mode}"]
    if labels is not None:
        facts.append(f"accuracy {run.accuracy(labels):.2%}")
    facts.append(f"{run.counts.events / len(run):,.0f} synaptic events an inference")
    facts.append(f"{run.counts.resting_fraction:.1%} of pairs at rest")
    if run.latency_s is not None:
        facts.append(f"latency {run.latency_s * 1e6:,.1f} µs")
    for name in ("total", "dynamic"):
        figure = report.figures[name]
        if figure is not None:
            facts.append(f"{'' if name == 'total' else 'dynamic '}energy {figure}")
            break
    return facts


def _colour(run: Run, layer: str) -> tuple[str, str]:
    names = [s.name for s in run.mapping.network.stages]
    return colour_of(names.index(layer))


# --- the mesh


def _mesh(run: Run) -> dict[str, Any]:
    """The used tiles and one beyond, as squares; each used core with layer and busy share."""
    chip, counts = run.mapping.chip, run.counts
    mesh = Mesh.of(chip, run.mapping.slices, MESH, LARGEST_TILE, 1)
    cores = []
    for row, (s, (x, y)) in enumerate(zip(run.mapping.slices, mesh.places), start=1):
        busy = ""
        if counts.active_ticks is not None and counts.ticks:
            busy = f"{int(counts.active_ticks[row]) / counts.ticks:.0%}"
        fill, ink = _colour(run, s.layer)
        cores.append(
            {
                "x": x,
                "y": y,
                "fill": fill,
                "ink": ink,
                "lines": _core_lines(mesh.size, s.layer, busy),
                "label": f"core {s.core}: {s.layer}, {plural(s.neurons, 'neuron')}"
                + (f", busy {busy}" if busy else ""),
            }
        )
    timed = any(core["lines"] for core in cores) and counts.active_ticks is not None
    tiles = [(x * mesh.side, y * mesh.side) for y in range(mesh.rows) for x in range(mesh.columns)]
    return {
        "title": "Cores on the mesh" + (", share of time busy" if timed else ""),
        "note": mesh.note(chip),
        "side": mesh.side,
        "columns": mesh.columns,
        "rows": mesh.rows,
        "ports": mesh.ports,
        "edges": mesh.edges,
        "size": mesh.size,
        "font": 11 if mesh.size >= 43 else 9,
        "tiles": tiles,
        "cores": cores,
    }


def _core_lines(size: float, layer: str, busy: str) -> list[str]:
    """What fits into the square of a core: layer and busy share, or one of them."""
    if size >= 43:
        return [line for line in (short(layer, int(size / 6.5)), busy) if line]
    if size >= 23 and busy:
        return [busy]
    return []


# --- synaptic pairs


def _layers(run: Run) -> dict[str, Any]:
    """Of every layer: shares of events, zero weights and zero levels."""
    counts = run.counts
    bars: list[dict[str, Any]] = []
    for stage in run.mapping.network.stages:
        rows = [i for i, name in enumerate(counts.layers) if name == stage.name]
        dense = int(counts.pairs[rows].sum()) * len(run)
        shares = {
            key: sum(int(counts[a][:, rows].sum()) for a in actions) / max(dense, 1)
            for key, actions in (
                ("events", ("xnor_event", "graded_event")),
                ("weight", ("skip_weight",)),
                ("level", ("skip_act",)),
            )
        }
        bars.append(
            {
                "name": stage.name,
                "fill": _colour(run, stage.name)[0],
                "pairs": f"{dense // len(run):,}",
                "rest": f"{1 - shares['events']:.1%}",
                **shares,
            }
        )
    roomy = len(bars) <= ROOMY_LAYERS
    shown = bars[:SHOWN_LAYERS]
    lines = len(shown) + (len(bars) > len(shown))
    step = min(56.0 if roomy else 30.0, LAYERS_HEIGHT / lines)
    return {
        "bars": [{**bar, "name": short(bar["name"], 24 if roomy else 14)} for bar in shown],
        "more": len(bars) - len(shown),
        "roomy": roomy,
        "step": step,
        "font": min(12.0, step - 2),
    }


# --- energy


def _energy(report: EnergyReport) -> dict[str, Any]:
    """The dearest terms, static among them, as bars of at most one; what is missing."""
    terms = list(report.by_action.items())
    static = report.figures["static"]
    if static is not None and static.p90 > 0:
        terms.append(("static", static))
    terms = sorted(terms, key=lambda item: -item[1].p50)
    shown = terms[:SHOWN_ACTIONS]
    most = max((r.p90 for _, r in shown), default=1.0) or 1.0
    problem = report.dynamic_problem or report.static_problem
    below = [f"and {len(terms) - len(shown)} smaller terms"] if len(terms) > len(shown) else []
    below += textwrap.wrap(f"no total: {problem}", 62)[:3] if problem else []
    return {
        "bars": [
            {
                "name": name,
                "p10": r.p10 / most,
                "p50": r.p50 / most,
                "p90": r.p90 / most,
                "text": format_joules(r.p50),
            }
            for name, r in shown
        ],
        "note": f"bar: median, line: p10 to p90; prices {short(report.prices, 20)}",
        "below": below,
    }


# --- samples


def _latencies(run: Run) -> dict[str, Any]:
    """Latency against events, one mark a sample, in a unit box."""
    latencies = run.latencies_s
    assert latencies is not None
    shown = f"the first {SHOWN_SAMPLES:,} of " if len(run) > SHOWN_SAMPLES else ""
    x_ticks, x = scaled(_events(run)[:SHOWN_SAMPLES])
    y_ticks, y = scaled(latencies[:SHOWN_SAMPLES] * 1e6)
    return {
        "title": f"Latency in µs against synaptic events, {shown}{plural(len(run), 'sample')}",
        "points": list(zip(x, y)),
        "bars": [],
        "x_ticks": x_ticks,
        "y_ticks": y_ticks,
    }


def _histogram(run: Run) -> dict[str, Any]:
    """How many samples made how many events, in a unit box."""
    events = _events(run)
    x_ticks, x = scaled(events)
    heights, edges = np.histogram(x, bins=BINS, range=(0.0, 1.0))
    y_ticks, tops = scaled(np.array([0, *heights]))
    return {
        "title": f"Samples by their synaptic events, {plural(len(run), 'sample')}",
        "points": [],
        "bars": [
            (float(left), float(right - left), top)
            for left, right, top in zip(edges[:-1], edges[1:], tops[1:])
        ],
        "x_ticks": x_ticks,
        "y_ticks": y_ticks,
    }


def _events(run: Run) -> NDArray[np.int64]:
    events: NDArray[np.int64] = (run.counts["xnor_event"] + run.counts["graded_event"]).sum(axis=1)
    return events
