"""Prices: joules per action, each with its range, kind of evidence and source.

A price file answers for every action in one of four ways, never in two:

* ``[actions.<name>]``  a price of its own;
* ``[sram]``            a price that depends on the size of the memory;
* ``includes = [...]``  on another entry, which already contains it;
* ``[free]``            nothing, with the reason.

An action without an answer is *unpriced*: not zero, and a total that needs it
is refused.  Values are SI: joules, watts, bits.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Literal

from neuromorph.errors import PriceError
from neuromorph.events import ACTIONS, LEARNING_ACTIONS, format_table

__all__ = [
    "BANDS",
    "MEMORIES",
    "STATIC_UNITS",
    "EvidenceKind",
    "Price",
    "Prices",
    "SramModel",
    "SramPoint",
]

EvidenceKind = Literal[
    "measured", "simulated", "fitted", "derived", "scaled", "projected", "unstated"
]
Outside = Literal["extrapolate", "clamp", "refuse"]

# Kinds from best to worst, each with the factor of its default band (low =
# value / factor, high = value × factor) where a file gives none.
BANDS: Mapping[str, float] = MappingProxyType(
    {
        "measured": 1.15,
        "simulated": 1.5,
        "fitted": 1.5,
        "derived": 1.5,
        "scaled": 2.0,
        "projected": 2.0,
        "unstated": 2.0,
    }
)

# Actions that a memory can price: the memory, by its field in Hardware.
MEMORIES: Mapping[str, str] = MappingProxyType(
    {
        "weight_read_bits": "synapse_memory_bits",
        "state_read_bits": "state_memory_bits",
        "state_write_bits": "state_memory_bits",
        "axon_read": "axon_memory_bits",
        "act_read_bits": "axon_memory_bits",
        "act_write_bits": "axon_memory_bits",
        "transposed_read_bits": "synapse_memory_bits",
        "synapse_read_bits": "synapse_memory_bits",
        "weight_write_bits": "synapse_memory_bits",
        "accumulator_bits": "synapse_memory_bits",
    }
)
AXON_ENTRY_BITS = 64

# ``clock`` is joules a clock cycle, for chips whose tick is one.
STATIC_UNITS: Mapping[str, str] = MappingProxyType(
    {"core": "W", "sram_bit": "W/bit", "chip": "W", "clock": "J"}
)
MAX_VALUE = 1.0  # joules or watts; a larger price is a lost exponent


def action_unit(action: str) -> str:
    """The unit a price of ``action`` must have."""
    return "J/bit" if action.endswith("_bits") else "J"


def _check_triple(low: float, value: float, high: float) -> None:
    """Refuse numbers that cannot be a price."""
    for name, number in (("value", value), ("low", low), ("high", high)):
        if not math.isfinite(number):
            raise PriceError(f"{name} is {number}; must be finite")
        if number < 0:
            raise PriceError(f"{name} is {number:g}; must not be negative")
        if number == 0:
            raise PriceError(f"{name} is 0; say under [free], with a reason, what costs nothing")
        if number > MAX_VALUE:
            raise PriceError(f"{name} is {number:g}; at most {MAX_VALUE:g} is believed")
    if not low <= value <= high:
        raise PriceError(f"need low ≤ value ≤ high, found {low:g}, {value:g}, {high:g}")


def band(value: float, low: float | None, high: float | None, kind: str) -> tuple[float, float]:
    """Low and high of a price: as given, or the default band of its kind."""
    factor = BANDS[kind]
    return (value / factor if low is None else low, value * factor if high is None else high)


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """One price with its evidence.

    Parameters
    ----------
    name : str
        Action, or ``static.<part>``.
    value, low, high : float
        Central value and the ends of its range, in ``unit``.
    unit : str
        ``"J"``, ``"J/bit"``, ``"W"`` or ``"W/bit"``.
    kind : str
        Evidence, see :data:`BANDS`; ``measured`` is silicon only.
    source, note : str
        Where the number was seen; arithmetic and caveats.
    includes : tuple of str
        Actions this price already contains.
    moves_with : str
        Another priced action of the file whose draws this price shares, because
        both are one uncertain number.
    node_nm, vdd : float, optional
        Where they differ from the file's.

    Raises
    ------
    PriceError
        Negative, zero, non-finite or unordered numbers; no source.
    """

    name: str
    value: float
    low: float
    high: float
    unit: str
    kind: EvidenceKind
    source: str
    note: str = ""
    includes: tuple[str, ...] = ()
    moves_with: str = ""
    node_nm: float | None = None
    vdd: float | None = None

    def __post_init__(self) -> None:
        _check_triple(self.low, self.value, self.high)
        if not self.source.strip():
            raise PriceError("source is empty; a price nobody has seen is no price")
        if self.kind not in BANDS:
            raise PriceError(f"unknown kind {self.kind!r}; kinds are {', '.join(BANDS)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SramPoint:
    """Energy of one access (joules) to a memory of ``capacity_bits``, ``access_bits`` wide."""

    capacity_bits: int
    access_bits: int
    value: float
    low: float
    high: float

    def __post_init__(self) -> None:
        _check_triple(self.low, self.value, self.high)


@dataclass(frozen=True, slots=True, kw_only=True)
class SramModel:
    """Energy of an SRAM access by memory size.

    Joules per bit are interpolated between the points, log of energy against
    log of capacity.  Outside the points: ``extrapolate`` continues the last
    slope, ``clamp`` keeps the last value, ``refuse`` raises.  Reads and writes
    cost the same.

    Raises
    ------
    PriceError
        Fewer than two points, capacities not ascending, actions that no
        memory can price.
    """

    actions: tuple[str, ...]
    points: tuple[SramPoint, ...]
    kind: EvidenceKind
    source: str
    note: str = ""
    below: Outside = "refuse"
    above: Outside = "refuse"

    def __post_init__(self) -> None:
        for action in self.actions:
            if action not in MEMORIES:
                raise PriceError(
                    f"a memory cannot price {action!r}; it can price {', '.join(MEMORIES)}"
                )
        sizes = [p.capacity_bits for p in self.points]
        if len(sizes) < 2:
            raise PriceError(f"needs at least two points, has {len(sizes)}")
        if any(b <= a for a, b in pairwise(sizes)):
            raise PriceError(f"points must ascend in capacity_bits, found {sizes}")

    def per_bit(self, capacity_bits: int) -> tuple[float, float, float]:
        """Low, value and high, in joules per bit, of a memory of ``capacity_bits``.

        Raises
        ------
        PriceError
            No memory at all, or a size outside the points where that is refused.
        """
        if capacity_bits < 1:
            raise PriceError(f"a memory of {capacity_bits} bits has no access energy")
        first, last = self.points[0].capacity_bits, self.points[-1].capacity_bits
        size = float(capacity_bits)
        for rule, outside, edge in (
            (self.below, capacity_bits < first, first),
            (self.above, capacity_bits > last, last),
        ):
            if outside and rule == "refuse":
                raise PriceError(
                    f"a memory of {capacity_bits} bits is outside the priced sizes "
                    f"{first} to {last} bits"
                )
            if outside and rule == "clamp":
                size = float(edge)
        # the segment that holds the size, or the nearest one
        index = sum(p.capacity_bits <= size for p in self.points[1:-1])
        a, b = self.points[index], self.points[index + 1]
        t = math.log(size / a.capacity_bits) / math.log(b.capacity_bits / a.capacity_bits)

        def between(at_a: float, at_b: float) -> float:
            per_a, per_b = at_a / a.access_bits, at_b / b.access_bits
            return float(per_a * (per_b / per_a) ** t)

        low, value, high = (
            between(a.low, b.low),
            between(a.value, b.value),
            between(a.high, b.high),
        )
        return min(low, value), value, max(value, high)  # extrapolated ends may cross


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """A price for each action, or the statement that there is none.

    Made by :func:`load_prices`.

    Parameters
    ----------
    name, description, node_nm, vdd : header of the file
    chip : str
        Chip preset the prices were written for; empty for none.
    actions : mapping action → Price
    free : mapping action (or ``"static"``) → why it costs nothing
    sram : SramModel, optional
    static : mapping ``core`` | ``sram_bit`` | ``chip`` | ``clock`` → Price
        Watts for each used core, each bit of its memories, the chip; joules for
        each tick of a chip whose tick is a clock cycle.
    not_modelled : tuple of str
        What these prices leave out, for every report.

    Raises
    ------
    PriceError
        An unknown action, or one with two answers (double charging).
    """

    name: str
    description: str
    node_nm: float
    vdd: float
    chip: str = ""
    actions: Mapping[str, Price] = field(default_factory=dict)
    free: Mapping[str, str] = field(default_factory=dict)
    sram: SramModel | None = None
    static: Mapping[str, Price] = field(default_factory=dict)
    not_modelled: tuple[str, ...] = ()
    text: str = field(default="", repr=False, compare=False)

    def __post_init__(self) -> None:
        for key in ("actions", "free", "static"):
            object.__setattr__(self, key, MappingProxyType(dict(getattr(self, key))))
        for action, price in self.actions.items():
            _check_action(action, "[actions]")
            if price.unit != action_unit(action):
                raise PriceError(
                    f"actions.{action}: unit is {price.unit!r}; must be {action_unit(action)!r}"
                )
            for inner in price.includes:
                _check_action(inner, f"includes of actions.{action}")
            leader = self.actions.get(price.moves_with)
            if price.moves_with and (leader is None or leader.moves_with or leader is price):
                raise PriceError(
                    f"actions.{action}: moves_with names {price.moves_with!r}; it must be another "
                    "priced action that moves with none"
                )
        for action, reason in self.free.items():
            if action != "static":
                _check_action(action, "[free]")
            if not reason.strip():
                raise PriceError(f"free.{action} needs a reason")
        for part, price in self.static.items():
            if part not in STATIC_UNITS:
                raise PriceError(
                    f"static.{part}: unknown part; parts are {', '.join(STATIC_UNITS)}"
                )
            if price.unit != STATIC_UNITS[part]:
                raise PriceError(
                    f"static.{part}: unit is {price.unit!r}; must be {STATIC_UNITS[part]!r}"
                )
            if price.includes or price.moves_with:
                raise PriceError(
                    f"static.{part}: static power includes no actions and moves with none"
                )
        if self.static and "static" in self.free:
            raise PriceError("static power is both priced under [static] and declared [free]")
        self._check_double()

    def __reduce__(self) -> tuple[partial[Prices], tuple[()]]:
        """For other processes: read-only mappings travel as dictionaries."""
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        plain: dict[str, Any] = {
            k: dict(v) if isinstance(v, MappingProxyType) else v for k, v in given.items()
        }
        return partial(Prices, **plain), ()

    def _check_double(self) -> None:
        answers: dict[str, list[str]] = {}
        for action in self.actions:
            answers.setdefault(action, []).append(f"[actions.{action}]")
        for action in self.sram.actions if self.sram else ():
            answers.setdefault(action, []).append("[sram]")
        for action in self.free:
            answers.setdefault(action, []).append("[free]")
        for action, holders in self.included.items():
            names = " and ".join(f"[actions.{h}]" for h in holders)
            answers.setdefault(action, []).append(f"includes of {names}")
        for action, where in answers.items():
            if len(where) > 1:
                raise PriceError(
                    f"double charging: action {action!r} is answered by {' and by '.join(where)}; "
                    "keep one"
                )

    @property
    def included(self) -> dict[str, tuple[str, ...]]:
        """Actions that aggregates already contain → those aggregates."""
        result: dict[str, tuple[str, ...]] = {}
        for name, price in self.actions.items():
            for inner in price.includes:
                result[inner] = (*result.get(inner, ()), name)
        return result

    def unpriced(self, actions: Iterable[str] = ACTIONS) -> tuple[str, ...]:
        """Those of ``actions`` that have no answer here."""
        answered = {*self.actions, *self.free, *self.included}
        if self.sram:
            answered.update(self.sram.actions)
        return tuple(a for a in actions if a not in answered)

    def __str__(self) -> str:
        entries = [*self.actions.values(), *self.static.values()]
        rows = [
            [p.name, *(f"{x:.3g}" for x in (p.value, p.low, p.high)), p.unit, p.kind]
            for p in entries
        ]
        sources = [f"{p.name}: {p.source}" for p in entries]
        if self.sram:
            for p in self.sram.points:
                numbers = [f"{x:.3g}" for x in (p.value, p.low, p.high)]
                unit = f"J/{p.access_bits} bits"
                rows.append([f"sram {p.capacity_bits} bits", *numbers, unit, self.sram.kind])
            sources.append(f"sram: {self.sram.source}")
        lines = [
            f"{self.name}: {self.description}",
            f"{self.node_nm:g} nm, {self.vdd:g} V" + (f", chip {self.chip}" if self.chip else ""),
            format_table(["price", "value", "low", "high", "unit", "kind"], rows),
            "",
            *(f"{a}: free, {why}" for a, why in self.free.items()),
            *(f"{a}: in {', '.join(names)}" for a, names in self.included.items()),
        ]
        if self.unpriced():
            lines.append(f"unpriced: {', '.join(self.unpriced())}")
        return "\n".join([*lines, "", "sources", *sources])


def _check_action(action: str, where: str) -> None:
    known = (*ACTIONS, *LEARNING_ACTIONS)
    if action not in known:
        raise PriceError(f"{where} names unknown action {action!r}; actions are {', '.join(known)}")
