"""A report as a flat table: CSV and pandas."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuromorph.errors import PriceError
from neuromorph.events import data_frame
from neuromorph.writing import write_whole

if TYPE_CHECKING:
    from neuromorph.energy.report import EnergyReport
    from neuromorph.energy.terms import Range

__all__ = ["COLUMNS", "rows_of", "to_pandas", "write_csv"]

COLUMNS = ("scope", "name", "p10_j", "p50_j", "p90_j", "nominal_j", "evidence", "note")
Row = tuple[str, str, float | None, float | None, float | None, float | None, str, str]


def rows_of(report: EnergyReport) -> list[Row]:
    """One row a figure, in the order of :data:`COLUMNS`; None where there is no number."""

    def row(scope: str, name: str, r: Range | None, evidence: str = "", note: str = "") -> Row:
        if r is None:
            return (scope, name, None, None, None, None, evidence, note)
        d = r.to_dict()
        return (scope, name, d["p10"], d["p50"], d["p90"], d["nominal"], evidence, note)

    reasons = {
        "dynamic": report.dynamic_problem,
        "static": report.static_problem,
        "total": "; ".join(p for p in (report.dynamic_problem, report.static_problem) if p),
    }
    rows = [
        row("energy", name, r, report.evidence or "" if r else "", reasons[name])
        for name, r in report.figures.items()
    ]
    rows += [row("action", n, r, report.terms[n].kind) for n, r in report.by_action.items()]
    rows += [row("action", n, None, note="no price") for n in report.unpriced]
    rows += [
        row("action", name, None, note=f"in {', '.join(holders)}")
        for name, holders in report.included.items()
    ]
    rows += [
        row("action", name, None, note=f"free: {why}")
        for name, why in report.free.items()
        if name != "static"
    ]
    rows += [row("static", n, t.range, t.kind) for n, t in report.static_terms.items()]
    if not report.dynamic_problem:
        rows += [row("layer", name, r) for name, r in report.by_layer.items()]
    return rows


def write_csv(report: EnergyReport, path: str | os.PathLike[str]) -> Path:
    """Write the table; the file appears under its name only when it is whole."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows_of(report))
    return write_whole(path, text.getvalue().encode(), PriceError)


def to_pandas(report: EnergyReport) -> Any:
    """The table as a data frame; numbers are floats, NaN where there is none."""
    frame = data_frame(rows_of(report), COLUMNS)
    return frame.astype({c: "float64" for c in COLUMNS if c.endswith("_j")})
