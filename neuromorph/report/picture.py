"""One SVG picture of a run: where it sits, what rests, what it costs, how long it takes.

Plain SVG from a template: no plotting library, opens in any browser.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jinja2 import Environment, PackageLoader
from numpy.typing import ArrayLike

from neuromorph.energy import EnergyReport, format_joules
from neuromorph.errors import SimulationError

if TYPE_CHECKING:
    from neuromorph.simulate import Run

__all__ = ["draw_run"]

# Okabe-Ito colours: told apart by colour-blind readers too.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#999999")
SHOWN_ACTIONS = 9
SHOWN_SAMPLES = 2000


def draw_run(
    run: Run,
    report: EnergyReport,
    path: str | os.PathLike[str],
    *,
    labels: ArrayLike | None = None,
) -> Path:
    """Draw a run as SVG.

    Four panels: the mesh with the slices of every layer (and how busy each
    core was, in timed mode), the share of synaptic pairs that made an event
    or rested, dynamic energy by action with its p10–p90 range, and latency
    (or events) sample by sample.

    Raises
    ------
    SimulationError
        The file cannot be written.
    """
    environment = Environment(
        loader=PackageLoader("neuromorph.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = environment.get_template("run.svg.jinja").render(
        title=f"{run.mapping.network.name} on {run.mapping.chip.name}",
        facts=_facts(run, report, labels),
        mesh=_mesh(run),
        layers=_layers(run),
        energy=_energy(report),
        scatter=_scatter(run),
    )
    target = Path(path)
    partial = target.with_name(target.name + ".partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="utf-8")
        partial.replace(target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise SimulationError(f"cannot write picture {target}: {error.strerror}") from None
    return target


def _facts(run: Run, report: EnergyReport, labels: ArrayLike | None) -> list[str]:
    facts = [f"{len(run):,} samples, mode {run.mode}"]
    if labels is not None:
        facts.append(f"accuracy {run.accuracy(labels):.2%}")
    facts.append(f"{run.counts.events / len(run):,.0f} synaptic events an inference")
    facts.append(f"{run.counts.resting_fraction:.1%} of pairs at rest")
    if run.latency_s is not None:
        facts.append(f"latency {run.latency_s * 1e6:,.1f} µs")
    total = report.figures["total"]
    if total is not None:
        facts.append(f"energy {format_joules(total.p50)} "
                     f"({format_joules(total.p10)} … {format_joules(total.p90)})")  # fmt: skip
    return facts


def _colour(run: Run, layer: str) -> str:
    names = [s.name for s in run.mapping.network.stages]
    return COLOURS[names.index(layer) % len(COLOURS)]


def _mesh(run: Run) -> dict[str, Any]:
    """Tiles as squares in a 300×300 box; each used core with colour and busy share."""
    chip = run.mapping.chip
    side = 300 / max(chip.columns, chip.rows)
    per_row = int(np.ceil(np.sqrt(chip.cores_per_tile)))
    size = (side - 2) / per_row
    counts = run.counts
    cores = []
    for row, s in enumerate(run.mapping.slices, start=1):
        x, y = chip.tile(s.core)
        place = s.core % chip.cores_per_tile
        busy = None
        if counts.active_ticks is not None and counts.ticks:
            busy = f"{int(counts.active_ticks[row]) / counts.ticks:.0%}"
        cores.append(
            {
                "x": x * side + 1 + place % per_row * size,
                "y": y * side + 1 + place // per_row * size,
                "colour": _colour(run, s.layer),
                "busy": busy or "",
                "label": f"core {s.core}: {s.layer}, {s.neurons} neurons"
                + (f", busy {busy}" if busy else ""),
            }
        )
    tiles = [(x * side, y * side) for y in range(chip.rows) for x in range(chip.columns)]
    return {"side": side, "size": size - 1, "tiles": tiles, "cores": cores}


def _layers(run: Run) -> list[dict[str, Any]]:
    """Of every layer: shares of events, zero weights and zero levels."""
    counts = run.counts
    result = []
    for stage in run.mapping.network.stages:
        rows = [i for i, name in enumerate(counts.layers) if name == stage.name]
        dense = int(counts.pairs[rows].sum()) * len(run)
        tallies = {
            key: int(sum(counts[a][:, rows].sum() for a in actions)) / dense
            for key, actions in (
                ("events", ("xnor_event", "graded_event")),
                ("weight", ("skip_weight",)),
                ("level", ("skip_act",)),
            )
        }
        result.append(
            {
                "name": stage.name,
                "colour": _colour(run, stage.name),
                "pairs": f"{dense // len(run):,}",
                **tallies,
                "rest": f"{1 - tallies['events']:.1%}",
            }
        )
    return result


def _energy(report: EnergyReport) -> list[dict[str, Any]]:
    """The dearest terms, static among them, as bars of at most one."""
    terms = list(report.by_action.items())
    static = report.figures["static"]
    if static is not None:
        terms.append(("static", static))
    terms = sorted(terms, key=lambda item: -item[1].p50)[:SHOWN_ACTIONS]
    most = max((r.p90 for _, r in terms), default=1.0) or 1.0
    return [
        {
            "name": name,
            "p10": r.p10 / most,
            "p50": r.p50 / most,
            "p90": r.p90 / most,
            "text": format_joules(r.p50),
        }
        for name, r in terms
    ]


def _scatter(run: Run) -> dict[str, Any]:
    """Latency (or resting fraction) against events, one mark a sample, in a unit box."""
    counts = run.counts
    events = (counts["xnor_event"] + counts["graded_event"]).sum(axis=1)[:SHOWN_SAMPLES]
    latencies = run.latencies_s
    if latencies is not None:
        values, name, unit = latencies[:SHOWN_SAMPLES] * 1e6, "latency", "µs"
    else:
        values = 100 * (1 - events / max(int(counts.pairs.sum()), 1))
        name, unit = "pairs at rest", "%"
    x_ticks, x = _scaled(events)
    y_ticks, y = _scaled(values)
    return {
        "name": name,
        "unit": unit,
        "shown": len(x),
        "points": list(zip(x, y)),
        "x_ticks": x_ticks,
        "y_ticks": y_ticks,
    }


def _scaled(values: Any) -> tuple[list[tuple[float, str]], Sequence[float]]:
    """Round ticks that span the values, and the values in the unit interval."""
    low, high = float(np.min(values)), float(np.max(values))
    span = (high - low) or max(abs(high), 1.0)
    step = 10.0 ** np.floor(np.log10(span / 2))
    step *= next(f for f in (1, 2, 5, 10) if span / (step * f) <= 5)
    first, last = np.floor(low / step) * step, np.ceil(high / step) * step
    last = last if last > first else first + step
    ticks = np.arange(first, last + step / 2, step)
    digits = max(0, -int(np.floor(np.log10(step))))
    named = [(float((t - first) / (last - first)), f"{t:,.{digits}f}") for t in ticks]
    return named, [float(v) for v in (np.asarray(values, float) - first) / (last - first)]
