"""Design space: many chips, formats and prices for the same networks.

A point is one network with one value of every axis.  Networks have run before; a point maps,
counts and prices.  Points that share a mapping go together to one of the workers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import product
from typing import Any, get_args

from neuromorph.chip import KEYS, Chip
from neuromorph.compare.activity import Activity
from neuromorph.compare.contenders import GIVE, Contender, bid, place
from neuromorph.energy import Prices, load_prices
from neuromorph.errors import ChipError, MappingError, PriceError
from neuromorph.events import Dataflow
from neuromorph.workers import ALONE, Workers

__all__ = ["AXES", "Axis", "Plan", "pareto", "parse_axis", "sweep"]

FIELDS = {key: name for name, key in KEYS.items()}
AXES = ("dataflow", "packing", "batch", "prices", "price.NAME", *FIELDS)
PACKING = {"2": Fraction(2), "1.6": Fraction(8, 5)}
MAX_POINTS = 100_000
DRAWS = 200
Axis = tuple[str, tuple[str, ...]]
Settings = Mapping[str, str]
Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """What every point shares."""

    chip: Chip
    prices: Prices
    price_files: Mapping[str, Prices]


def parse_axis(text: str) -> Axis:
    """``KEY=V,V,…`` to a key and its values.

    Raises
    ------
    ChipError
        No such form, an unknown key, or a value the key cannot take.
    """
    key, sign, rest = text.partition("=")
    values = tuple(v.strip() for v in rest.split(",") if v.strip())
    if not sign or not values:
        raise ChipError(f"axis {text!r} must read KEY=VALUE,VALUE, as in core.neurons=512,1024")
    key = key.strip()
    if key not in AXES and not key.startswith("price."):
        raise ChipError(f"no axis {key!r}; axes are {', '.join(AXES)}")
    allowed = {"dataflow": get_args(Dataflow), "packing": tuple(PACKING)}.get(key)
    for value in values:
        if allowed is not None and value not in allowed:
            raise ChipError(f"axis {key}: {value!r} is none of {', '.join(allowed)}")
        if allowed is None and key != "prices":
            _number(key, value)
    if len(set(values)) < len(values):
        raise ChipError(f"axis {key} names a value twice: {', '.join(values)}")
    return key, values


def _number(key: str, value: str) -> float:
    """A whole number of a chip, or a positive factor of a price."""
    whole = (key in FIELDS and key != "times.tick_s") or key == "batch"
    try:
        number = int(value) if whole else float(value)
    except ValueError:
        kind = "a whole number" if whole else "a number"
        raise ChipError(f"axis {key}: {value!r} is not {kind}") from None
    if not 0 <= number < 1e18 or (number == 0 and not whole) or (key == "batch" and number < 1):
        raise ChipError(f"axis {key}: {value} is out of range")
    return number


def sweep(
    pairs: Sequence[tuple[Contender, Activity]],
    chip: Chip,
    prices: Prices,
    axes: Sequence[Axis],
    *,
    workers: Workers = ALONE,
) -> list[Row]:
    """Price every network at every combination of the axes' values.

    Parameters
    ----------
    pairs : sequence of (Contender, Activity)
    chip, prices
        What the axes vary.
    axes : sequence of (key, values), see :func:`parse_axis`
        ``dataflow``, ``packing`` (bits of a ternary weight), ``batch``, ``prices`` (files),
        ``price.NAME`` (factor on a price, on ``sram`` or on ``static.PART``), or the dotted
        key of a number of the chip.
    workers : Workers
        Who does it; the rows do not depend on it.

    Returns
    -------
    list of dict
        One a point, in the order of networks and axes: ``network``, ``settings``,
        ``accuracy``, ``energy_j`` (p10, p50, p90; None where refused, with ``problem``),
        ``latency_s`` (likewise), ``edp_js``, ``cores``, ``pareto``.

    Raises
    ------
    ChipError
        An axis twice, more than 100 000 points, or an impossible number.
    PriceError
        A price file that cannot be used, or a factor on a price that is not there.
    MissingDependencyError, SimulationError
        As :meth:`Workers.each`.

    Examples
    --------
    >>> import numpy as np
    >>> import neuromorph as nm
    >>> from neuromorph.compare import find_contender, measure
    >>> digits = find_contender("digits-gxnor")
    >>> activity = measure(digits.network, np.full((2, 1, 8, 8), 9))
    >>> rows = sweep(
    ...     [(digits, activity)],
    ...     nm.load_chip("gxnor45"),
    ...     load_prices("horowitz45"),
    ...     [parse_axis("dataflow=scatter,stationary")],
    ... )
    >>> rows[1]["energy_j"]["p50"] < rows[0]["energy_j"]["p50"]
    True
    """
    keys = [key for key, _ in axes]
    if len(set(keys)) < len(keys):
        raise ChipError(f"axis {next(k for k in keys if keys.count(k) > 1)} is given twice")
    combinations = [dict(zip(keys, values)) for values in product(*(v for _, v in axes))]
    if len(combinations) * len(pairs) > MAX_POINTS:
        raise ChipError(
            f"{len(combinations) * len(pairs)} points are too many; at most {MAX_POINTS}"
        )
    files = {name: load_prices(name) for key, values in axes if key == "prices" for name in values}
    plan = Plan(chip=chip, prices=prices, price_files=files)
    for settings in combinations:  # wrong numbers are one sentence before the work starts
        _chip(plan, settings)
        _prices(plan, settings)
    groups: dict[tuple[int, str], list[int]] = {}
    points = [(n, s) for n in range(len(pairs)) for s in combinations]
    for number, (n, settings) in enumerate(points):
        mapped = ",".join(settings[k] for k in keys if k in FIELDS or k == "packing")
        groups.setdefault((n, mapped), []).append(number)
    tasks = [
        (numbers, *pairs[points[numbers[0]][0]], plan, [points[i][1] for i in numbers])
        for numbers in groups.values()
    ]
    rows: list[Row] = [{}] * len(points)
    for numbers, found in workers.each(_group, tasks):
        for number, row in zip(numbers, found):
            rows[number] = row
    best = pareto(rows)
    for number, row in enumerate(rows):
        row["pareto"] = number in best
    return rows


def _group(task: Any) -> tuple[list[int], list[Row]]:
    """Points of one network on one mapping."""
    numbers, contender, activity, plan, all_settings = task
    first = all_settings[0]
    contender = _packed(contender, first)
    try:
        mapping = place(contender, _chip(plan, first))
    except MappingError as error:
        return numbers, [_row(contender, activity, s, str(error)) for s in all_settings]
    rows = []
    for settings in all_settings:
        found = bid(
            contender,
            activity,
            mapping,
            _prices(plan, settings),
            dataflow=settings.get("dataflow", plan.chip.dataflow),
            batch=int(settings.get("batch", 1)),
            draws=DRAWS,
        )
        problem = found.problem or found.silence
        if problem and problem == found.silence:
            problem += f"; {GIVE}, or as an axis ({mapping.chip.unpublished[0]}=1,10)"
        row = _row(contender, activity, settings, problem)
        row.update(cores=found.cores, latency_s=found.latency_s)
        if not found.problem:
            total = found.report.total
            row["energy_j"] = {k: float(f"{getattr(total, k):.12g}") for k in ("p10", "p50", "p90")}
            row["edp_js"] = total.p50 * (found.latency_s or 0.0) or None
        rows.append(row)
    return numbers, rows


def _row(contender: Contender, activity: Activity, settings: Settings, problem: str) -> Row:
    known = contender.accuracy
    return {
        "network": contender.name,
        "settings": dict(settings),
        "accuracy": activity.accuracy if known is None else known,
        "energy_j": None,
        "latency_s": None,
        "edp_js": None,
        "cores": None,
        "problem": problem,
    }


def _packed(contender: Contender, settings: Settings) -> Contender:
    """Ternary weights in the bits the point asks for."""
    ternary = {s.weight_levels.n for s in contender.network.stages} == {1}
    if "packing" not in settings or not ternary:
        return contender
    form = replace(contender.form, weight_bits=PACKING[settings["packing"]])
    return replace(contender, form=form)


def _chip(plan: Plan, settings: Settings) -> Chip:
    change: dict[str, Any] = {
        FIELDS[key]: _number(key, value) for key, value in settings.items() if key in FIELDS
    }
    return replace(plan.chip, text="", **change)


def _prices(plan: Plan, settings: Settings) -> Prices:
    prices = plan.price_files[settings["prices"]] if "prices" in settings else plan.prices
    for key, value in settings.items():
        if key.startswith("price."):
            prices = _scaled(prices, key.removeprefix("price."), float(value))
    return prices


def _scaled(prices: Prices, name: str, factor: float) -> Prices:
    """Prices with one of them times a factor; its range goes along."""

    def times(p: Any) -> Any:
        return replace(p, low=p.low * factor, value=p.value * factor, high=p.high * factor)

    part = name.removeprefix("static.")
    if name == "sram" and prices.sram is not None:
        points = tuple(times(p) for p in prices.sram.points)
        return replace(prices, sram=replace(prices.sram, points=points), text="")
    if name in prices.actions:
        return replace(prices, actions={**prices.actions, name: times(prices.actions[name])})
    if name.startswith("static.") and part in prices.static:
        return replace(prices, static={**prices.static, part: times(prices.static[part])})
    known = [*prices.actions, *(f"static.{p}" for p in prices.static)]
    known += ["sram"] if prices.sram is not None else []
    raise PriceError(
        f"prices {prices.name!r} have no {name!r} to vary; they have {', '.join(known)}"
    )


def pareto(rows: Sequence[Row]) -> set[int]:
    """Points that no other beats: less or equal energy, latency and error, and one less."""
    known = [i for i, row in enumerate(rows) if row["energy_j"] is not None]
    figures = {
        i: (
            rows[i]["energy_j"]["p50"],
            rows[i]["latency_s"] if rows[i]["latency_s"] is not None else 0.0,
            1 - (rows[i]["accuracy"] or 0.0),
        )
        for i in known
    }
    best: list[int] = []
    for i in sorted(known, key=lambda k: figures[k]):  # a point is only beaten by one before it
        own = figures[i]
        if not any(
            all(a <= b for a, b in zip(figures[j], own)) and figures[j] != own for j in best
        ):
            best.append(i)
    return set(best)
