"""The picture of a comparison: what the bill is made of, and accuracy against energy."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

from neuromorph.canvas import blank_figure, save_png
from neuromorph.compare.table import Comparison, Entry
from neuromorph.energy import format_joules
from neuromorph.errors import PriceError

__all__ = ["draw_comparison", "draw_sweep"]

# Okabe-Ito; a term belongs to the first group that names it.
GROUPS = (
    ("weights", "#0072B2", ("weight_read_bits",)),
    ("state, inputs", "#56B4E9", ("state_read_bits", "state_write_bits", "act_read_bits",
                                  "act_write_bits", "register_write_bits", "axon_read")),
    ("arithmetic", "#E69F00", ("xnor_event", "graded_event", "acc_add", "popcount", "multiply",
                               "mac_float", "gate_check")),
    ("packets, hops", "#009E73", ("packet_out", "token_in", "hop_x", "hop_y", "hop_chip",
                                  "hop_local", "fifo_push", "fifo_pop", "spike_out", "barrier")),
    ("neurons", "#CC79A7", ()),
)  # fmt: skip
STATIC = "#999999"
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")


def draw_comparison(comparison: Comparison, path: str | os.PathLike[str]) -> Path:
    """Draw a comparison as PNG.

    Raises
    ------
    MissingDependencyError
        matplotlib is not installed (extra ``report``).
    PriceError
        The file cannot be written.
    """
    figure = blank_figure(11, 2.8 + 0.5 * len(comparison.entries))
    left, right = figure.subplots(1, 2, width_ratios=(1.5, 1))
    _draw_bills(left, comparison)
    _draw_accuracy(right, comparison)
    figure.suptitle(
        f"One inference on {comparison.chip.name}, prices {comparison.prices.name}, each network "
        "in its cheapest dataflow",
        fontsize=11,
    )
    return save_png(figure, path, PriceError, dpi=130)


def draw_sweep(rows: Sequence[Mapping[str, Any]], path: str | os.PathLike[str]) -> Path:
    """Draw the points of a sweep, energy against latency, those of the front filled, as PNG.

    Points without energy or latency are left out.

    Raises
    ------
    MissingDependencyError
        matplotlib is not installed (extra ``report``).
    PriceError
        No point has both, or the file cannot be written.
    """
    known = [r for r in rows if r["energy_j"] is not None and r["latency_s"] is not None]
    if not known:
        raise PriceError("no point has energy and latency, so there is nothing to draw")
    figure = blank_figure(8, 5)
    from matplotlib.ticker import LogLocator

    axes = figure.subplots()
    for name, colour in zip(dict.fromkeys(r["network"] for r in known), cycle(COLOURS)):
        mine = [r for r in known if r["network"] == name]
        for front in (False, True):
            some = [r for r in mine if r["pareto"] is front]
            accuracy = mine[0]["accuracy"]
            label = name if accuracy is None else f"{name}, {accuracy:.2%}"
            axes.scatter(
                [r["latency_s"] * 1e6 for r in some], [r["energy_j"]["p50"] for r in some],
                s=46 if front else 16, color=colour if front else "none", edgecolors=colour,
                linewidths=0.8, alpha=1.0 if front else 0.55, label=label if front else None,
                zorder=3 if front else 2,
            )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda joules, _: format_joules(joules))
    axes.yaxis.set_minor_formatter(lambda joules, _: "")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(lambda us, _: f"{us:g}")
    axes.xaxis.set_minor_formatter(lambda us, _: "")
    axes.set_xlabel("latency, µs")
    axes.set_ylabel("energy of an inference, median")
    axes.grid(True, which="both", linewidth=0.3)
    axes.legend(fontsize=8)
    axes.set_title(
        f"{len(known)} points; filled: none is better in energy, latency and accuracy", fontsize=10
    )
    return save_png(figure, path, PriceError, dpi=130)


def _parts(entry: Entry) -> list[float]:
    """Share of each group in the nominal bill, static last."""
    terms = {name: term.nominal for name, term in entry.best.report.terms.items()}
    parts = [sum(terms.pop(a, 0.0) for a in actions) for _, _, actions in GROUPS]
    parts[-1] = sum(terms.values())
    whole = [*parts, entry.best.report.static.nominal]
    return [part / sum(whole) for part in whole]


def _draw_bills(axes: Any, comparison: Comparison) -> None:
    names = [*((name, colour) for name, colour, _ in GROUPS), ("static", STATIC)]
    for place, entry in enumerate(reversed(comparison.entries)):
        start = 0.0
        for part, (name, colour) in zip(_parts(entry), names):
            label = name if place == 0 else None
            axes.barh(place, part, left=start, color=colour, height=0.62, label=label)
            start += part
        axes.annotate(
            format_joules(entry.joules), (1.0, place), xytext=(5, 0), va="center", fontsize=9,
            textcoords="offset points",
        )  # fmt: skip
    labels = [f"{e.name}\n{e.best.dataflow}" for e in reversed(comparison.entries)]
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    axes.set_xlim(0, 1.16)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"], fontsize=8)
    axes.set_title("what the bill is made of", fontsize=10)
    axes.legend(
        ncols=3, fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.45, -0.09)
    )
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _draw_accuracy(axes: Any, comparison: Comparison) -> None:
    known = [(100 * e.accuracy, e) for e in comparison.entries if e.accuracy is not None]
    axes.set_title("accuracy (%) against energy: median, p10 to p90", fontsize=10)
    if not known:
        return
    known.sort(key=lambda pair: -pair[0])
    energies = [e.best.report.total for _, e in known]
    for (accuracy, _), total in zip(known, energies):
        axes.plot([total.p10, total.p90], [accuracy] * 2, color="#0072B2", alpha=0.4, linewidth=4)
        axes.plot([total.p50], [accuracy], "o", color="#0072B2", markersize=6)
    low, high = min(total.p10 for total in energies), max(total.p90 for total in energies)
    axes.set_xscale("log")
    axes.set_xlim(low / 1.5, high * (high / low) ** 0.8 * 2)  # names stand on the right
    top, bottom = known[0][0], known[-1][0]
    room = 0.12 * max(top - bottom, 0.1)
    axes.set_ylim(bottom - room, top + room)
    whole = top - bottom + 2 * room
    heights = _apart([(accuracy - bottom + room) / whole for accuracy, _ in known], 0.045)
    for (accuracy, entry), total, height in zip(known, energies, heights):
        axes.annotate(
            entry.name, (total.p90, accuracy), xytext=(0.98, height), textcoords="axes fraction",
            ha="right", va="center", fontsize=8,
            arrowprops={"arrowstyle": "-", "color": "#888888", "linewidth": 0.5},
        )  # fmt: skip
    axes.xaxis.set_major_formatter(lambda joules, _: format_joules(joules))
    axes.xaxis.set_minor_formatter(lambda joules, _: "")
    axes.tick_params(labelsize=8)
    axes.grid(True, which="both", linewidth=0.3)


def _apart(heights: list[float], gap: float) -> list[float]:
    """Heights, the highest first, moved as little as keeps them ``gap`` apart."""
    down = list(heights)
    for place in range(1, len(down)):
        down[place] = min(down[place], down[place - 1] - gap)
    lowest = gap / 2
    for place in reversed(range(len(down))):
        down[place] = max(down[place], lowest)
        lowest = down[place] + gap
    return down
