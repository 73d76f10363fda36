"""Which of several reports is cheapest, and how often the prices could turn that round."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from neuromorph.energy.report import EnergyReport
from neuromorph.errors import PriceError
from neuromorph.events import format_table

__all__ = ["Ranking", "rank_reports"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """Reports from the cheapest to the dearest, and the share of draws that disagree.

    Parameters
    ----------
    order : tuple of str
        Names, cheapest first at the values of the prices.
    flips : float
        Share of draws in which the order is not this one.
    pairs : mapping (cheaper, dearer) → float
        Share of draws in which the dearer of two costs less.
    ratios : mapping (cheaper, dearer) → (p10, p50, p90)
        Energy of the dearer over that of the cheaper.
    same_prices : bool
        All at one price file, so that the draws are shared throughout.
    """

    order: tuple[str, ...]
    flips: float
    pairs: Mapping[tuple[str, str], float]
    ratios: Mapping[tuple[str, str], tuple[float, float, float]]
    same_prices: bool

    def to_dict(self) -> dict[str, Any]:
        """For JSON; 12 significant digits."""
        return {
            "order": list(self.order),
            "flips": self.flips,
            "pairs": [
                {
                    "cheaper": a,
                    "dearer": b,
                    "flips": share,
                    "ratio": {
                        key: float(f"{x:.12g}")
                        for key, x in zip(("p10", "p50", "p90"), self.ratios[a, b])
                    },
                }
                for (a, b), share in self.pairs.items()
            ],
            "same_prices": self.same_prices,
        }

    def __str__(self) -> str:
        rows = [
            [f"{b} / {a}", *(f"{x:.3g}" for x in self.ratios[a, b]), f"{share:.1%}"]
            for (a, b), share in self.pairs.items()
        ]
        text = (
            f"cheapest first: {', '.join(self.order)}; "
            f"the order flips in {self.flips:.1%} of draws\n"
            + format_table(["ratio", "p10", "p50", "p90", "flips"], rows)
        )
        return text if self.same_prices else text + "\nnote: different prices, drawn apart"


def rank_reports(reports: Mapping[str, EnergyReport]) -> Ranking:
    """Rank reports by their total and count the draws that rank them otherwise.

    Parameters
    ----------
    reports : mapping name → EnergyReport
        Two or more, with one number of draws and one seed.  Reports at the same
        price file share their draws; what both are unsure of drops out.

    Returns
    -------
    Ranking

    Raises
    ------
    PriceError
        Fewer than two, draws that cannot be compared, or a refused total (says which).
    """
    if len(reports) < 2:
        raise PriceError(f"a ranking needs two reports or more, got {len(reports)}")
    first = next(iter(reports.values()))
    draws = {}
    nominal = {}
    for name, report in reports.items():
        if (report.draws, report.seed) != (first.draws, first.seed):
            raise PriceError(
                f"report {name!r} has {report.draws} draws of seed {report.seed}, the first "
                f"{first.draws} of seed {first.seed}; estimate them alike"
            )
        try:
            draws[name], nominal[name] = report.total_draws, report.total.nominal
        except PriceError as error:
            raise PriceError(f"report {name!r} cannot be ranked: {error}") from None
        if nominal[name] <= 0:
            raise PriceError(f"report {name!r} cannot be ranked: it has no energy")
    order = sorted(reports, key=lambda name: nominal[name])
    table = np.stack([draws[name] for name in order])
    p10, p50, p90 = 0.1, 0.5, 0.9
    pairs = {}
    ratios = {}
    for a, b in combinations(order, 2):
        pairs[a, b] = float(np.mean(draws[b] < draws[a]))
        low, mid, high = (float(q) for q in np.quantile(draws[b] / draws[a], (p10, p50, p90)))
        ratios[a, b] = (low, mid, high)
    return Ranking(
        order=tuple(order),
        flips=float(np.mean((np.diff(table, axis=0) < 0).any(axis=0))),
        pairs=pairs,
        ratios=ratios,
        same_prices=len({r.prices for r in reports.values()}) == 1,
    )
