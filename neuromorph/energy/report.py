"""EnergyReport: what an inference costs, with its range, and what stays unsaid."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from neuromorph.energy.export import to_pandas, write_csv
from neuromorph.energy.picture import draw_energy
from neuromorph.energy.prices import BANDS
from neuromorph.energy.terms import (
    Floats,
    Range,
    Swing,
    Term,
    format_joules,
    range_of,
    sum_terms,
)
from neuromorph.errors import PriceError
from neuromorph.events import format_table, html_table

__all__ = ["EnergyReport"]

SHOWN_SWINGS = 5


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
    swings : tuple of Swing
        One for each price that charged something, the widest first.
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
    swings: tuple[Swing, ...] = ()
    dynamic_problem: str = ""
    static_problem: str = ""
    unpriced: tuple[str, ...] = ()
    free: Mapping[str, str] = field(default_factory=dict)
    included: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    not_modelled: tuple[str, ...] = ()

    @property
    def dynamic_draws(self) -> Floats:
        """Dynamic joules in every draw; raises as :attr:`dynamic`."""
        if self.dynamic_problem:
            raise PriceError(f"energy is refused: {self.dynamic_problem}")
        return sum_terms(self.terms, self.draws).draws

    @property
    def static_draws(self) -> Floats:
        """Static joules in every draw; raises as :attr:`static`."""
        if self.static_problem:
            raise PriceError(f"total energy is refused: {self.static_problem}")
        return sum_terms(self.static_terms, self.draws).draws

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
        return range_of(self.dynamic_draws, sum_terms(self.terms, self.draws).nominal)

    @property
    def static(self) -> Range:
        """Static power × time.

        Raises
        ------
        PriceError
            No static power in the prices, or no time.
        """
        return range_of(self.static_draws, sum_terms(self.static_terms, self.draws).nominal)

    @property
    def total(self) -> Range:
        """Dynamic and static energy; raises as either."""
        nominal = (
            sum_terms(self.terms, self.draws).nominal
            + sum_terms(self.static_terms, self.draws).nominal
        )
        return range_of(self.total_draws, nominal)

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
    def tornado(self) -> tuple[Swing, ...]:
        """The five prices whose range moves the energy most, one at a time, the widest first.

        Of the priced part; :attr:`swings` holds all of them.
        """
        return self.swings[:SHOWN_SWINGS]

    @property
    def dominant(self) -> tuple[str, float] | None:
        """The dearest priced action, or ``"static"``, and its share of the nominal sum."""
        parts = {name: term.nominal for name, term in self.terms.items()}
        if self.static_terms:
            parts["static"] = sum_terms(self.static_terms, self.draws).nominal
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
            "tornado": [swing.to_dict() for swing in self.tornado],
            "evidence": self.evidence,
            "refused": [p for p in (self.dynamic_problem, self.static_problem) if p],
            "unpriced": list(self.unpriced),
            "free": dict(self.free),
            "included": {name: list(holders) for name, holders in self.included.items()},
            "not_modelled": list(self.not_modelled),
            "notes": list(self.notes),
        }

    def to_csv(self, path: str | os.PathLike[str]) -> Path:
        """Write one line a figure: total, dynamic and static, by action, static part and layer.

        Columns ``scope, name, p10_j, p50_j, p90_j, nominal_j, evidence, note``; a refused
        figure and an unpriced action have no numbers and the reason in ``note``.

        Raises
        ------
        PriceError
            The file cannot be written.
        """
        return write_csv(self, path)

    def to_pandas(self) -> Any:
        """The table of :meth:`to_csv` as a ``pandas.DataFrame``; NaN where there is no number.

        Raises
        ------
        MissingDependencyError
            pandas is not installed.
        """
        return to_pandas(self)

    def plot(self, path: str | os.PathLike[str]) -> Path:
        """Draw the energy by term with its range, and the tornado, as PNG.

        Raises
        ------
        MissingDependencyError
            matplotlib is not installed (extra ``report``).
        PriceError
            Nothing was priced, or the file cannot be written.
        """
        return draw_energy(self, path)

    def __repr__(self) -> str:
        total = self.figures["total"]
        found = "no total" if total is None else f"{total} an inference"
        return f"<EnergyReport of {self.chip} at prices {self.prices}: {found}>"

    def _sections(self) -> list[str | tuple[list[str], list[list[str]]]]:
        """Lines, and tables as (header, rows)."""
        header = ["p10", "p50", "p90", "nominal"]

        def row(name: str, r: Range) -> list[str]:
            return [name, *(format_joules(getattr(r, key)) for key in header)]

        parts: list[str | tuple[list[str], list[list[str]]]] = [
            f"energy per inference on {self.chip}, prices {self.prices} ({self.conditions}), "
            f"mean of {self.samples}"
        ]
        whole = [row(name, r) for name, r in self.figures.items() if r]
        if whole:
            parts.append((["energy", *header], whole))
        for problem in (self.dynamic_problem, self.static_problem):
            if problem:
                parts.append(f"total refused: {problem}")
        actions = [row(n, r) for n, r in self.by_action.items()]
        parts += ["", (["action", *header], actions)]
        if not self.dynamic_problem:
            layers = [row(n, r) for n, r in self.by_layer.items()]
            parts += ["", (["layer (dynamic)", *header], layers)]
        if self.swings:
            rows = [
                [s.price, *(format_joules(x) for x in (s.low, s.nominal, s.high))]
                for s in self.tornado
            ]
            parts += ["", (["widest, one at a time", "low", "value", "high"], rows)]
        parts.append("")
        if self.dominant:
            name, share = self.dominant
            of = "priced part" if self.dynamic_problem or self.static_problem else "nominal total"
            parts.append(f"dominant: {name}, {share:.0%} of the {of}")
        if self.time_s is not None:
            parts.append(f"time an inference, for static power: {self.time_s:.4g} s")
        parts.append(
            f"range: p10 to p90 of {self.draws} draws, seed {self.seed}; "
            f"worst evidence used: {self.evidence or 'none'}"
        )
        charged_nothing = [a for a in self.free if a != "static"]
        if charged_nothing:
            parts.append(f"free by declaration: {', '.join(charged_nothing)}")
        if self.included:
            parts.append(f"charged within another price: {', '.join(self.included)}")
        parts += [f"note: {note}" for note in self.notes]
        if self.not_modelled:
            parts.append("not modelled: " + "; ".join(self.not_modelled))
        return parts

    def __str__(self) -> str:
        return "\n".join(p if isinstance(p, str) else format_table(*p) for p in self._sections())

    def _repr_html_(self) -> str:
        """The same, for notebooks."""
        shown = (
            f"<div>{escape(p)}</div>" if isinstance(p, str) else html_table("", *p)
            for p in self._sections()
        )
        return f"<div>{''.join(shown)}</div>"
