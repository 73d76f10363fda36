"""The pieces of a report: joules per inference, their range and their evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Floats", "Range", "Swing", "Term", "format_joules", "range_of", "sum_terms"]

Floats = NDArray[np.float64]

_PREFIXES = (
    (1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"), (1e-12, "p"), (1e-15, "f"), (1e-18, "a"),
)  # fmt: skip


def format_joules(joules: float) -> str:
    """Three significant digits with an engineering prefix.

    Examples
    --------
    >>> format_joules(2.36e-11)
    '23.6 pJ'
    """
    for scale, prefix in _PREFIXES:
        if abs(joules) >= scale * 0.9995:
            return f"{joules / scale:#.3g}".rstrip(".") + f" {prefix}J"
    return "0 J" if joules == 0 else f"{joules:.3g} J"


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Joules per inference: 10th, 50th and 90th percentile of the draws, and at the values."""

    p10: float
    p50: float
    p90: float
    nominal: float

    def to_dict(self) -> dict[str, float]:
        """For JSON; 12 significant digits, so that the last bit of a library cannot show."""
        return {
            key: float(f"{getattr(self, key):.12g}") for key in ("p10", "p50", "p90", "nominal")
        }

    def __str__(self) -> str:
        return f"{format_joules(self.p50)} ({format_joules(self.p10)} … {format_joules(self.p90)})"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Term:
    """One summand: joules per inference in every draw, at the values, and its evidence."""

    draws: Floats
    nominal: float
    kind: str

    def __post_init__(self) -> None:
        self.draws.setflags(write=False)

    @property
    def range(self) -> Range:
        """Percentiles."""
        return range_of(self.draws, self.nominal)


def range_of(draws: Floats, nominal: float) -> Range:
    """Percentiles of draws."""
    p10, p50, p90 = (float(x) for x in np.quantile(draws, (0.1, 0.5, 0.9)))
    return Range(p10=p10, p50=p50, p90=p90, nominal=float(nominal))


def sum_terms(terms: Mapping[str, Term], draws: int) -> Term:
    """Sum draw by draw; nothing sums to zero."""
    total = np.zeros(draws)
    for term in terms.values():
        total += term.draws
    return Term(draws=total, nominal=sum(t.nominal for t in terms.values()), kind="")


@dataclass(frozen=True, slots=True, kw_only=True)
class Swing:
    """What one price alone can do: joules of all it charges at its low, value and high.

    Prices that move together (``[sram]``, ``moves_with``) are one swing.
    """

    price: str
    low: float
    nominal: float
    high: float

    @property
    def width(self) -> float:
        """From the low to the high end."""
        return self.high - self.low

    def to_dict(self) -> dict[str, str | float]:
        """For JSON; 12 significant digits."""
        numbers = {k: float(f"{getattr(self, k):.12g}") for k in ("low", "nominal", "high")}
        return {"price": self.price, **numbers}
