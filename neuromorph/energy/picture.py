"""The picture of a report: energy by term with its range, and what moves it most."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuromorph.canvas import blank_figure, save_png
from neuromorph.energy.terms import format_joules
from neuromorph.errors import PriceError

if TYPE_CHECKING:
    from neuromorph.energy.report import EnergyReport

__all__ = ["draw_energy"]

SHOWN_TERMS = 10
BLUE, ORANGE, GREY = "#0072B2", "#E69F00", "#555555"  # Okabe-Ito


def draw_energy(report: EnergyReport, path: str | os.PathLike[str]) -> Path:
    """Draw the report as PNG, see :meth:`neuromorph.energy.EnergyReport.plot`."""
    if not report.swings:
        raise PriceError("nothing was priced, so there is nothing to plot")
    figure = blank_figure(11, 4.6)
    terms, tornado = figure.subplots(1, 2, width_ratios=(1.25, 1))
    _draw_terms(terms, report)
    _draw_tornado(tornado, report)
    tornado.locator_params(axis="x", nbins=5)
    for axes in (terms, tornado):
        axes.xaxis.set_major_formatter(lambda joules, _: format_joules(joules))
        axes.tick_params(axis="x", labelsize=8)
        axes.grid(True, axis="x", linewidth=0.3)
        axes.set_axisbelow(True)
    whole = report.figures["total"]
    headline = (
        f"total {whole}" if whole else "total refused: " + ("; ".join(_reasons(report)))[:110]
    )
    figure.suptitle(
        f"Energy per inference on {report.chip}, prices {report.prices} "
        f"({report.conditions})\n{headline}",
        fontsize=11,
    )
    return save_png(figure, path, PriceError, dpi=130)


def _reasons(report: EnergyReport) -> list[str]:
    return [p for p in (report.dynamic_problem, report.static_problem) if p]


def _draw_terms(axes: Any, report: EnergyReport) -> None:
    """The dearest terms on a log axis: point at the median, bar from p10 to p90."""
    ranges = report.by_action | {f"static.{n}": t.range for n, t in report.static_terms.items()}
    ordered = sorted(ranges.items(), key=lambda item: -item[1].p50)
    shown = [(name, r) for name, r in ordered if r.p10 > 0][:SHOWN_TERMS]
    for place, (name, r) in enumerate(reversed(shown)):
        colour = ORANGE if name.startswith("static.") else BLUE
        axes.plot([r.p10, r.p90], [place, place], color=colour, linewidth=6, alpha=0.45)
        axes.plot([r.p50], [place], "o", color=colour, markersize=6)
        axes.annotate(
            format_joules(r.p50), (r.p90, place), xytext=(7, 0), textcoords="offset points",
            va="center", fontsize=8, color=GREY,
        )  # fmt: skip
    axes.set_yticks(range(len(shown)), [name for name, _ in reversed(shown)])
    axes.set_xscale("log")
    axes.margins(x=0.18)
    axes.xaxis.set_major_formatter(lambda joules, _: format_joules(joules))
    axes.tick_params(axis="x", labelsize=8)
    axes.grid(True, axis="x", linewidth=0.3)
    left_out = f", {len(shown)} of {len(ordered)}" if len(ordered) > len(shown) else ""
    axes.set_title(f"by term: median, p10 to p90{left_out}", fontsize=10)


def _draw_tornado(axes: Any, report: EnergyReport) -> None:
    """Change of the energy when one price goes to its low or high, the others at their values."""
    swings = list(reversed(report.tornado))
    for place, swing in enumerate(swings):
        for end, colour in ((swing.low, BLUE), (swing.high, ORANGE)):
            change = end - swing.nominal
            axes.barh(place, change, color=colour, height=0.6)
            sign = "−" if change < 0 else "+"
            axes.annotate(
                sign + format_joules(abs(change)), (change, place),
                xytext=(4 if change >= 0 else -4, 0), textcoords="offset points",
                ha="left" if change >= 0 else "right", va="center", fontsize=8, color=GREY,
            )  # fmt: skip
    axes.axvline(0, color=GREY, linewidth=0.8)
    axes.set_yticks(range(len(swings)), [s.price for s in swings])
    axes.margins(x=0.25)
    axes.set_title("one price at a time: low (blue), high (orange)", fontsize=10)
