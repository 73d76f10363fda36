"""EnergyReport: what an inference costs, with its range, and what stays unsaid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromorph.energy.prices import BANDS
from neuromorph.errors import PriceError
from neuromorph.events import format_table

__all__ = ["EnergyReport", "Range", "Term", "format_joules"]

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
        return _range(self.draws, self.nominal)


def _range(draws: Floats, nominal: float) -> Range:
    p10, p50, p90 = (float(x) for x in np.quantile(draws, (0.1, 0.5, 0.9)))
    return Range(p10=p10, p50=p50, p90=p90, nominal=float(nominal))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EnergyReport:
    """Joules per inference of one run at one set of prices.

    Made by :func:`neuromorph.energy.estimate_energy`.  Percentiles of a sum
    come from the same draws as those of its parts; they do not add up, the
    nominal values do.

    Parameters
    ----------
    chip, prices, prices_chip, conditions : str
        Chip of the counts, name of the price file, chip it was written for,
        its node and voltage.
    samples : int
    time_s : float, optional
        Seconds an inference, for static power.
    draws, seed : int
    terms : mapping action → Term
        Priced actions with a tally; kept for ratios and rankings.
    layers : mapping layer → Term
        Dynamic energy; the input port is ``"input"``.
    static_terms : mapping part → Term
    dynamic_problem, static_problem : str
        Why dynamic or static energy is refused; empty if it is not.
    unpriced : tuple of str
    free, included, not_modelled
        What was charged nothing, what was charged elsewhere, what is left out.
    """

    chip: str
    prices: str
    prices_chip: str
    conditions: str
    samples: int
    time_s: float | None
    draws: int
    seed: int
    terms: Mapping[str, Term]
    layers: Mapping[str, Term]
    static_terms: Mapping[str, Term]
    dynamic_problem: str = ""
    static_problem: str = ""
    unpriced: tuple[str, ...] = ()
    free: Mapping[str, str] = field(default_factory=dict)
    included: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    not_modelled: tuple[str, ...] = ()

    def _sum(self, terms: Mapping[str, Term]) -> Term:
        draws = np.zeros(self.draws)
        for term in terms.values():
            draws += term.draws
        return Term(draws=draws, nominal=sum(t.nominal for t in terms.values()), kind="")

    @property
    def dynamic_draws(self) -> Floats:
        """Dynamic joules in every draw; raises as :attr:`dynamic`."""
        if self.dynamic_problem:
            raise PriceError(f"energy is refused: {self.dynamic_problem}")
        return self._sum(self.terms).draws

    @property
    def static_draws(self) -> Floats:
        """Static joules in every draw; raises as :attr:`static`."""
        if self.static_problem:
            raise PriceError(f"total energy is refused: {self.static_problem}")
        return self._sum(self.static_terms).draws

    @property
    def total_draws(self) -> Floats:
        """Total joules in every draw; raises as :attr:`total`."""
        return self.dynamic_draws + self.static_draws

    @property
    def dynamic(self) -> Range:
        """Energy of the actions.

        Raises
        ------
        PriceError
            An action with a tally has no price; names all of them.
        """
        return _range(self.dynamic_draws, self._sum(self.terms).nominal)

    @property
    def static(self) -> Range:
        """Static power × time.

        Raises
        ------
        PriceError
            No static power in the prices, or no time.
        """
        return _range(self.static_draws, self._sum(self.static_terms).nominal)

    @property
    def total(self) -> Range:
        """Dynamic and static energy; raises as either."""
        nominal = self._sum(self.terms).nominal + self._sum(self.static_terms).nominal
        return _range(self.total_draws, nominal)

    @property
    def figures(self) -> dict[str, Range | None]:
        """Total, dynamic and static; None where refused."""
        refused = self.dynamic_problem or self.static_problem
        return {
            "total": None if refused else self.total,
            "dynamic": None if self.dynamic_problem else self.dynamic,
            "static": None if self.static_problem else self.static,
        }

    @property
    def by_action(self) -> dict[str, Range]:
        """Dynamic energy by action, priced actions only, dearest first."""
        ranges = {name: term.range for name, term in self.terms.items()}
        return dict(sorted(ranges.items(), key=lambda item: -item[1].p50))

    @property
    def by_layer(self) -> dict[str, Range]:
        """Dynamic energy by layer; the input port is ``"input"``; raises as :attr:`dynamic`."""
        if self.dynamic_problem:
            raise PriceError(f"energy is refused: {self.dynamic_problem}")
        return {name: term.range for name, term in self.layers.items()}

    @property
    def dominant(self) -> tuple[str, float] | None:
        """The dearest priced action, or ``"static"``, and its share of the nominal sum."""
        parts = {name: term.nominal for name, term in self.terms.items()}
        if self.static_terms:
            parts["static"] = self._sum(self.static_terms).nominal
        if not parts:
            return None
        name = max(parts, key=lambda key: parts[key])
        return name, parts[name] / sum(parts.values())

    @property
    def evidence(self) -> str | None:
        """The worst kind of evidence among the prices used; None if none was."""
        kinds = [t.kind for t in (*self.terms.values(), *self.static_terms.values())]
        return max(kinds, key=list(BANDS).index) if kinds else None

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know beside the numbers."""
        notes = []
        if self.prices_chip and self.prices_chip != self.chip:
            notes.append(f"these prices were written for chip {self.prices_chip}, not {self.chip}")
        if "static" in self.free:
            notes.append(f"static energy is left out: {self.free['static']}")
        return tuple(notes)

    def to_dict(self) -> dict[str, Any]:
        """For JSON: joules per inference; a refused figure is None beside its reason."""

        dominant = self.dominant
        return {
            "chip": self.chip,
            "prices": self.prices,
            "conditions": self.conditions,
            "samples": self.samples,
            "time_s": self.time_s,
            "draws": self.draws,
            "seed": self.seed,
            **{name: r and r.to_dict() for name, r in self.figures.items()},
            "by_action": {name: r.to_dict() for name, r in self.by_action.items()},
            "by_layer": (
                None
                if self.dynamic_problem
                else {name: r.to_dict() for name, r in self.by_layer.items()}
            ),
            "dominant": (
                None
                if dominant is None
                else {"term": dominant[0], "share": float(f"{dominant[1]:.12g}")}
            ),
            "evidence": self.evidence,
            "refused": [p for p in (self.dynamic_problem, self.static_problem) if p],
            "unpriced": list(self.unpriced),
            "free": dict(self.free),
            "included": {name: list(holders) for name, holders in self.included.items()},
            "not_modelled": list(self.not_modelled),
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        header = ["p10", "p50", "p90", "nominal"]

        def row(name: str, r: Range) -> list[str]:
            return [name, *(format_joules(getattr(r, key)) for key in header)]

        whole = [row(name, r) for name, r in self.figures.items() if r]
        lines = [
            f"energy per inference on {self.chip}, prices {self.prices} ({self.conditions}), "
            f"mean of {self.samples}",
            *([format_table(["energy", *header], whole)] if whole else []),
        ]
        for problem in (self.dynamic_problem, self.static_problem):
            if problem:
                lines.append(f"total refused: {problem}")
        lines += [
            "",
            format_table(["action", *header], [row(n, r) for n, r in self.by_action.items()]),
        ]
        if not self.dynamic_problem:
            table = format_table(
                ["layer (dynamic)", *header], [row(n, r) for n, r in self.by_layer.items()]
            )
            lines += ["", table]
        lines.append("")
        if self.dominant:
            name, share = self.dominant
            of = "priced part" if self.dynamic_problem or self.static_problem else "nominal total"
            lines.append(f"dominant: {name}, {share:.0%} of the {of}")
        if self.time_s is not None:
            lines.append(f"time an inference, for static power: {self.time_s:.4g} s")
        lines.append(
            f"range: p10 to p90 of {self.draws} draws, seed {self.seed}; "
            f"worst evidence used: {self.evidence or 'none'}"
        )
        charged_nothing = [a for a in self.free if a != "static"]
        if charged_nothing:
            lines.append(f"free by declaration: {', '.join(charged_nothing)}")
        if self.included:
            lines.append(f"charged within another price: {', '.join(self.included)}")
        lines += [f"note: {note}" for note in self.notes]
        if self.not_modelled:
            lines.append("not modelled: " + "; ".join(self.not_modelled))
        return "\n".join(lines)
